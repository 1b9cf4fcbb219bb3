//! The Services to which addresses lead, for reverse names.

use std::net::IpAddr;

use super::super::name::RelativeName;
use super::super::service::EndpointLabel;
use super::addresses::own;
use super::pointers::{Pointers, Stale};
use super::{Index, ServiceEntry, ServiceView};
use crate::corefile::Namespaces;

/// Most addresses that [`Index::take_pointers_within`] looks at in one call.
const STALE_MAX: usize = 4096;

impl Index {
    /// The changes since the last call.
    pub fn take_pointers(&mut self) -> Pointers {
        let mut all = self.take_pointers_within(usize::MAX);
        while !self.stale.is_empty() {
            let Pointers {
                services,
                addresses,
            } = self.take_pointers_within(usize::MAX);
            all.services.extend(services);
            all.addresses.extend(addresses);
        }
        all.addresses.sort_unstable();
        all
    }

    /// Some of the changes since the last call: of at most 4096 addresses, whose Services have
    /// about `budget` endpoints. See [`Self::has_pointers`].
    pub fn take_pointers_within(&mut self, budget: usize) -> Pointers {
        let Stale {
            services,
            mut addresses,
            mut freed,
        } = std::mem::take(&mut self.stale);
        addresses.sort_unstable();
        addresses.dedup();
        let some = addresses.split_off(addresses.len().saturating_sub(STALE_MAX));
        let (led, rest) = self.sole(&some, budget);
        self.work += services.len() + some.len();
        addresses.extend(rest);
        let mut told = Vec::with_capacity(services.len());
        let mut tell = |number: u32| {
            let entry = self.services.get(number as usize);
            let name = entry.and_then(|entry| self.pointed(entry));
            if name.is_none() && !addresses.is_empty() {
                return false;
            }
            told.push((number + 1, name));
            true
        };
        freed.extend(services.into_iter().filter(|number| !tell(*number)));
        if addresses.is_empty() {
            freed.retain(|number| !tell(*number));
        }
        self.stale = Stale {
            services: Vec::new(),
            addresses,
            freed,
        };
        Pointers {
            services: told.into_iter().collect(),
            addresses: led,
        }
    }

    /// Whether there are changes that [`Self::take_pointers_within`] has not returned.
    pub fn has_pointers(&self) -> bool {
        !self.stale.is_empty()
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
            let sole = self.sole(&addresses, usize::MAX).0.into_iter();
            let sole = sole.filter(|(_, service)| service.is_some());
            pointers.addresses.extend(sole);
        }
        pointers.addresses.sort_unstable();
        pointers.addresses.dedup();
        pointers
    }

    /// The name of a Service; `None` where no address leads to it.
    fn pointed(&self, entry: &ServiceEntry) -> Option<RelativeName> {
        let leads = self.leads(&entry.state);
        leads.then(|| entry.naming(self.name_max).own()).flatten()
    }

    /// [`Pointers::addresses`] of these addresses, which are sorted. Looks at about `budget`
    /// endpoints, and all of the last Service. The second list has the addresses that are left.
    fn sole(
        &self,
        addresses: &[IpAddr],
        mut budget: usize,
    ) -> (Vec<(IpAddr, Option<u32>)>, Vec<IpAddr>) {
        let mut sole = Vec::with_capacity(addresses.len());
        let mut of_endpoints = Vec::new();
        for address in addresses {
            // A cluster IP leads to its Service only, even if endpoints have the address, too.
            match (
                only(self.owners_of(*address).filter(|at| self.is_led_to(*at))),
                only(self.holders_of(*address).filter(|at| self.is_led_to(*at))),
            ) {
                (Only::One(number), _) => sole.push((*address, Some(number + 1))),
                // The names of a Service whose slices are only counted are not known.
                (Only::None, Only::One(number))
                    if !self.hides_holders() && !self.is_counted(number) =>
                {
                    of_endpoints.push((number, *address));
                }
                _ => sole.push((*address, None)),
            }
        }
        of_endpoints.sort_unstable();
        let mut rest = Vec::new();
        for asked in of_endpoints.chunk_by(|(a, _), (b, _)| a == b) {
            if budget == 0 {
                rest.extend(asked.iter().map(|(_, address)| *address));
                continue;
            }
            let number = asked[0].0;
            let endpoints = &self.services[number as usize].state.endpoints;
            budget = budget.saturating_sub(1 + endpoints.len());
            let endpoints = endpoints.all();
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
        (sole, rest)
    }

    fn is_counted(&self, service: u32) -> bool {
        self.services[service as usize].slices.counted().is_some()
    }

    /// The addresses that no other Service has than the one with this number, which counts
    /// from 1. `addresses` are sorted.
    pub(super) fn alone(&self, service: u32, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let sole = self.sole(addresses, usize::MAX).0.into_iter();
        let sole = sole.filter(|(_, number)| *number == Some(service));
        sole.map(|(address, _)| address).collect()
    }

    /// A Service that has this address as a cluster IP.
    pub(in crate::records) fn owner(&self, address: IpAddr) -> Option<ServiceView<'_>> {
        let mut numbers = self.owners_of(address);
        let number = numbers.find(|number| self.is_led_to(*number))?;
        Some(self.view(number as usize))
    }

    /// Whether reverse names may lead to the Service: with CoreDNS's option `namespaces`, only if
    /// its namespace exists and is one of them.
    fn is_led_to(&self, service: u32) -> bool {
        let listed = matches!(self.settings.exposure.namespaces, Namespaces::Listed(_));
        !listed || self.services[service as usize].state.exposed
    }

    /// [`Self::holders`] to which reverse names may lead.
    pub(in crate::records) fn named_holders(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = ServiceView<'_>> {
        let numbers = self.holders_of(address);
        let numbers = numbers.filter(|number| self.is_led_to(*number));
        numbers.map(|number| self.view(number as usize))
    }

    /// The Services that have this address as an endpoint's address.
    pub(in crate::records) fn holders(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = ServiceView<'_>> {
        let numbers = self.holders_of(address);
        numbers.map(|number| self.view(number as usize))
    }

    // Other addresses may have the same half of a hash.

    fn owners_of(&self, address: IpAddr) -> impl Iterator<Item = u32> {
        let services = self.owners.of(address);
        services.filter(move |at| own(&self.services[*at as usize].state).contains(&address))
    }

    fn holders_of(&self, address: IpAddr) -> impl Iterator<Item = u32> {
        let services = self.holders.of(address);
        services.filter(move |at| {
            let entry = &self.services[*at as usize];
            match entry.slices.counted() {
                Some(counts) => counts.contains(address),
                None => entry.state.endpoints.contains(address),
            }
        })
    }
}

/// The Services found for an address: none, one, or several.
#[derive(Clone, Copy)]
enum Only {
    None,
    One(u32),
    Several,
}

fn only(mut services: impl Iterator<Item = u32>) -> Only {
    match (services.next(), services.next()) {
        (None, _) => Only::None,
        (Some(number), None) => Only::One(number),
        (Some(_), Some(_)) => Only::Several,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::super::fixtures::{delete, namespace, service, slice};
    use super::super::super::types::EndpointScope;
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
