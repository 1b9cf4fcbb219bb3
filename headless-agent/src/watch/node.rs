//! The pods of this node, and what decides about them.

use std::net::IpAddr;

use super::network::{DnsService, NetworkPolicy};
use super::{Excerpt, Kind, ObjectRef, Problems};
use crate::selector::Labels;

/// The annotation of a pod or a namespace that names the mode of its pods.
pub const MODE_ANNOTATION: &str = "headless.io/mode";

/// Most bytes of a pod's labels that are kept. A tenant may give an object more than a megabyte.
pub const LABELS_BYTES_MAX: usize = 16 << 10;

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePod {
    /// The value of [`MODE_ANNOTATION`].
    pub mode: Option<Excerpt>,
    /// Its labels; `None` where they have more than [`LABELS_BYTES_MAX`] bytes.
    pub labels: Option<Labels>,
    /// Its addresses; none before its interface has any.
    pub addresses: Box<[IpAddr]>,
    /// Whether it has an interface of its own, or will have one: it does not use the node's
    /// network, and has not ended.
    pub has_interface: bool,
}

/// The annotation and labels of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeNamespace {
    /// The value of [`MODE_ANNOTATION`].
    pub mode: Option<Excerpt>,
    /// All labels of the namespace of the cluster's DNS; `None` for other namespaces.
    pub labels: Option<Labels>,
}

/// A slim object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeObject {
    /// See [`NodePod`].
    Pod(NodePod),
    /// See [`NodeNamespace`].
    Namespace(NodeNamespace),
    /// See [`NetworkPolicy`].
    NetworkPolicy(NetworkPolicy),
    /// See [`DnsService`].
    DnsService(DnsService),
}

/// A change of an object that decides about pods, or of the lists of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// The object exists. `None` where it cannot be read; its problems say why.
    Apply(ObjectRef, Option<NodeObject>, Problems),
    /// The object is gone.
    Delete(ObjectRef),
    /// All objects of the kind are about to be listed again.
    Restart(Kind),
    /// All objects of the kind have been listed.
    Restarted(Kind),
}
