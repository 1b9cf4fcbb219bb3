//! The read types beside the whole types.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// What is read of an object that `whole` can decode too.
fn read<K, W>(value: &Value) -> K
where
    K: DeserializeOwned + PartialEq + Debug + for<'a> From<&'a W>,
    W: DeserializeOwned + k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let text = value.to_string();
    let read: K = serde_json::from_str(&text).unwrap();
    let mut whole: W = serde_json::from_str(&text).unwrap();
    let ObjectMeta {
        name,
        namespace,
        labels,
        resource_version,
        deletion_timestamp,
        ..
    } = whole.metadata().clone();
    let labels = labels.map(|mut labels| {
        labels.retain(|key, _| key == "kubernetes.io/service-name");
        labels
    });
    *whole.metadata_mut() = ObjectMeta {
        name,
        namespace,
        labels,
        resource_version,
        deletion_timestamp: deletion_timestamp.map(|_| Time(Timestamp::UNIX_EPOCH)),
        ..ObjectMeta::default()
    };
    assert_eq!(read, K::from(&whole));
    assert_eq!(serde_json::from_value::<K>(value.clone()).unwrap(), read);
    read
}

fn slice(value: &Value) -> ReadSlice {
    read::<_, discovery::EndpointSlice>(value)
}

fn metadata() -> Value {
    json!({
        "name": "web", "namespace": "default", "resourceVersion": "7",
        "uid": "u", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"a": "b", "kubernetes.io/service-name": "web"},
        "managedFields": [{"manager": "m", "fieldsV1": {"f:endpoints": {}}}],
    })
}

#[test]
fn fields_of_a_slice_are_read_as_in_the_whole_object() {
    let slice = slice(&json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": metadata(),
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.0.0.1", "10.0.0.2"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "hostname": "web-0", "nodeName": "n", "zone": "z",
                "hints": {"forZones": [{"name": "z"}]},
                "targetRef": {"kind": "Pod", "name": "web-0", "uid": "u"},
            },
            {"addresses": ["10.0.0.3"], "conditions": {}},
            {"addresses": ["10.0.0.4"]},
        ],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "h2c"}],
    }));
    assert_eq!(slice.meta().resource_version.as_deref(), Some("7"));
    let labels = slice.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    let [first, second, third] = &*slice.endpoints else {
        panic!("{slice:?}");
    };
    assert_eq!(first.addresses.len(), 2);
    assert_eq!(first.conditions.unwrap().ready, Some(true));
    assert_eq!(
        first.target_ref.as_ref().unwrap().name.as_deref(),
        Some("web-0")
    );
    assert_eq!(
        (second.conditions.unwrap().ready, third.conditions),
        (None, None)
    );
    assert_eq!(slice.ports[0].port, Some(80));
}

#[test]
fn fields_of_other_kinds_are_read_as_in_the_whole_object() {
    let service = read::<ReadService, v1::Service>(&json!({
        "metadata": metadata(),
        "spec": {
            "type": "NodePort", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
            "externalName": "example.com", "selector": {"app": "web"}, "sessionAffinity": "None",
            "ports": [{"name": "http", "port": 80, "protocol": "UDP", "targetPort": "a"}],
        },
        "status": {"loadBalancer": {}},
    }));
    assert_eq!(service.spec.cluster_ips.len(), 2);
    assert_eq!(service.spec.ports[0].protocol.as_deref(), Some("UDP"));
    assert!(service.spec.selector);
    let pod = read::<ReadPod, v1::Pod>(&json!({
        "metadata": metadata(),
        "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    }));
    assert_eq!(pod.status.pod_ip.as_deref(), Some("10.0.0.1"));
    let namespace = read::<ReadNamespace, v1::Namespace>(&json!({
        "metadata": metadata(), "spec": {"finalizers": ["kubernetes"]},
    }));
    assert_eq!(namespace.metadata.name.as_deref(), Some("web"));
}

#[test]
fn null_is_the_absence_of_a_field() {
    assert_eq!(slice(&json!({})), ReadSlice::default());
    let nothing = json!({
        "metadata": {"name": null}, "addressType": null, "endpoints": null, "ports": null,
    });
    assert_eq!(slice(&nothing), ReadSlice::default());
    let endpoint = json!({
        "addresses": null, "conditions": null, "hostname": null, "targetRef": null,
    });
    let slice = slice(&json!({ "endpoints": [endpoint] }));
    assert_eq!(slice.endpoints, [ReadEndpoint::default()]);
    let spec = json!({
        "type": null, "clusterIP": null, "clusterIPs": null, "externalName": null,
        "ports": null, "selector": null,
    });
    for value in [json!({}), json!({"spec": null}), json!({ "spec": spec })] {
        let service = read::<ReadService, v1::Service>(&value);
        assert_eq!(service, ReadService::default());
    }
    let status = json!({"phase": null, "podIP": null});
    for value in [
        json!({"metadata": null}),
        json!({"status": null}),
        json!({ "status": status }),
    ] {
        assert_eq!(
            serde_json::from_value::<ReadPod>(value).unwrap(),
            ReadPod::default()
        );
    }
    let without = read::<ReadService, v1::Service>(&json!({"spec": {"selector": {}}}));
    assert!(!without.spec.selector);
}

/// Fields that the API server takes from a tenant, and that the whole types cannot decode.
#[test]
fn fields_that_are_not_read_may_have_any_type() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let text = format!(
        r#"{{"metadata": {{"name": "a", "uid": 7, "labels": {{"b": 7}}, "managedFields": [
            {{"time": "9999-12-31T23:59:59Z", "fieldsV1": {deep}}}]}},
            "endpoints": [{{"nodeName": 7, "addresses": ["10.0.0.1"]}}],
            "spec": {{"volumes": {deep}, "externalTrafficPolicy": 7, "selector": {{"c": 7}},
                "ports": [{{"targetPort": {deep}}}]}},
            "status": {{"conditions": {deep}, "podIP": "10.0.0.1"}}}}"#
    );
    let slice: ReadSlice = serde_json::from_str(&text).unwrap();
    assert_eq!(slice.endpoints[0].addresses, ["10.0.0.1"]);
    let service: ReadService = serde_json::from_str(&text).unwrap();
    assert!(service.spec.selector && service.spec.ports.len() == 1);
    let pod: ReadPod = serde_json::from_str(&text).unwrap();
    assert!(pod.status.pod_ip.is_some());
    let namespace: ReadNamespace = serde_json::from_str(&text).unwrap();
    assert_eq!(namespace.metadata.name.as_deref(), Some("a"));
    assert!(serde_json::from_str::<v1::Service>(&text).is_err());
}

#[test]
fn fields_that_are_read_have_their_type() {
    for text in [
        r#"{"endpoints": [{"addresses": 7}]}"#,
        r#"{"metadata": 7}"#,
        r#"{"metadata": {"labels": {"kubernetes.io/service-name": 7}}}"#,
    ] {
        assert!(serde_json::from_str::<ReadSlice>(text).is_err(), "{text}");
    }
    for text in [r#"{"spec": 7}"#, r#"{"spec": {"selector": 7}}"#] {
        assert!(serde_json::from_str::<ReadService>(text).is_err(), "{text}");
    }
}
