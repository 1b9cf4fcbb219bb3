//! From addresses back to the Services that have them.

use std::borrow::Cow;
use std::net::IpAddr;

use super::super::name::RelativeName;
use super::super::service::endpoint_label;
use super::super::types::EndpointScope;
use super::pointers::{Pointers, Stale};
use super::{Index, Reverse, ServiceEntry, ServiceView, State};
use crate::watch::ServiceKind;

/// Whether there is one, and only one.
#[derive(Clone, Copy)]
enum Only {
    None,
    One(u32),
    Several,
}

impl Only {
    fn take(&mut self, number: u32) {
        *self = match self {
            Self::None => Self::One(number),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// What is in the first and not in the second of two sorted lists.
fn missing<'a>(from: &'a [IpAddr], other: &'a [IpAddr]) -> impl Iterator<Item = &'a IpAddr> {
    let mut other = other.iter().peekable();
    from.iter().filter(move |address| {
        while other.next_if(|at| at < address).is_some() {}
        other.peek() != Some(address)
    })
}

impl Index {
    /// Brings the reverse table up to date with a Service. `relabelled`: whether its
    /// slices have changed.
    pub(super) fn settle_reverse(&mut self, number: usize, before: &State, relabelled: bool) {
        let scope = self.settings.endpoints;
        let state = &self.services[number].state;
        let now = state.reverse(scope);
        let (old, new) = (&before.endpoints, &state.endpoints);
        let named = scope == EndpointScope::All;
        if named && relabelled && !old.is_empty() && !new.is_empty() {
            // An address that stays may have another name, or one more.
            for (some, other) in [(old, new), (new, old)] {
                let labels = some.differing(other);
                let addresses = labels.iter().flat_map(|label| some.named(label));
                let addresses = addresses.map(|(endpoint, _)| endpoint.address);
                self.stale.addresses.extend(addresses);
            }
        }
        let (old, new) = (own(before), own(state));
        if old != new {
            // An address that stays may have been the Service's own.
            self.stale.addresses.extend(old.iter().chain(new));
        }
        let before = before.reverse(scope);
        let service = number as u32;
        if before.is_empty() != now.is_empty() {
            self.stale.services.push(service);
        }
        for lost in missing(&before, &now) {
            let entry = self.reverse_entry(*lost, service);
            let spread = Reverse::spread(entry.hash);
            if let Ok(found) = self.reverse.find_entry(spread, |other| *other == entry) {
                found.remove();
            }
            self.stale.addresses.push(*lost);
        }
        for new in missing(&now, &before) {
            let entry = self.reverse_entry(*new, service);
            self.reverse
                .insert_unique(Reverse::spread(entry.hash), entry, |entry| {
                    Reverse::spread(entry.hash)
                });
            self.stale.addresses.push(*new);
        }
    }

    /// What has changed since the last call.
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

    /// All of them; none is `None`.
    pub fn pointers(&self) -> Pointers {
        let mut pointers = Pointers::default();
        let scope = self.settings.endpoints;
        for (number, entry) in &self.services {
            let addresses = entry.state.reverse(scope);
            if addresses.is_empty() {
                continue;
            }
            if let Some(name) = entry.naming(self.room).own() {
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

    /// The name of a Service to which addresses lead.
    fn pointed(&self, entry: &ServiceEntry) -> Option<RelativeName> {
        let leads = !entry.state.reverse(self.settings.endpoints).is_empty();
        leads.then(|| entry.naming(self.room).own()).flatten()
    }

    /// For each of these addresses, which are sorted, the number of the Service that
    /// alone has it, see [`Pointers::addresses`].
    fn sole(&self, addresses: &[IpAddr]) -> Vec<(IpAddr, Option<u32>)> {
        let mut sole = Vec::with_capacity(addresses.len());
        let mut of_endpoints = Vec::new();
        for address in addresses {
            // A Service's own address is its alone.
            let (mut own_of, mut others) = (Only::None, Only::None);
            for (number, view) in self.having(*address) {
                if own(view.state).contains(address) {
                    own_of.take(number);
                } else {
                    others.take(number);
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
            let mut labels: Vec<(IpAddr, Cow<'_, str>)> = endpoints
                .filter(|(address, _)| asked.binary_search(&(number, *address)).is_ok())
                .map(|(address, endpoint)| (address, endpoint_label(endpoint)))
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

    /// The Services which have this address themselves or among their endpoints.
    pub(in crate::records) fn with_address(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = ServiceView<'_>> {
        self.having(address).map(|(_, view)| view)
    }

    /// The same with their numbers.
    fn having(&self, address: IpAddr) -> impl Iterator<Item = (u32, ServiceView<'_>)> {
        let Reverse { hash, .. } = self.reverse_entry(address, 0);
        let scope = self.settings.endpoints;
        self.reverse
            .iter_hash(Reverse::spread(hash))
            .filter(move |entry| entry.hash == hash)
            .map(|entry| (entry.service, self.view(entry.service as usize)))
            // Others may have the same hash.
            .filter(move |(_, view)| {
                own(view.state).contains(&address)
                    || (scope == EndpointScope::All && view.state.endpoints.contains(address))
            })
    }
}

/// Addresses of the Service itself.
fn own(state: &State) -> &[IpAddr] {
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

    /// Addresses with the names of their Services.
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
        // What has changed is part of what there is.
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
            "two have it"
        );
        index.apply(delete(Kind::EndpointSlice, "default/api-1"));
        assert_eq!(shown(&mut index), ["10.0.0.2 nginx.default"]);
        index.apply(delete(Kind::Service, "default/api"));
        assert_eq!(shown(&mut index), ["-2", "10.96.0.1 -"]);
    }

    /// A Service's own address is its alone, until it is not its own any more.
    #[test]
    fn an_address_may_be_a_services_own_and_an_endpoints() {
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
