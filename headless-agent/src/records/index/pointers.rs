//! The Service to which each address leads, in the form that the maps need.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::name::RelativeName;

/// The Services to which addresses lead, for reverse names: either all or the changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// The names of Services by their numbers, which count from 1. `None` where no address
    /// leads to the Service any more. A new Service may get the number of a deleted one.
    pub services: BTreeMap<u32, Option<RelativeName>>,
    /// Addresses, sorted, each with the number of its Service. `None` where no Service has
    /// the address, where several have it, where it has several names, and where the names
    /// are not known. The name need not exist, because Service and Namespace need not.
    pub addresses: Vec<(IpAddr, Option<u32>)>,
}

/// Services and addresses of which [`Pointers`] may have changed.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub(super) services: Vec<u32>,
    pub(super) addresses: Vec<IpAddr>,
    /// Services to which no address leads any more. They are told last, after the addresses
    /// that have led to them.
    pub(super) freed: Vec<u32>,
}

impl Stale {
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty() && self.addresses.is_empty() && self.freed.is_empty()
    }
}
