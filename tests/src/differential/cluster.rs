//! The objects of a cluster: as JSON for the API server, and as the agent's events.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use headless_agent::watch::{self, Event, Keep, Kind, ObjectRef, convert};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// An object as the API serves it.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are thousands of them, not millions"
)]
pub enum Object {
    /// `v1` Namespace.
    Namespace(Namespace),
    /// `v1` Service.
    Service(Service),
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// `v1` Pod.
    Pod(Pod),
}

/// Label of EndpointSlices that belong to headless Services.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Label that names the program that made an EndpointSlice.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY_LABEL`] on EndpointSlices of Services with a selector.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// How the names of the namespaces of sentinels begin.
pub(super) const SENTINEL: &str = "sentinel-";

/// Kind, namespace and name of an object.
pub type Key = (Kind, String, String);

impl Object {
    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
        }
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Namespace(object) => &mut object.metadata,
            Self::Service(object) => &mut object.metadata,
            Self::EndpointSlice(object) => &mut object.metadata,
            Self::Pod(object) => &mut object.metadata,
        }
    }

    /// Gives the object a label by which `labels` and `namespace_labels` of CoreDNS choose: `team`
    /// with one of the values a, b and c, or no such label. It follows from the object's name,
    /// for most slices from the name of their Service, and from `round`. A sentinel's is always a.
    pub fn label(&mut self, round: u32) {
        let mut hasher = DefaultHasher::new();
        let labels = self.labels();
        let service = labels.get(convert::SERVICE_NAME_LABEL);
        let is_stray = self.name().len().is_multiple_of(7);
        let name = service.filter(|_| !is_stray);
        let name = name.map_or_else(|| self.name(), String::as_str);
        (round, self.namespace(), name).hash(&mut hasher);
        let is_sentinel = [self.name(), self.namespace()]
            .iter()
            .any(|it| it.starts_with(SENTINEL));
        let values = [Some("a"), Some("a"), Some("b"), Some("c"), None];
        let value = match hasher.finish() % 5 {
            _ if is_sentinel => Some("a"),
            number => values[number as usize],
        };
        let labels = self.metadata_mut().labels.get_or_insert_default();
        match value {
            Some(value) => labels.insert("team".to_owned(), value.to_owned()),
            None => labels.remove("team"),
        };
    }

    fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
        }
    }

    /// The object's namespace; empty for a Namespace.
    pub fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or_default()
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The object's labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata().labels.as_ref().unwrap_or(&NONE)
    }

    /// Whether an agent with `--endpoints headless` watches this object. Such an agent
    /// watches three groups of EndpointSlices: of headless Services, not made by the
    /// control plane's controller, and of the cluster's DNS
    /// (`headless_agent::watch::kubernetes`). It watches all objects of other kinds.
    pub fn is_watched_by_default(&self) -> bool {
        let labels = self.labels();
        let managed_by = labels.get(MANAGED_BY_LABEL).map(String::as_str);
        let of_dns = self.namespace() == "kube-system"
            && labels
                .get(convert::SERVICE_NAME_LABEL)
                .is_some_and(|service| service == "kube-dns");
        self.kind() != Kind::EndpointSlice
            || labels.contains_key(HEADLESS_LABEL)
            || managed_by != Some(CONTROLLER)
            || of_dns
    }

    /// The object's key.
    pub fn key(&self) -> Key {
        (self.kind(), self.namespace().into(), self.name().into())
    }

    /// The JSON that an API server sends, with `kind` and `apiVersion`.
    pub fn json(&self) -> Value {
        let json = match self {
            Self::Namespace(object) => serde_json::to_value(object),
            Self::Service(object) => serde_json::to_value(object),
            Self::EndpointSlice(object) => serde_json::to_value(object),
            Self::Pod(object) => serde_json::to_value(object),
        };
        json.unwrap_or_default()
    }

    /// The agent's event for a new or changed object. If the agent refuses the object,
    /// the event is the deletion.
    pub fn applied(&self, keep: &Keep) -> Event {
        let problems = &mut watch::Problems::default();
        let slim = match self {
            Self::Namespace(object) => {
                convert::namespace(&object.into(), problems).map(watch::Object::Namespace)
            }
            Self::Service(object) => {
                convert::service(&object.into(), problems).map(watch::Object::Service)
            }
            Self::EndpointSlice(object) => convert::endpoint_slice(&object.into(), keep, problems)
                .map(watch::Object::EndpointSlice),
            Self::Pod(object) => convert::pod(&object.into(), problems).map(watch::Object::Pod),
        };
        let slim = keep.select(slim, Some(self.labels()), problems);
        slim.map_or_else(|| self.deleted(), Event::Apply)
    }

    /// The agent's event for the object's deletion.
    pub fn deleted(&self) -> Event {
        Event::Delete(ObjectRef {
            kind: self.kind(),
            namespace: self.namespace().into(),
            name: self.name().into(),
        })
    }
}

/// One write through the API.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are hundreds of them, not millions"
)]
pub enum Change {
    /// Create or replace.
    Put(Object),
    /// Delete.
    Delete(Key),
}

/// All objects of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    objects: BTreeMap<Key, Object>,
}

impl Cluster {
    /// Makes a change; returns the object that was there before.
    pub fn apply(&mut self, change: Change) -> Option<Object> {
        match change {
            Change::Put(object) => self.objects.insert(object.key(), object),
            Change::Delete(key) => self.objects.remove(&key),
        }
    }

    /// Adds or replaces an object.
    pub fn put(&mut self, object: Object) {
        self.objects.insert(object.key(), object);
    }

    /// Whether an object with this key exists.
    pub fn contains(&self, key: &Key) -> bool {
        self.objects.contains_key(key)
    }

    /// Every object, for changes of its labels.
    pub fn objects_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.objects.values_mut()
    }

    /// Every object, ordered by kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.objects().filter_map(|object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        })
    }

    /// Whether a headless Service of this name exists.
    pub fn is_headless(&self, namespace: &str, service: &str) -> bool {
        let key = (Kind::Service, namespace.to_owned(), service.to_owned());
        let Some(Object::Service(service)) = self.objects.get(&key) else {
            return false;
        };
        let spec = service.spec.as_ref();
        spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
    }

    /// Every EndpointSlice.
    pub fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.objects().filter_map(|object| match object {
            Object::EndpointSlice(slice) => Some(slice),
            _ => None,
        })
    }

    /// Every Pod.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.objects().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
    }

    /// Names of all namespaces: of Namespace objects, and of namespaces that other
    /// objects are in.
    pub fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .objects()
            .map(|object| match object.kind() {
                Kind::Namespace => object.name().to_owned(),
                Kind::Service
                | Kind::EndpointSlice
                | Kind::Pod
                | Kind::NetworkPolicy
                | Kind::ConfigMap => object.namespace().to_owned(),
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
