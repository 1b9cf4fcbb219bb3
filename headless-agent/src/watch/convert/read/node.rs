//! The fields of pods and namespaces that decide whether pods are answered.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::or_default;
use crate::selector::Labels;
use crate::watch::node::{LABELS_BYTES_MAX, MODE_ANNOTATION};

/// A pod of this node, as it is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Pod")]
pub struct ReadNodePod {
    /// Name, namespace and resource version.
    pub metadata: ObjectMeta,
    /// Its labels; `None` where they have more than [`LABELS_BYTES_MAX`] bytes.
    pub labels: Option<Labels>,
    /// The value of [`MODE_ANNOTATION`].
    pub mode: Option<String>,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// See `v1.PodStatus.phase`.
    pub phase: Option<String>,
    /// The addresses as texts.
    pub addresses: Vec<String>,
}

/// A namespace, as it is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Namespace")]
pub struct ReadNodeNamespace {
    /// Name and resource version.
    pub metadata: ObjectMeta,
    /// Its labels; `None` where they have more than [`LABELS_BYTES_MAX`] bytes.
    pub labels: Option<Labels>,
    /// The value of [`MODE_ANNOTATION`].
    pub mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: PodSpec,
    #[serde(deserialize_with = "or_default")]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(deserialize_with = "or_default")]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    #[serde(deserialize_with = "or_default")]
    labels: Bounded,
    #[serde(deserialize_with = "or_default")]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    host_network: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pod_ips: Vec<PodIp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: Option<String>,
}

impl Metadata {
    fn object(self) -> ObjectMeta {
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            resource_version: self.resource_version,
            ..ObjectMeta::default()
        }
    }
}

impl From<Pod> for ReadNodePod {
    fn from(pod: Pod) -> Self {
        let Pod {
            mut metadata,
            spec,
            status,
        } = pod;
        let mut addresses: Vec<_> = status.pod_ips.into_iter().filter_map(|it| it.ip).collect();
        if addresses.is_empty() {
            addresses.extend(status.pod_ip);
        }
        addresses.retain(|text| !text.is_empty());
        Self {
            labels: metadata.labels.0.take(),
            mode: metadata.annotations.0.take(),
            metadata: metadata.object(),
            host_network: spec.host_network.unwrap_or_default(),
            phase: status.phase,
            addresses,
        }
    }
}

impl From<Namespace> for ReadNodeNamespace {
    fn from(Namespace { mut metadata }: Namespace) -> Self {
        Self {
            labels: metadata.labels.0.take(),
            mode: metadata.annotations.0.take(),
            metadata: metadata.object(),
        }
    }
}

/// Labels, unless they have too many bytes.
struct Bounded(Option<Labels>);

impl Default for Bounded {
    fn default() -> Self {
        Self(Some(BTreeMap::new()))
    }
}

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BoundedVisitor)
    }
}

struct BoundedVisitor;

impl<'de> Visitor<'de> for BoundedVisitor {
    type Value = Bounded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut labels, mut bytes) = (Labels::new(), 0);
        while bytes <= LABELS_BYTES_MAX {
            let Some((key, value)) = map.next_entry::<String, String>()? else {
                return Ok(Bounded(Some(labels)));
            };
            bytes += key.len() + value.len();
            labels.insert(key, value);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Bounded(None))
    }
}

/// The value of [`MODE_ANNOTATION`].
#[derive(Default)]
struct Annotations(Option<String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut mode = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == MODE_ANNOTATION {
                mode = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Annotations(mode))
    }
}
