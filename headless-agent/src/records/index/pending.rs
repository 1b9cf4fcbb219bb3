//! Changes that the index has taken in and not yet brought to its names.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::super::name::RelativeName;
use crate::watch::{Kind, ObjectRef};

/// The part of a Service that has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    /// Nothing.
    #[default]
    Nothing,
    /// The Service object, or its Namespace.
    Object,
    /// Its slices, and perhaps the rest.
    Slices,
}

/// Changes that have been taken in.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// A list that has ended, while its missing objects are looked for.
    pub(super) ending: Option<Ending>,
    /// Objects that a list which has ended did not have.
    pub(super) removed: Vec<ObjectRef>,
    /// Services whose Namespace has come or gone.
    pub(super) exposed: Vec<usize>,
    /// Services that are not [`Dirty::Nothing`], each once.
    pub(super) services: VecDeque<u32>,
    /// Namespaces, and whether they existed.
    pub(super) namespaces: BTreeMap<Box<str>, bool>,
    /// Namespaces that may have nothing left.
    pub(super) emptied: Vec<Box<str>>,
    /// Addresses in namespaces, and the number of pods that had them.
    pub(super) pods: BTreeMap<(Box<str>, IpAddr), u32>,
    /// Names of Namespaces that are gone.
    pub(super) gone: Vec<RelativeName>,
    /// Kinds whose list is complete once all Services are settled.
    pub(super) listed: Vec<Kind>,
}

/// A list that has ended, and the namespaces in which objects may be missing from it.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) kind: Kind,
    pub(super) namespaces: Vec<Box<str>>,
}

impl Pending {
    /// Whether names or their completeness are behind the objects.
    pub(super) fn is_unsettled(&self) -> bool {
        let Self {
            ending: _,
            removed: _,
            exposed: _,
            services,
            namespaces,
            emptied,
            pods,
            gone,
            listed,
        } = self;
        !(services.is_empty()
            && namespaces.is_empty()
            && emptied.is_empty()
            && pods.is_empty()
            && gone.is_empty()
            && listed.is_empty())
    }
}
