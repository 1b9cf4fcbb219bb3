//! Brings names up to date with the objects that the index has taken in.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::name::RelativeName;
use super::super::service::{self, Endpoints, ServiceState};
use super::super::types::NameChange;
use super::pending::Dirty;
use super::pointers::Stale;
use super::slices::AddressCounts;
use super::{Index, NamespaceEntry, entry_exists, namespace_data, pod_data};

impl Index {
    /// Brings names up to date until [`Self::work`] has grown by `budget`, and at least one.
    /// Appends the changes of namespaces, Services and pods, if somebody wants them. Returns
    /// whether some are left.
    ///
    /// A Service is one piece, of at most [`ENTRIES_MAX`](crate::watch::ENTRIES_MAX) entries
    /// before and after. Between two pieces readers see some Services of a Namespace that has
    /// come or gone as they were before. This denies nothing that has not been denied before,
    /// or will not be denied soon.
    pub fn settle(&mut self, budget: usize, mut changes: Option<&mut Vec<NameChange>>) -> bool {
        let end = self.work.saturating_add(budget);
        while self.settle_next(changes.as_deref_mut()) {
            if self.work >= end && self.is_unsettled() {
                return true;
            }
        }
        false
    }

    /// Brings the next Namespace, Service or pods up to date. Returns whether there was one.
    fn settle_next(&mut self, changes: Option<&mut Vec<NameChange>>) -> bool {
        if let Some((name, before)) = self.pending.namespaces.pop_first() {
            self.settle_namespace(name, before, changes);
        } else if let Some(number) = self.pending.services.pop_front() {
            self.settle_service(number as usize, changes);
        } else if let Some((place, before)) = self.pending.pods.pop_first() {
            self.settle_pods(&place, before, changes);
        } else if let Some(name) = self.pending.gone.pop() {
            // Names below a Namespace are gone before its own name.
            self.work += 1;
            if let Some(changes) = changes {
                changes.push(NameChange { name, data: None });
            }
        } else if let Some(name) = self.pending.emptied.pop() {
            self.work += 1;
            let entry = self.namespaces.get(&name);
            if entry.is_some_and(NamespaceEntry::is_empty) {
                self.namespaces.remove(&name);
            }
        } else {
            // Before this, a name of the list may be missing.
            for kind in self.pending.listed.drain(..) {
                self.listed[kind as usize] = true;
            }
            return false;
        }
        true
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.pending.is_unsettled()
    }

    /// Forgets changes that nobody wants. Services that are not settled stay so.
    pub fn forget_changes(&mut self) {
        self.pending.pods.clear();
        self.pending.gone.clear();
        self.stale = Stale::default();
    }

    fn settle_namespace(
        &mut self,
        namespace: Box<str>,
        before: bool,
        changes: Option<&mut Vec<NameChange>>,
    ) {
        self.work += 1;
        let now = entry_exists(&self.namespaces, &namespace);
        if let Some(changes) = changes
            && before != now
            && let Some(name) = RelativeName::from_labels([&*namespace])
        {
            if now {
                let data = Some(namespace_data());
                changes.push(NameChange { name, data });
            } else {
                self.pending.gone.push(name);
            }
        }
        self.pending.emptied.push(namespace);
    }

    /// Brings the name of the pods with an address up to date. `before` of them had the address.
    fn settle_pods(
        &mut self,
        (namespace, address): &(Box<str>, IpAddr),
        before: u32,
        changes: Option<&mut Vec<NameChange>>,
    ) {
        self.work += 1;
        let data = pod_data(*address, self.pods(namespace, *address));
        if let Some(changes) = changes
            && pod_data(*address, before) != data
            && let Some(name) = self.pod_name(namespace, *address)
        {
            changes.push(NameChange { name, data });
        }
    }

    fn settle_service(&mut self, number: usize, changes: Option<&mut Vec<NameChange>>) {
        let (name_max, scope) = (self.name_max, self.settings.endpoints);
        let entry = &mut self.services[number];
        let exposed = entry_exists(&self.namespaces, &entry.namespace);
        let dirty = std::mem::take(&mut entry.dirty);
        let before = ServiceState {
            exposed,
            service: entry.object.clone(),
            endpoints: Arc::clone(&entry.state.endpoints),
        };
        let before = std::mem::replace(&mut entry.state, before);
        let is_counted = entry.slices.counted().is_some();
        let counted = entry.slices.merge(self.entries_max);
        if dirty == Dirty::Slices {
            if let Some(slices) = entry.slices.merged() {
                entry.state.endpoints = Arc::new(before.endpoints.replaced(slices));
            } else if !before.endpoints.is_oversized() {
                entry.state.endpoints = Arc::new(Endpoints::oversized());
            }
        }
        let entry = &self.services[number];
        self.work += 1 + before.endpoints.len() + entry.state.endpoints.len();
        if let Some(changes) = changes {
            service::changes(
                &before,
                &entry.state,
                entry.naming(name_max),
                scope,
                changes,
            );
        }
        self.settle_owned(number, &before);
        if dirty == Dirty::Slices && !is_counted {
            self.settle_held(number, &before);
        }
        // The names of these addresses are known again.
        let counted = counted.iter().flat_map(AddressCounts::iter);
        self.stale.addresses.extend(counted);
        self.release_service(number);
    }
}
