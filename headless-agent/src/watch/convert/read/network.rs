//! The fields of the objects that say whether pods may ask the cluster's DNS.

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{metadata, or_default};

/// A `NetworkPolicy`, as it is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReadNetworkPolicy {
    /// Name, namespace and resource version.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Its rules.
    #[serde(deserialize_with = "or_default")]
    pub spec: NetworkPolicySpec,
}

/// The Service of the cluster's DNS, as it is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReadDnsService {
    /// Name, namespace and resource version.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Its ports and its selector.
    #[serde(deserialize_with = "or_default")]
    pub spec: ServiceSpec,
}
