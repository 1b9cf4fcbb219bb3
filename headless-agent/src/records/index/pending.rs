//! Changes that the index has taken in and not yet brought to its names.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::queue::Queue;
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
    pub(super) services: Queue,
    /// Namespaces, and whether they existed.
    pub(super) namespaces: BTreeMap<Box<str>, bool>,
    /// Addresses in namespaces, and the number of pods that had them.
    pub(super) pods: BTreeMap<(Box<str>, IpAddr), u32>,
    /// What follows once certain Services are settled: those with smaller tickets.
    following: VecDeque<(u64, Following)>,
}

/// What follows once all Services are settled that have changed before.
#[derive(Debug)]
pub(super) enum Following {
    /// The name of a Namespace is gone.
    Gone(Box<str>),
    /// A namespace may have nothing left.
    Emptied(Box<str>),
    /// A list is complete. Before this, a name of the list may be missing.
    Listed(Kind),
}

/// A list that has ended, and the namespaces in which objects may be missing from it.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) kind: Kind,
    pub(super) namespaces: Vec<Box<str>>,
}

impl Pending {
    /// Adds what follows once the Services that wait now are settled. A Service that changes
    /// later does not delay it.
    pub(super) fn follow(&mut self, following: Following) {
        let ticket = self.services.next_ticket();
        self.following.push_back((ticket, following));
    }

    /// What follows now, if all Services that have changed before it are settled.
    pub(super) fn pop_following(&mut self) -> Option<Following> {
        let is_next = self.follows();
        let next = is_next.then(|| self.following.pop_front()).flatten();
        next.map(|(_, following)| following)
    }

    fn follows(&self) -> bool {
        let first = self.following.front();
        first.is_some_and(|(ticket, _)| self.services.is_past(*ticket))
    }

    /// Whether names or their completeness are behind the objects.
    pub(super) fn is_unsettled(&self) -> bool {
        self.is_ready() || !self.services.is_empty() || !self.following.is_empty()
    }

    /// Whether something else is behind than what waits for large Services.
    pub(super) fn is_ready(&self) -> bool {
        self.services.has_new()
            || !self.namespaces.is_empty()
            || !self.pods.is_empty()
            || self.follows()
    }
}
