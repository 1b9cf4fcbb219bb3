//! Objects as users and controllers create them, and operations on them.

use std::fmt::Debug;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Number of requests that run at the same time.
const CONCURRENCY: usize = 24;

/// Makes an object from its JSON form.
pub fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A Service in the namespace `default`.
pub fn service(name: &str, spec: &Value) -> Service {
    service_in("default", name, spec)
}

/// A Service in any namespace.
pub fn service_in(namespace: &str, name: &str, spec: &Value) -> Service {
    object(json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": spec,
    }))
}

/// The specification of a headless Service with a selector.
pub fn headless() -> Value {
    json!({ "clusterIP": "None", "selector": { "app": "web" } })
}

/// An EndpointSlice as the control plane's controller makes it for a headless Service in
/// the namespace `default`. Each endpoint is ready and is a pair of its address and its
/// hostname, if it has one.
pub fn slice(name: &str, service: &str, endpoints: &[(&str, Option<&str>)]) -> EndpointSlice {
    let mut slice = bare_slice("default", name, service, endpoints);
    let labels = slice.metadata.labels.get_or_insert_default();
    labels.insert("service.kubernetes.io/headless".into(), String::new());
    managed(&mut slice);
    slice
}

/// Adds the label by which the control plane's controller marks its slices.
pub fn managed(slice: &mut EndpointSlice) {
    let labels = slice.metadata.labels.get_or_insert_default();
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".into(),
        "endpointslice-controller.k8s.io".into(),
    );
}

/// An EndpointSlice as people make it by hand: its only label is the Service's name.
pub fn bare_slice(
    namespace: &str,
    name: &str,
    service: &str,
    endpoints: &[(&str, Option<&str>)],
) -> EndpointSlice {
    let ipv6 = endpoints.iter().any(|(address, _)| address.contains(':'));
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(address, hostname)| {
            json!({
                "addresses": [address],
                "hostname": hostname,
                "conditions": { "ready": true },
            })
        })
        .collect();
    object(json!({
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": if ipv6 { "IPv6" } else { "IPv4" },
        "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    }))
}

/// A pod in the namespace `default` that is not scheduled to a node.
pub fn pod(name: &str) -> Pod {
    object(json!({
        "metadata": { "namespace": "default", "name": name },
        "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
    }))
}

/// A pod of the namespace `default` on a node, with an annotation `headless.io/mode` if `mode`
/// is given, and the label `app: <name>`.
pub fn pod_on(node: &str, name: &str, mode: Option<&str>) -> Pod {
    let mut metadata = json!({
        "namespace": "default", "name": name, "labels": { "app": name },
    });
    if let Some(mode) = mode {
        metadata["annotations"] = json!({ "headless.io/mode": mode });
    }
    object(json!({
        "metadata": metadata,
        "spec": { "nodeName": node, "containers": [{ "name": "web", "image": "web:1" }] },
    }))
}

/// The status of a running pod with these addresses.
pub fn running(addresses: &[&str]) -> Value {
    let all: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({ "phase": "Running", "podIP": addresses[0], "podIPs": all })
}

/// Operations on the cluster. Each panics if it fails.
#[derive(Clone)]
pub struct Cluster(pub Client);

impl Cluster {
    /// The API of one kind of object in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.0.clone(), namespace)
    }

    /// Creates an object.
    pub async fn create<K>(&self, object: &K)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Serialize,
    {
        let namespace = object.meta().namespace.as_deref().unwrap();
        let api = self.api::<K>(namespace);
        let made = api.create(&PostParams::default(), object).await;
        made.unwrap_or_else(|error| panic!("cannot create {:?}: {error}", object.meta().name));
    }

    /// Creates many objects, `CONCURRENCY` at a time.
    pub async fn create_all<K>(&self, objects: Vec<K>)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Serialize,
    {
        let objects = futures::stream::iter(objects);
        objects
            .for_each_concurrent(CONCURRENCY, async |object| self.create(&object).await)
            .await;
    }

    /// Changes an object by a JSON merge patch.
    pub async fn patch<K>(&self, namespace: &str, name: &str, patch: &Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api = self.api::<K>(namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = api.patch(name, &params, &patch).await;
        patched.unwrap_or_else(|error| panic!("cannot patch {name}: {error}"));
    }

    /// Replaces the endpoints of a slice in the namespace `default` by one ready endpoint
    /// per address.
    pub async fn set_addresses(&self, slice: &str, addresses: &[&str]) {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }))
            .collect();
        let patch = json!({ "endpoints": endpoints });
        self.patch::<EndpointSlice>("default", slice, &patch).await;
    }

    /// Changes the status of a pod in the namespace `default` by a JSON merge patch.
    pub async fn set_status(&self, pod: &str, status: &Value) {
        let api = self.api::<Pod>("default");
        let patch = Patch::Merge(json!({ "status": status }));
        let params = PatchParams::default();
        api.patch_status(pod, &params, &patch).await.unwrap();
    }

    /// Deletes an object at once, without a grace period.
    pub async fn delete<K>(&self, namespace: &str, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api = self.api::<K>(namespace);
        let now = DeleteParams::default().grace_period(0);
        let deleted = api.delete(name, &now).await;
        deleted.unwrap_or_else(|error| panic!("cannot delete {name}: {error}"));
    }

    /// Creates a namespace.
    pub async fn create_namespace(&self, name: &str) {
        let api = Api::<Namespace>::all(self.0.clone());
        let namespace = object(json!({ "metadata": { "name": name } }));
        let made = api.create(&PostParams::default(), &namespace).await;
        made.unwrap();
    }

    /// Deletes a namespace and removes its finalizers, as the namespace controller would.
    pub async fn delete_namespace(&self, name: &str) {
        let api = Api::<Namespace>::all(self.0.clone());
        api.delete(name, &DeleteParams::default()).await.unwrap();
        let mut namespace = api.get(name).await.unwrap();
        namespace.spec.get_or_insert_default().finalizers = Some(Vec::new());
        let params = PostParams::default();
        let finalized = api.replace_subresource("finalize", name, &params, &namespace);
        finalized.await.unwrap();
        let left = api.list(&ListParams::default()).await.unwrap();
        let is_it = |left: &Namespace| left.metadata.name.as_deref() == Some(name);
        assert!(
            !left.items.iter().any(is_it),
            "namespace {name} still exists"
        );
    }
}
