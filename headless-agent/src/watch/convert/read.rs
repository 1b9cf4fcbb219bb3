//! The fields of the API's objects that are read.
//!
//! A large cluster has most of its bytes in fields on which no answer depends. Reading these
//! fields takes time and memory: a volume of a Pod has 16 bytes of text and would take 3.4 kB.
//! A field that is not read cannot fail to decode either, whatever a tenant puts there: the API
//! server takes times that no library of dates has, and deeper nesting than `serde_json` reads.

mod entries;
mod network;
mod node;
mod service;
mod slice;

use std::borrow::Cow;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use self::entries::Labels;
pub use self::entries::{SERVICE_NAME_LABEL, labels};
pub use self::network::{ReadDnsService, ReadNetworkPolicy};
pub use self::node::{ReadNodeNamespace, ReadNodePod};
pub use self::service::{ReadService, ReadServiceSpec};
pub use self::slice::{ReadConditions, ReadEndpoint, ReadSlice, ReadTarget};

/// A Namespace with the fields on which answers depend.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReadNamespace {
    /// Name and resource version.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
}

/// A Pod with the fields on which answers depend.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReadPod {
    /// Name, namespace, resource version, and whether there is a time of deletion.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// See [`v1::Pod::status`].
    #[serde(deserialize_with = "or_default")]
    pub status: ReadPodStatus,
}

/// The status of a [`ReadPod`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadPodStatus {
    /// See [`v1::PodStatus::phase`].
    pub phase: Option<String>,
    /// See [`v1::PodStatus::pod_ip`].
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
}

/// A port of a [`ReadService`] or a [`ReadSlice`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReadPort {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub port: Option<i32>,
    /// Its protocol.
    pub protocol: Option<String>,
}

/// The fields of an object's metadata that are read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<Labels>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
}

/// Reads name, namespace, resource version, the label that names a slice's Service, and whether
/// there is a time of deletion. The time itself is not kept: it is the Unix epoch here.
///
/// # Errors
/// Where one of these fields has another type.
pub fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let ReadMetadata {
        name,
        namespace,
        labels,
        resource_version,
        deletion_timestamp,
    } = or_default(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        labels: labels.map(|Labels(labels)| labels),
        resource_version,
        deletion_timestamp: deletion_timestamp.map(|_| Time(Timestamp::UNIX_EPOCH)),
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

impl From<&v1::Namespace> for ReadNamespace {
    fn from(namespace: &v1::Namespace) -> Self {
        let metadata = namespace.metadata.clone();
        Self { metadata }
    }
}

impl From<&v1::Pod> for ReadPod {
    fn from(pod: &v1::Pod) -> Self {
        let status = pod.status.as_ref();
        Self {
            metadata: pod.metadata.clone(),
            status: ReadPodStatus {
                phase: status.and_then(|status| status.phase.clone()),
                pod_ip: status.and_then(|status| status.pod_ip.clone()),
            },
        }
    }
}

/// Makes each type of the first column the resource that the type of the second column is.
macro_rules! resources {
    ($($read:ty, $whole:ty, $scope:ty;)*) => {$(
        impl Resource for $read {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                <$whole>::kind(&())
            }

            fn group((): &()) -> Cow<'_, str> {
                <$whole>::group(&())
            }

            fn version((): &()) -> Cow<'_, str> {
                <$whole>::version(&())
            }

            fn plural((): &()) -> Cow<'_, str> {
                <$whole>::plural(&())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

resources! {
    ReadNamespace, v1::Namespace, ClusterResourceScope;
    ReadService, v1::Service, NamespaceResourceScope;
    ReadSlice, discovery::EndpointSlice, NamespaceResourceScope;
    ReadPod, v1::Pod, NamespaceResourceScope;
    ReadNodePod, v1::Pod, NamespaceResourceScope;
    ReadNetworkPolicy, networking::NetworkPolicy, NamespaceResourceScope;
    ReadDnsService, v1::Service, NamespaceResourceScope;
    ReadNodeNamespace, v1::Namespace, ClusterResourceScope;
}

#[cfg(test)]
mod tests;
