//! Brings names up to date with the objects that the index has taken in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::super::name::RelativeName;
use super::super::service::{self, Endpoints, ServiceState};
use super::super::types::{EndpointScope, NameChange};
use super::pending::{Dirty, Following};
use super::pointers::Stale;
use super::queue::SMALL_MAX;
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
        while self.settle_next(None, changes.as_deref_mut()) {
            if self.work >= end && self.is_unsettled() {
                return true;
            }
        }
        false
    }

    /// [`Self::settle`] without large Services, which wait from `now` on for
    /// [`Self::settle_large`]. Returns whether other names are left.
    pub fn settle_small(
        &mut self,
        budget: usize,
        now: Instant,
        mut changes: Option<&mut Vec<NameChange>>,
    ) -> bool {
        let end = self.work.saturating_add(budget);
        while self.settle_next(Some(now), changes.as_deref_mut()) {
            if self.work >= end && self.pending.is_ready() {
                return true;
            }
        }
        false
    }

    /// Brings one large Service up to date: the one that is due for the longest time. Returns its
    /// number for [`Self::rest_large`]; `None` where none is due.
    pub fn settle_large(
        &mut self,
        now: Instant,
        changes: Option<&mut Vec<NameChange>>,
    ) -> Option<u32> {
        let number = self.pending.services.pop_large(Some(now))?;
        self.settle_service(number as usize, changes);
        Some(number)
    }

    /// Lets a large Service rest from `now` until `end`: its next change is not settled before.
    pub fn rest_large(&mut self, number: u32, now: Instant, end: Instant) {
        self.pending.services.rest(number, now, end);
    }

    /// When the next large Service is due. One that does not rest is due at once.
    pub fn large_due(&self) -> Option<Instant> {
        self.pending.services.due()
    }

    /// Whether [`Self::settle_small`] has something to do.
    pub fn is_ready(&self) -> bool {
        self.pending.is_ready()
    }

    /// The entries that are merged before or after a change of this Service.
    fn entries_to_settle(&self, number: usize) -> usize {
        let entry = &self.services[number];
        let now = entry.slices.entries();
        let now = if now > self.entries_max { 0 } else { now };
        now.max(entry.state.endpoints.len())
    }

    /// Brings the next Namespace, Service or pods up to date. With `now`, a large Service only
    /// begins to wait. Returns whether there was something to do.
    fn settle_next(&mut self, now: Option<Instant>, changes: Option<&mut Vec<NameChange>>) -> bool {
        if let Some((name, before)) = self.pending.namespaces.pop_first() {
            self.settle_namespace(name, before, changes);
        } else if let Some(waiting) = self.pending.services.pop() {
            let number = waiting.number as usize;
            match now {
                Some(now) if self.entries_to_settle(number) > SMALL_MAX => {
                    self.work += 1;
                    self.pending.services.put_large(waiting, now);
                }
                _ => self.settle_service(number, changes),
            }
        } else if let Some((place, before)) = self.pending.pods.pop_first() {
            self.settle_pods(&place, before, changes);
        } else if let Some(following) = self.pending.pop_following() {
            self.settle_following(following, changes);
        } else if now.is_none()
            && let Some(number) = self.pending.services.pop_large(None)
        {
            self.settle_service(number as usize, changes);
        } else {
            return false;
        }
        true
    }

    fn settle_following(&mut self, following: Following, changes: Option<&mut Vec<NameChange>>) {
        match following {
            Following::Gone(namespace) => {
                self.work += 1;
                // The Namespace may have come back meanwhile.
                if let Some(changes) = changes
                    && !entry_exists(&self.namespaces, &namespace)
                    && let Some(name) = RelativeName::from_labels([&*namespace])
                {
                    changes.push(NameChange { name, data: None });
                }
            }
            Following::Emptied(namespace) => {
                self.work += 1;
                let entry = self.namespaces.get(&namespace);
                if entry.is_some_and(NamespaceEntry::is_empty) {
                    self.namespaces.remove(&namespace);
                }
            }
            Following::Listed(kind) => self.listed[kind as usize] = true,
        }
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.pending.is_unsettled()
    }

    /// Forgets changes that nobody wants. Services that are not settled stay so.
    pub fn forget_changes(&mut self) {
        self.pending.pods.clear();
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
        {
            if !now {
                // Names below a Namespace are gone before its own name.
                self.pending.follow(Following::Gone(namespace.clone()));
            } else if let Some(name) = RelativeName::from_labels([&*namespace]) {
                let data = Some(namespace_data());
                changes.push(NameChange { name, data });
            }
        }
        self.pending.follow(Following::Emptied(namespace));
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
        // With unknown endpoints all questions are left to CoreDNS, see `run::corefile`.
        let ignores_empty = self.settings.exposure.ignore_empty && scope == EndpointScope::All;
        let entry = &mut self.services[number];
        let exposed = entry_exists(&self.namespaces, &entry.namespace);
        let dirty = std::mem::take(&mut entry.dirty);
        let before = ServiceState {
            exposed,
            ignores_empty,
            service: entry.object.clone(),
            endpoints: Arc::clone(&entry.state.endpoints),
        };
        let before = std::mem::replace(&mut entry.state, before);
        let is_counted = entry.slices.counted().is_some();
        let entries_max = self.entries_max;
        let counted = self.change_slices(number, |slices| slices.merge(entries_max));
        let entry = &mut self.services[number];
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
