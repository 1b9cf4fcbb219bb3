//! The cluster as a stream of events about slim objects.
//!
//! A source ([`kubernetes`] for an API server, [`manifests`] for a folder of YAML)
//! reduces Kubernetes objects to the few fields that DNS needs ([`objects`],
//! [`convert`]) and reports the parts that it cannot use ([`problem`]). It sends both in
//! batches, whose receiver needs no Kubernetes types and no I/O. [`health`] says which
//! watches fail or are silent. [`sample`] is a first look at a large cluster, and [`choice`] says which slices
//! are watched where its size decides.

pub mod choice;
mod endpoints;
pub mod excerpt;
mod keep;
pub mod network;
pub mod node;
pub mod objects;
pub mod problem;
pub mod sample;
mod waiting;

pub mod convert;
pub mod corefile;

pub mod dns_pods;

pub mod health;

pub mod kubernetes;

pub mod manifests;

use std::fmt;
use std::time::Instant;

pub use self::endpoints::{Endpoint, EndpointView, SliceEndpoints};
pub use self::excerpt::{Excerpt, Printable};
pub use self::keep::Keep;
pub use self::objects::{
    Alias, ENTRIES_MAX, EndpointSlice, Namespace, Pod, Port, Protocol, Service, ServiceKind,
};
pub use self::problem::{Problem, Problems, Reason, Report};
pub use self::waiting::WaitingMemory;

/// The kinds of objects that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Pod.
    Pod,
    /// `networking.k8s.io/v1` `NetworkPolicy`. No name is made of it.
    NetworkPolicy,
    /// `v1` `ConfigMap`, of which those with the Corefile are watched. No name is made of it.
    ConfigMap,
}

impl Kind {
    /// Every kind that is watched.
    pub const WATCHED: [Self; 6] = [
        Self::Namespace,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::NetworkPolicy,
        Self::ConfigMap,
    ];

    /// Every kind from which names are made, in the order of its discriminant.
    pub const ALL: [Self; 4] = [
        Self::Namespace,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
    ];

    /// The value of `kind:` in an object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// Name of the resource in RBAC rules and in messages.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Pod => "pods",
            Self::NetworkPolicy => "networkpolicies",
            Self::ConfigMap => "configmaps",
        }
    }
}

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Identifies an object by kind, namespace (empty for a Namespace) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a Namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        f.write_str(" ")?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// A slim object of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// See [`Namespace`].
    Namespace(Namespace),
    /// See [`Service`].
    Service(Service),
    /// See [`EndpointSlice`].
    EndpointSlice(EndpointSlice),
    /// See [`Pod`].
    Pod(Pod),
}

impl Object {
    /// Bytes that this object takes, about.
    pub fn bytes(&self) -> usize {
        let ports = |ports: &[Port]| {
            let names = ports.iter().map(|port| port.name.len()).sum::<usize>();
            names + size_of_val(ports)
        };
        // Names are short: the API has bounds for them.
        let rest = match self {
            Self::Namespace(_) | Self::Pod(_) => 0,
            Self::Service(service) => ports(&service.ports),
            Self::EndpointSlice(slice) => {
                let aliases = slice.aliases.iter();
                let aliases =
                    aliases.map(|at| at.target.len() + at.name.len() + size_of::<Alias>());
                ports(&slice.ports) + slice.endpoints.bytes() + aliases.sum::<usize>()
            }
        };
        256 + rest
    }

    /// The kind, namespace and name of this object.
    pub fn reference(&self) -> ObjectRef {
        let (kind, namespace, name) = match self {
            Self::Namespace(Namespace { name }) => (Kind::Namespace, "", name),
            Self::Service(service) => (Kind::Service, &*service.namespace, &service.name),
            Self::EndpointSlice(slice) => (Kind::EndpointSlice, &*slice.namespace, &slice.name),
            Self::Pod(pod) => (Kind::Pod, &*pod.namespace, &pod.name),
        };
        ObjectRef {
            kind,
            namespace: namespace.into(),
            name: name.clone(),
        }
    }
}

/// One change of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The object exists and looks like this.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectRef),
    /// All objects of the kind are about to be listed again.
    Restart(Kind),
    /// All objects of the kind have been listed: what was not listed since
    /// [`Event::Restart`] is gone.
    Restarted(Kind),
}

/// Changes that belong together, and what was wrong with their objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes, in the order in which they happened.
    pub events: Vec<Event>,
    /// Objects that cannot be used as they are. The usable parts of such an object are in
    /// `events`.
    pub reports: Vec<Report>,
    /// When the first change came, where the source knows.
    pub arrived: Option<Instant>,
    /// The memory that the events take until they are applied.
    pub memory: WaitingMemory,
}

impl Batch {
    /// Whether it has neither events nor reports.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.reports.is_empty()
    }
}
