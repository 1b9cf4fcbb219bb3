//! A walk over all names and addresses of the index, part by part.

use std::net::IpAddr;

use super::super::name::RelativeName;
use super::{Index, NameData, namespace_data, pod_data};

/// A namespace's own name and its pods' names, or a Service's own name and its endpoints'
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The names that exist. A Service's own name comes first and has its details.
    pub names: Vec<(RelativeName, NameData)>,
    /// The addresses that lead to the Service, if the part is one.
    pub pointed: Option<Pointed>,
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
    fn namespace_part(&self, namespace: &str) -> Part {
        let mut part = Part::default();
        let Some(entry) = self.namespaces.get(namespace) else {
            return part;
        };
        if entry.list.is_some() {
            let name = RelativeName::from_labels([namespace]);
            part.names.extend(name.map(|name| (name, namespace_data())));
        }
        for (address, count) in &entry.pod_addresses {
            let name = self.pod_name(namespace, *address);
            part.names
                .extend(name.and_then(|name| Some((name, pod_data(*address, *count)?))));
        }
        part
    }

    fn service_part(&self, number: usize) -> Part {
        let entry = &self.services[number];
        let (naming, scope) = (entry.naming(self.name_max), self.settings.endpoints);
        let mut names: Vec<_> = entry.state.names(naming, scope).collect();
        let own = naming.own();
        if let Some((name, data)) = names.first_mut()
            && own.as_ref() == Some(name)
            && let Some(detailed) = entry.state.detailed(scope)
        {
            *data = detailed;
        }
        let addresses = entry.state.reverse(scope);
        let pointed = own.filter(|_| !addresses.is_empty()).map(|name| Pointed {
            number: number as u32 + 1,
            name,
            addresses: self.alone(number as u32 + 1, &addresses),
        });
        Part { names, pointed }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

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
        let names: BTreeMap<_, _> = parts.iter().flat_map(|part| part.names.clone()).collect();
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
