//! The Service of the cluster's DNS and its slices, where CoreDNS does not select them.
//!
//! These objects have no names, but their addresses are served all the same: pods ask there. Other objects
//! that are not selected do not exist for the index.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::watch::{Kind, ObjectRef};

/// The addresses of objects that are not selected, each with the number of the list in which the
/// object was last seen.
#[derive(Debug, Default)]
pub(super) struct Unselected {
    addresses: HashMap<ObjectRef, (u32, Box<[IpAddr]>)>,
}

impl Unselected {
    /// Every address, with the kind of the object that has it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Kind, IpAddr)> {
        self.addresses
            .iter()
            .flat_map(|(reference, (_, addresses))| {
                addresses.iter().map(|address| (reference.kind, *address))
            })
    }

    /// Whether a slice is not selected.
    pub(super) fn has_slices(&self) -> bool {
        let mut objects = self.addresses.keys();
        objects.any(|reference| reference.kind == Kind::EndpointSlice)
    }

    /// Whether every object of the cluster's DNS is selected.
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Keeps the addresses of an object, which was in this list.
    pub(super) fn insert(&mut self, object: ObjectRef, list: u32, addresses: Box<[IpAddr]>) {
        self.addresses.insert(object, (list, addresses));
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, reference: &ObjectRef) {
        self.addresses.remove(reference);
    }

    /// Forgets the objects of a kind that its list, which has ended, did not have.
    pub(super) fn end_list(&mut self, kind: Kind, list: u32) {
        let stays = |reference: &ObjectRef, last| reference.kind != kind || last == list;
        self.addresses
            .retain(|reference, (last, _)| stays(reference, *last));
    }
}
