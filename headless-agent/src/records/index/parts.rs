//! A walk over all names and addresses of the index, part by part.

use std::net::{IpAddr, Ipv4Addr};

use headless_ebpf::abi::NameFlags;

use super::super::name::RelativeName;
use super::super::service::EndpointLabel;
use super::{Index, NameData, NamespaceEntry, namespace_data, pod_data};

/// A namespace's own name and its pods' names, or a Service's own name and its endpoints'
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The names that exist, without the names of [`Self::regular`]. A Service's own name comes
    /// first and has its details.
    pub names: Vec<(RelativeName, NameData)>,
    /// The addresses of regular endpoints. The name of such an endpoint has this address
    /// only, and its label is the dashed form of the address. Most endpoints are regular, so
    /// their names are not made ([`Self::regular_name`]).
    pub regular: Vec<Ipv4Addr>,
    /// The addresses that lead to the Service, if the part is one.
    pub pointed: Option<Pointed>,
}

impl Part {
    /// The name of the regular endpoint with this address, and its records.
    pub fn regular_name(&self, address: Ipv4Addr) -> Option<(RelativeName, NameData)> {
        let (service, _) = self.names.first()?;
        let data = NameData {
            flags: NameFlags::empty(),
            ipv4: vec![address],
            ipv6: Vec::new(),
            details: None,
        };
        Some((service.below(&EndpointLabel::dashed(address))?, data))
    }
}

/// The addresses that only one Service has, as in [`super::Pointers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointed {
    /// The Service's number, from 1.
    pub number: u32,
    /// Its name.
    pub name: RelativeName,
    /// The addresses, sorted.
    pub addresses: Vec<IpAddr>,
}

/// A walk over all parts of the index, which may change between two steps. A part that
/// exists during the whole walk is visited once. A part that comes or goes meanwhile may be
/// left out.
#[derive(Debug, Default)]
pub struct Parts {
    /// The namespaces that are still to come; `None` before the first step.
    namespaces: Option<Vec<Box<str>>>,
    /// The next Service by its place in the index.
    service: usize,
}

impl Parts {
    /// The next part; `None` at the end.
    pub fn next(&mut self, index: &Index) -> Option<Part> {
        let all = || index.namespaces.keys().cloned().collect();
        let namespaces = self.namespaces.get_or_insert_with(all);
        if let Some(namespace) = namespaces.pop() {
            return Some(index.namespace_part(&namespace));
        }
        while self.service < index.services.capacity() {
            self.service += 1;
            if index.services.contains(self.service - 1) {
                return Some(index.service_part(self.service - 1));
            }
        }
        None
    }
}

impl Index {
    /// The part of the Service with this number ([`Self::number_of`]).
    pub fn part_of(&self, number: u32) -> Option<Part> {
        let place = (number as usize).checked_sub(1)?;
        self.services
            .contains(place)
            .then(|| self.service_part(place))
    }

    /// The addresses that lead to the Service with this number.
    pub fn pointed_of(&self, number: u32) -> Option<Pointed> {
        let entry = self.services.get((number as usize).checked_sub(1)?)?;
        let addresses = entry.state.reverse(self.settings.endpoints);
        let own = entry.naming(self.name_max).own();
        own.filter(|_| !addresses.is_empty()).map(|name| Pointed {
            number,
            name,
            addresses: self.alone(number, &addresses),
        })
    }

    /// The names of a namespace's pods.
    pub fn pod_names(&self, namespace: &str) -> impl Iterator<Item = RelativeName> {
        let entry = self.namespaces.get(namespace);
        let pods = entry.into_iter().flat_map(NamespaceEntry::named_pods);
        pods.filter_map(move |(address, _)| self.pod_name(namespace, address))
    }

    fn namespace_part(&self, namespace: &str) -> Part {
        let mut part = Part::default();
        let Some(entry) = self.namespaces.get(namespace) else {
            return part;
        };
        if entry.list.is_some() {
            let name = RelativeName::from_labels([namespace]);
            part.names.extend(name.map(|name| (name, namespace_data())));
        }
        for (address, count) in entry.named_pods() {
            let name = self.pod_name(namespace, address);
            part.names
                .extend(name.and_then(|name| Some((name, pod_data(address, count)?))));
        }
        part
    }

    fn service_part(&self, number: usize) -> Part {
        let entry = &self.services[number];
        let (naming, scope) = (entry.naming(self.name_max), self.settings.endpoints);
        let own = naming.own();
        let detailed = own.clone().zip(entry.state.detailed(scope));
        let mut names: Vec<_> = detailed.into_iter().collect();
        let mut regular = Vec::new();
        for group in entry.state.groups(scope) {
            // A name that is too long does not exist.
            match group.regular() {
                Some(address) if own.is_some() && naming.has_endpoint(&group.label) => {
                    regular.push(address);
                }
                Some(_) => {}
                None => {
                    let name = naming.endpoint(&group.label);
                    names.extend(name.map(|name| (name, group.data())));
                }
            }
        }
        Part {
            names,
            regular,
            pointed: self.pointed_of(number as u32 + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::{BTreeMap, BTreeSet};

    use headless_ebpf::abi::PodsMode;

    use super::super::super::fixtures::{namespace, pod, service, settings, slice};
    use super::super::super::types::{EndpointScope, Settings};
    use super::*;

    fn index() -> Index {
        let mut index = Index::new(Settings {
            endpoints: EndpointScope::All,
            pods: PodsMode::Verified,
            ..settings()
        });
        index.apply(namespace("default"));
        index.apply(pod("default", "a", "10.0.0.1"));
        index.apply(service("default", "web", "None", &["web/tcp/80"]));
        index.apply(slice(
            "default/web-1",
            "web",
            &[],
            &["10.0.0.1=a", "10.0.0.2"],
        ));
        index.apply(service("default", "api", "10.96.0.1", &[]));
        index.apply(slice("default/api-1", "api", &[], &["10.0.0.2"]));
        index
    }

    fn all(index: &Index) -> Vec<Part> {
        let mut parts = Parts::default();
        std::iter::from_fn(|| parts.next(index)).collect()
    }

    #[test]
    fn a_walk_finds_what_there_is() {
        let index = index();
        let parts = all(&index);
        let regular = |part: &Part| -> Vec<_> {
            let addresses = part.regular.iter();
            addresses
                .map(|address| part.regular_name(*address).unwrap())
                .collect()
        };
        let all = |part: &Part| [part.names.clone(), regular(part)].concat();
        let names: BTreeMap<_, _> = parts.iter().flat_map(all).collect();
        assert!(parts.iter().any(|part| part.regular.len() == 1));
        let mut expected: BTreeMap<_, _> = index.names().collect();
        assert_eq!(names.len(), 7);
        for (name, data) in &mut expected {
            *data = index.detailed(name.as_bytes()).unwrap();
        }
        assert_eq!(names, expected);
        let pointed = parts.iter().filter_map(|part| part.pointed.as_ref());
        let pointed = pointed.flat_map(|at| at.addresses.iter().map(|to| (*to, Some(at.number))));
        let mut pointed: Vec<_> = pointed.collect();
        pointed.sort_unstable();
        assert_eq!(pointed, index.pointers().addresses);
    }

    #[test]
    fn only_an_endpoint_that_follows_from_its_address_is_regular() {
        let mut index = index();
        let endpoints = [
            "10.0.1.1",
            "10.0.1.2",
            "10.0.1.2",
            "10.0.1.3=a",
            "fd00::1",
            "10.0.1.4",
        ];
        index.apply(slice("default/web-1", "web", &[], &endpoints));
        let parts = all(&index);
        let is_web = |part: &&Part| part.names[0].0.to_string() == "web.default";
        let web = parts.iter().find(is_web).unwrap();
        let regular = [[10, 0, 1, 1], [10, 0, 1, 4]].map(Ipv4Addr::from);
        assert_eq!(web.regular, regular);
        let names = web.names.iter().map(|(name, _)| name.to_string());
        let names: BTreeSet<_> = names.collect();
        let expected = [
            "web.default",
            "10-0-1-2.web.default",
            "a.web.default",
            "fd00--1.web.default",
        ];
        assert_eq!(names, expected.map(str::to_owned).into());
        // No name is longer than the zone allows, whatever its form.
        index.name_max = "10-0-1-1".len() + "web.default".len() + 1;
        let web = all(&index).into_iter().find(|part| is_web(&part)).unwrap();
        assert_eq!((web.names.len(), web.regular.len()), (3, 0));
        index.name_max += 1;
        let web = all(&index).into_iter().find(|part| is_web(&part)).unwrap();
        assert_eq!((web.names.len(), web.regular.len()), (4, 2));
    }

    #[test]
    fn the_index_may_change_meanwhile() {
        let mut index = index();
        let mut parts = Parts::default();
        let first = parts.next(&index).unwrap();
        assert_eq!(first.names.len(), 2, "a namespace and a pod");
        index.apply(service("default", "new", "10.96.0.2", &[]));
        index.apply(super::super::super::fixtures::delete(
            crate::watch::Kind::Service,
            "default/api",
        ));
        let rest: Vec<_> = std::iter::from_fn(|| parts.next(&index)).collect();
        let names = rest.iter().flat_map(|part| &part.names);
        let names: Vec<_> = names.map(|(name, _)| name.to_string()).collect();
        assert!(names.contains(&"web.default".into()), "{names:?}");
        assert!(!names.contains(&"api.default".into()), "{names:?}");
    }
}
