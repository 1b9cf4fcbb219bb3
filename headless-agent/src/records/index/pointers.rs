//! Addresses and the Services that have them, as the maps need it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::name::RelativeName;

/// Services by address, for reverse names: all, or those that have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// Services by number, counted from 1, with their names; `None` where no address
    /// leads there any more. Numbers of what is gone are given to others.
    pub services: BTreeMap<u32, Option<RelativeName>>,
    /// Addresses, sorted, and the Service that alone has them, under one name: `None`
    /// where there is none, or more than one. Whether the name exists, that is whether
    /// Service and Namespace do, is another matter.
    pub addresses: Vec<(IpAddr, Option<u32>)>,
}

/// Services and addresses whose [`Pointers`] may have changed.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub(super) services: Vec<u32>,
    pub(super) addresses: Vec<IpAddr>,
}
