//! Keeps the Services of each address, for reverse names.

use std::net::IpAddr;

use super::super::types::EndpointScope;
use super::slices::Slices;
use super::{Index, ServiceState};
use crate::corefile::Namespaces;
use crate::watch::{EndpointSlice, ServiceKind};

/// The addresses in `from` that `other` lacks. Both are sorted, and hold each address once.
fn missing(
    from: impl Iterator<Item = IpAddr>,
    other: impl Iterator<Item = IpAddr>,
) -> impl Iterator<Item = IpAddr> {
    let mut other = other.peekable();
    from.filter(move |address| {
        while other.next_if(|at| at < address).is_some() {}
        other.peek() != Some(address)
    })
}

impl Index {
    /// Brings the Services of cluster IPs up to date with a Service, whose state was `before`.
    pub(super) fn settle_owned(&mut self, number: usize, before: &ServiceState) {
        let (service, state) = (number as u32, &self.services[number].state);
        let (old, new) = (sorted(own(before)), sorted(own(state)));
        if self.leads(before) != self.leads(state) {
            self.stale.services.push(service);
        }
        if before.exposed != state.exposed
            && matches!(self.settings.exposure.namespaces, Namespaces::Listed(_))
        {
            self.stale.addresses.extend(&new);
            self.stale.addresses.extend(state.endpoints.addresses());
        }
        if old == new {
            return;
        }
        // An address that stays may have been a cluster IP and be an endpoint's now, or
        // the other way round.
        self.stale.addresses.extend(old.iter().chain(&new));
        let (old, new) = (|| old.iter().copied(), || new.iter().copied());
        missing(old(), new()).for_each(|lost| self.owners.remove(lost, service));
        missing(new(), old()).for_each(|gained| self.owners.insert(gained, service));
    }

    /// Brings the Services of endpoints' addresses up to date with the merged slices of a
    /// Service, whose state was `before`.
    pub(super) fn settle_held(&mut self, number: usize, before: &ServiceState) {
        if self.settings.endpoints != EndpointScope::All {
            return;
        }
        let service = number as u32;
        let (old, new) = (&before.endpoints, &self.services[number].state.endpoints);
        if !old.is_empty() && !new.is_empty() {
            // An address that stays may have got another name, or a second one.
            for (some, other) in [(old, new), (new, old)] {
                let labels = some.differing(other);
                let addresses = labels.iter().flat_map(|label| some.named(label));
                let addresses = addresses.map(|(endpoint, _)| endpoint.address);
                self.stale.addresses.extend(addresses);
            }
        }
        for lost in missing(old.addresses(), new.addresses()) {
            self.holders.remove(lost, service);
            self.stale.addresses.push(lost);
        }
        for gained in missing(new.addresses(), old.addresses()) {
            self.holders.insert(gained, service);
            self.stale.addresses.push(gained);
        }
    }

    /// Whether there is room for a slice: the slices of all oversized Services have a bound
    /// together.
    pub(super) fn has_room(&self, owner: usize, slice: &EndpointSlice) -> bool {
        let slices = &self.services[owner].slices;
        let before = slices.get(&slice.name);
        let before = before.map_or(0, |before| before.entries());
        let entries = slices.entries() - before + slice.entries();
        let is_counted = slices.counted().is_some() || entries > self.entries_max;
        !is_counted || self.kept - slices.kept() + entries <= self.kept_max
    }

    /// Changes the slices of a Service, and brings the numbers of kept entries and hidden slices
    /// up to date.
    pub(super) fn change_slices<R>(
        &mut self,
        service: usize,
        change: impl FnOnce(&mut Slices) -> R,
    ) -> R {
        let slices = &mut self.services[service].slices;
        let (kept, hidden) = (slices.kept(), slices.hidden());
        let result = change(slices);
        self.kept = self.kept + slices.kept() - kept;
        self.hidden = self.hidden + slices.hidden() - hidden;
        // The second bound is lower, because each change of this costs as much as all endpoints.
        let hides = self.hidden > 0 || (self.hides && self.kept > self.kept_max / 2);
        if hides != self.hides && self.settings.endpoints == EndpointScope::All {
            self.hides = hides;
            for (_, entry) in &self.services {
                let endpoints = &entry.state.endpoints;
                self.work += endpoints.len();
                self.stale.addresses.extend(endpoints.addresses());
            }
        }
        result
    }

    /// Whether any address may be an endpoint's that the index does not know, because a slice of
    /// an oversized Service has found no room.
    pub(in crate::records) fn hides_holders(&self) -> bool {
        self.hides
    }

    /// From now on the slices of a Service are only counted. Its addresses lead nowhere.
    pub(super) fn count_slices(&mut self, number: usize) {
        let named = self.settings.endpoints == EndpointScope::All;
        self.work += self.services[number].slices.entries();
        self.change_slices(number, |slices| slices.count(named));
        let entry = &self.services[number];
        let Some(counts) = entry.slices.counted().filter(|_| named) else {
            return;
        };
        let (service, endpoints) = (number as u32, &entry.state.endpoints);
        for lost in endpoints.addresses().filter(|at| !counts.contains(*at)) {
            self.holders.remove(lost, service);
            self.stale.addresses.push(lost);
        }
        for address in counts.iter() {
            if !endpoints.contains(address) {
                self.holders.insert(address, service);
            }
            self.stale.addresses.push(address);
        }
    }

    /// Counts the addresses of a changed slice, if the slices of its Service are only counted.
    pub(super) fn recount(
        &mut self,
        number: usize,
        before: Option<&EndpointSlice>,
        now: Option<&EndpointSlice>,
    ) {
        let Some(counts) = self.services[number].slices.counted_mut() else {
            return;
        };
        let entries = [before, now].into_iter().flatten();
        self.work += entries.map(EndpointSlice::entries).sum::<usize>();
        if self.settings.endpoints != EndpointScope::All {
            return;
        }
        let addresses = |slice: Option<&'_ EndpointSlice>| {
            let endpoints = slice.into_iter().flat_map(|slice| slice.endpoints.iter());
            endpoints
                .map(|endpoint| endpoint.address)
                .collect::<Vec<_>>()
        };
        let service = number as u32;
        // Addresses that stay are counted twice in between, and so touch no other table.
        for gained in addresses(now) {
            if counts.add(gained) {
                self.holders.insert(gained, service);
                self.stale.addresses.push(gained);
            }
        }
        for lost in addresses(before) {
            if counts.sub(lost) {
                self.holders.remove(lost, service);
                self.stale.addresses.push(lost);
            }
        }
    }

    /// Whether an address may lead to a Service in this state.
    pub(super) fn leads(&self, state: &ServiceState) -> bool {
        let named = self.settings.endpoints == EndpointScope::All;
        !own(state).is_empty() || (named && state.endpoints.addresses().next().is_some())
    }
}

fn sorted(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The cluster IPs of a Service.
pub(super) fn own(state: &ServiceState) -> &[IpAddr] {
    match state.service.as_deref().map(|service| &service.kind) {
        Some(ServiceKind::ClusterIp(addresses)) => addresses,
        _ => &[],
    }
}
