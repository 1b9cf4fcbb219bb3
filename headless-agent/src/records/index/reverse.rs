//! The Services of each address, for reverse names.

use std::net::IpAddr;

use super::super::name::RelativeName;
use super::super::service::EndpointLabel;
use super::super::types::EndpointScope;
use super::pointers::{Pointers, Stale};
use super::{AddressEntry, Index, ServiceEntry, ServiceState, ServiceView};
use crate::watch::ServiceKind;

/// The Services found for an address: none, one, or several.
#[derive(Clone, Copy)]
enum Only {
    None,
    One(u32),
    Several,
}

impl Only {
    fn add(&mut self, number: u32) {
        *self = match self {
            Self::None => Self::One(number),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// The addresses in `from` that `other` lacks. Both are sorted.
fn missing<'a>(from: &'a [IpAddr], other: &'a [IpAddr]) -> impl Iterator<Item = &'a IpAddr> {
    let mut other = other.iter().peekable();
    from.iter().filter(move |address| {
        while other.next_if(|at| at < address).is_some() {}
        other.peek() != Some(address)
    })
}

impl Index {
    /// Brings the table of addresses up to date with a Service. `relabelled` says whether
    /// the Service's slices have changed.
    pub(super) fn settle_reverse(
        &mut self,
        number: usize,
        before: &ServiceState,
        relabelled: bool,
    ) {
        let scope = self.settings.endpoints;
        let state = &self.services[number].state;
        let now = state.reverse(scope);
        let (old, new) = (&before.endpoints, &state.endpoints);
        let named = scope == EndpointScope::All;
        if named && relabelled && !old.is_empty() && !new.is_empty() {
            // An address that stays may have got another name, or a second one.
            for (some, other) in [(old, new), (new, old)] {
                let labels = some.differing(other);
                let addresses = labels.iter().flat_map(|label| some.named(label));
                let addresses = addresses.map(|(endpoint, _)| endpoint.address);
                self.stale.addresses.extend(addresses);
            }
        }
        let (old, new) = (own(before), own(state));
        if old != new {
            // An address that stays may have been a cluster IP and be an endpoint's now, or
            // the other way round.
            self.stale.addresses.extend(old.iter().chain(new));
        }
        let before = before.reverse(scope);
        let service = number as u32;
        if before.is_empty() != now.is_empty() {
            self.stale.services.push(service);
        }
        for lost in missing(&before, &now) {
            let entry = self.address_entry(*lost, service);
            let spread = AddressEntry::spread(entry.hash);
            if let Ok(found) = self.reverse.find_entry(spread, |other| *other == entry) {
                found.remove();
            }
            self.stale.addresses.push(*lost);
        }
        for new in missing(&now, &before) {
            let entry = self.address_entry(*new, service);
            self.reverse
                .insert_unique(AddressEntry::spread(entry.hash), entry, |entry| {
                    AddressEntry::spread(entry.hash)
                });
            self.stale.addresses.push(*new);
        }
    }

    /// The changes since the last call.
    pub fn take_pointers(&mut self) -> Pointers {
        let Stale {
            services,
            mut addresses,
        } = std::mem::take(&mut self.stale);
        addresses.sort_unstable();
        addresses.dedup();
        let services = services.into_iter().map(|number| {
            let entry = self.services.get(number as usize);
            (number + 1, entry.and_then(|entry| self.pointed(entry)))
        });
        Pointers {
            services: services.collect(),
            addresses: self.sole(&addresses),
        }
    }

    /// All Services and addresses. No address is without a Service.
    pub fn pointers(&self) -> Pointers {
        let mut pointers = Pointers::default();
        let scope = self.settings.endpoints;
        for (number, entry) in &self.services {
            let addresses = entry.state.reverse(scope);
            if addresses.is_empty() {
                continue;
            }
            if let Some(name) = entry.naming(self.name_max).own() {
                pointers.services.insert(number as u32 + 1, Some(name));
            }
            let sole = self.sole(&addresses).into_iter();
            let sole = sole.filter(|(_, service)| service.is_some());
            pointers.addresses.extend(sole);
        }
        pointers.addresses.sort_unstable();
        pointers.addresses.dedup();
        pointers
    }

    /// The name of a Service; `None` where no address leads to it.
    fn pointed(&self, entry: &ServiceEntry) -> Option<RelativeName> {
        let leads = !entry.state.reverse(self.settings.endpoints).is_empty();
        leads.then(|| entry.naming(self.name_max).own()).flatten()
    }

    /// [`Pointers::addresses`] of these addresses, which are sorted.
    fn sole(&self, addresses: &[IpAddr]) -> Vec<(IpAddr, Option<u32>)> {
        let mut sole = Vec::with_capacity(addresses.len());
        let mut of_endpoints = Vec::new();
        for address in addresses {
            // A cluster IP leads to its Service only, even if endpoints have the address, too.
            let (mut own_of, mut others) = (Only::None, Only::None);
            for (number, view) in self.having(*address) {
                if own(view.state).contains(address) {
                    own_of.add(number);
                } else {
                    others.add(number);
                }
            }
            match (own_of, others) {
                (Only::One(number), _) => sole.push((*address, Some(number + 1))),
                (Only::None, Only::One(number)) => of_endpoints.push((number, *address)),
                _ => sole.push((*address, None)),
            }
        }
        of_endpoints.sort_unstable();
        for asked in of_endpoints.chunk_by(|(a, _), (b, _)| a == b) {
            let number = asked[0].0;
            let endpoints = self.services[number as usize].state.endpoints.all();
            let endpoints = endpoints.map(|(endpoint, _)| (endpoint.address, endpoint));
            let mut labels: Vec<(IpAddr, EndpointLabel<'_>)> = endpoints
                .filter(|(address, _)| asked.binary_search(&(number, *address)).is_ok())
                .map(|(address, endpoint)| (address, EndpointLabel::of(endpoint)))
                .collect();
            labels.sort_unstable();
            for named in labels.chunk_by(|(a, _), (b, _)| a == b) {
                let (address, first) = &named[0];
                let alone = named.iter().all(|(_, label)| label == first);
                sole.push((*address, alone.then_some(number + 1)));
            }
        }
        sole.sort_unstable();
        sole
    }

    /// The addresses that no other Service has than the one with this number, which counts
    /// from 1. `addresses` are sorted.
    pub(super) fn alone(&self, service: u32, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let sole = self.sole(addresses).into_iter();
        let sole = sole.filter(|(_, number)| *number == Some(service));
        sole.map(|(address, _)| address).collect()
    }

    /// The Services that have this address as a cluster IP or an endpoint's address.
    pub(in crate::records) fn with_address(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = ServiceView<'_>> {
        self.having(address).map(|(_, view)| view)
    }

    /// [`Self::with_address`] with the Services' numbers.
    fn having(&self, address: IpAddr) -> impl Iterator<Item = (u32, ServiceView<'_>)> {
        let AddressEntry { hash, .. } = self.address_entry(address, 0);
        let scope = self.settings.endpoints;
        self.reverse
            .iter_hash(AddressEntry::spread(hash))
            .filter(move |entry| entry.hash == hash)
            .map(|entry| (entry.service, self.view(entry.service as usize)))
            // Other addresses may have the same half of a hash.
            .filter(move |(_, view)| {
                own(view.state).contains(&address)
                    || (scope == EndpointScope::All && view.state.endpoints.contains(address))
            })
    }
}

/// The cluster IPs of a Service.
fn own(state: &ServiceState) -> &[IpAddr] {
    match state.service.as_deref().map(|service| &service.kind) {
        Some(ServiceKind::ClusterIp(addresses)) => addresses,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::super::fixtures::{delete, namespace, service, slice};
    use super::super::Settings;
    use super::*;
    use crate::watch::Kind;

    const WEB: &[&str] = &["web/tcp/80"];

    fn index() -> Index {
        let zone = "cluster.local.".parse().unwrap();
        let mut index = Index::new(Settings {
            endpoints: EndpointScope::All,
            ..Settings::new(zone)
        });
        index.apply(namespace("default"));
        index
    }

    /// The changes as text: addresses with the names of their Services.
    fn shown(index: &mut Index) -> Vec<String> {
        let Pointers {
            services,
            addresses,
        } = index.take_pointers();
        let all = index.pointers();
        let lost = services.iter().filter(|(_, name)| name.is_none());
        let mut shown: Vec<String> = lost.map(|(number, _)| format!("-{number}")).collect();
        shown.extend(addresses.iter().map(|(address, service)| match service {
            Some(number) => {
                let name = all.services[number].as_ref().unwrap();
                format!("{address} {name}")
            }
            None => format!("{address} -"),
        }));
        // The changes must agree with the whole.
        for (address, service) in addresses {
            let found = all.addresses.iter().find(|(at, _)| *at == address);
            assert_eq!(found.and_then(|(_, service)| *service), service);
        }
        shown
    }

    #[test]
    fn an_address_leads_to_the_one_service_that_has_it() {
        let mut index = index();
        index.apply(service("default", "nginx", "None", WEB));
        index.apply(slice(
            "default/nginx-1",
            "nginx",
            WEB,
            &["10.0.0.1=a", "10.0.0.2=b"],
        ));
        assert_eq!(
            shown(&mut index),
            ["10.0.0.1 nginx.default", "10.0.0.2 nginx.default"]
        );
        assert_eq!(shown(&mut index), [""; 0], "nothing has changed since");
        index.apply(service("default", "api", "10.96.0.1", WEB));
        index.apply(slice("default/api-1", "api", WEB, &["10.0.0.2=b"]));
        assert_eq!(
            shown(&mut index),
            ["10.0.0.2 -", "10.96.0.1 api.default"],
            "two Services have it"
        );
        index.apply(delete(Kind::EndpointSlice, "default/api-1"));
        assert_eq!(shown(&mut index), ["10.0.0.2 nginx.default"]);
        index.apply(delete(Kind::Service, "default/api"));
        assert_eq!(shown(&mut index), ["-2", "10.96.0.1 -"]);
    }

    /// A cluster IP leads to its Service only, even if endpoints have the address, too.
    #[test]
    fn an_address_may_be_a_cluster_ip_and_an_endpoints() {
        let mut index = index();
        index.apply(service("default", "nginx", "None", WEB));
        index.apply(slice("default/nginx-1", "nginx", WEB, &["10.0.0.1=a"]));
        index.apply(service("default", "api", "10.0.0.1", WEB));
        index.apply(slice("default/api-1", "api", WEB, &["10.0.0.1=b"]));
        assert_eq!(shown(&mut index), ["10.0.0.1 api.default"]);
        index.apply(service("default", "api", "None", WEB));
        assert_eq!(shown(&mut index), ["10.0.0.1 -"]);
        index.apply(service("default", "api", "10.0.0.1", WEB));
        assert_eq!(shown(&mut index), ["10.0.0.1 api.default"]);
    }

    #[test]
    fn an_address_with_two_names_leads_nowhere() {
        let mut index = index();
        index.apply(service("default", "nginx", "None", WEB));
        index.apply(slice("default/nginx-1", "nginx", WEB, &["10.0.0.1=a"]));
        index.take_pointers();
        index.apply(slice("default/nginx-2", "nginx", WEB, &["10.0.0.1=b"]));
        assert_eq!(shown(&mut index), ["10.0.0.1 -"]);
        index.apply(slice("default/nginx-2", "nginx", WEB, &["10.0.0.1=a"]));
        assert_eq!(shown(&mut index), ["10.0.0.1 nginx.default"], "once more");
        index.apply(slice("default/nginx-2", "nginx", WEB, &[]));
        shown(&mut index);
        index.apply(slice("default/nginx-1", "nginx", WEB, &["10.0.0.1=c"]));
        assert_eq!(
            shown(&mut index),
            ["10.0.0.1 nginx.default"],
            "another name"
        );
    }
}
