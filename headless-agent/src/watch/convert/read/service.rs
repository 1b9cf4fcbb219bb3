//! The fields of a Service that are read.

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::entries::has_entries;
use super::{ReadPort, metadata, or_default};

/// A Service with the fields on which answers depend.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReadService {
    /// Name, namespace and resource version.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// See [`v1::Service::spec`].
    #[serde(deserialize_with = "or_default")]
    pub spec: ReadServiceSpec,
}

/// The specification of a [`ReadService`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadServiceSpec {
    /// See [`v1::ServiceSpec::type_`].
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// See [`v1::ServiceSpec::cluster_ip`].
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// See [`v1::ServiceSpec::cluster_ips`].
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    /// See [`v1::ServiceSpec::external_name`].
    pub external_name: Option<String>,
    /// See [`v1::ServiceSpec::ports`].
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ReadPort>,
    /// Whether [`v1::ServiceSpec::selector`] has entries.
    #[serde(deserialize_with = "has_entries")]
    pub selector: bool,
}

impl From<&v1::Service> for ReadService {
    fn from(service: &v1::Service) -> Self {
        Self {
            metadata: service.metadata.clone(),
            spec: service.spec.as_ref().map(Into::into).unwrap_or_default(),
        }
    }
}

impl From<&v1::ServiceSpec> for ReadServiceSpec {
    fn from(spec: &v1::ServiceSpec) -> Self {
        let port = |port: &v1::ServicePort| ReadPort {
            name: port.name.clone(),
            port: Some(port.port),
            protocol: port.protocol.clone(),
        };
        Self {
            type_: spec.type_.clone(),
            cluster_ip: spec.cluster_ip.clone(),
            cluster_ips: spec.cluster_ips.clone().unwrap_or_default(),
            external_name: spec.external_name.clone(),
            ports: spec.ports.iter().flatten().map(port).collect(),
            selector: spec.selector.as_ref().is_some_and(|map| !map.is_empty()),
        }
    }
}
