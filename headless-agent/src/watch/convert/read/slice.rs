//! The fields of an EndpointSlice that are read.

use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{ReadPort, metadata, or_default};

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
    pub ports: Vec<ReadPort>,
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
        let port = |port: &discovery::EndpointPort| ReadPort {
            name: port.name.clone(),
            port: port.port,
            protocol: port.protocol.clone(),
        };
        Self {
            metadata: slice.metadata.clone(),
            address_type: slice.address_type.clone(),
            endpoints: slice.endpoints.iter().flatten().map(endpoint).collect(),
            ports: slice.ports.iter().flatten().map(port).collect(),
        }
    }
}
