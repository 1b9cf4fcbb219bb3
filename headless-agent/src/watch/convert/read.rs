//! The fields of an EndpointSlice that are read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// An EndpointSlice with the fields on which answers depend.
///
/// A large cluster has most of its bytes in slices. Reading all of their fields takes twice
/// as long, and an endpoint with all fields takes five times the memory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadSlice {
    /// Name, namespace, labels and resource version.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// See [`discovery::EndpointSlice::address_type`].
    #[serde(deserialize_with = "or_default")]
    pub address_type: String,
    /// See [`discovery::EndpointSlice::endpoints`].
    #[serde(deserialize_with = "or_default")]
    pub endpoints: Vec<ReadEndpoint>,
    /// See [`discovery::EndpointSlice::ports`].
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<discovery::EndpointPort>,
}

/// An endpoint of a [`ReadSlice`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadEndpoint {
    /// See [`discovery::Endpoint::addresses`].
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<String>,
    /// See [`discovery::Endpoint::conditions`].
    pub conditions: Option<ReadConditions>,
    /// See [`discovery::Endpoint::hostname`].
    pub hostname: Option<String>,
    /// See [`discovery::Endpoint::target_ref`].
    pub target_ref: Option<ReadTarget>,
}

/// The conditions of a [`ReadEndpoint`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReadConditions {
    /// See [`discovery::EndpointConditions::ready`].
    pub ready: Option<bool>,
}

/// The object, mostly a Pod, that a [`ReadEndpoint`] stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReadTarget {
    /// Its name.
    pub name: Option<String>,
}

/// The fields of an object's metadata that are read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    resource_version: Option<String>,
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let ReadMetadata {
        name,
        namespace,
        labels,
        resource_version,
    } = or_default(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        labels,
        resource_version,
        ..ObjectMeta::default()
    })
}

/// Go writes a list that nobody has made as null.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl From<&discovery::EndpointSlice> for ReadSlice {
    fn from(slice: &discovery::EndpointSlice) -> Self {
        let endpoint = |endpoint: &discovery::Endpoint| ReadEndpoint {
            addresses: endpoint.addresses.clone(),
            conditions: endpoint
                .conditions
                .as_ref()
                .map(|conditions| ReadConditions {
                    ready: conditions.ready,
                }),
            hostname: endpoint.hostname.clone(),
            target_ref: endpoint.target_ref.as_ref().map(|target| ReadTarget {
                name: target.name.clone(),
            }),
        };
        Self {
            metadata: slice.metadata.clone(),
            address_type: slice.address_type.clone(),
            endpoints: slice.endpoints.iter().flatten().map(endpoint).collect(),
            ports: slice.ports.clone().unwrap_or_default(),
        }
    }
}

impl Resource for ReadSlice {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        discovery::EndpointSlice::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        discovery::EndpointSlice::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        discovery::EndpointSlice::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        discovery::EndpointSlice::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> ReadSlice {
        let text = value.to_string();
        let slice: ReadSlice = serde_json::from_str(&text).unwrap();
        // The whole object says the same.
        let mut whole: discovery::EndpointSlice = serde_json::from_str(&text).unwrap();
        let ObjectMeta {
            name,
            namespace,
            labels,
            resource_version,
            ..
        } = whole.metadata;
        whole.metadata = ObjectMeta {
            name,
            namespace,
            labels,
            resource_version,
            ..ObjectMeta::default()
        };
        assert_eq!(slice, ReadSlice::from(&whole));
        slice
    }

    #[test]
    fn fields_are_read_as_in_the_whole_object() {
        let slice = read(&json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": "web-abc", "namespace": "default", "resourceVersion": "7",
                "uid": "u", "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"kubernetes.io/service-name": "web"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:endpoints": {}}}],
            },
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
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }));
        assert_eq!(slice.meta().resource_version.as_deref(), Some("7"));
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
    }

    #[test]
    fn null_is_the_absence_of_a_field() {
        assert_eq!(read(&json!({})), ReadSlice::default());
        let nothing = json!({
            "metadata": {"name": null, "labels": null}, "addressType": null, "endpoints": null,
            "ports": null,
        });
        assert_eq!(read(&nothing), ReadSlice::default());
        let endpoint = json!({
            "addresses": null, "conditions": null, "hostname": null, "targetRef": null,
        });
        let slice = read(&json!({ "endpoints": [endpoint] }));
        assert_eq!(slice.endpoints, [ReadEndpoint::default()]);
    }

    #[test]
    fn fields_that_are_not_read_may_have_any_type() {
        let text = r#"{"endpoints": [{"nodeName": 7, "addresses": ["10.0.0.1"]}]}"#;
        let slice: ReadSlice = serde_json::from_str(text).unwrap();
        assert_eq!(slice.endpoints[0].addresses, ["10.0.0.1"]);
        assert!(serde_json::from_str::<ReadSlice>(r#"{"endpoints": [{"addresses": 7}]}"#).is_err());
        assert!(serde_json::from_str::<ReadSlice>(r#"{"metadata": 7}"#).is_err());
    }
}
