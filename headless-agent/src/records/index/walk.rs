//! A walk over all names in steps. The index may change between two steps.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::super::name::RelativeName;
use super::{Index, NamespaceEntry};
use crate::watch::Problem;

/// A walk over all names of an index.
///
/// A name that exists from the first step to the last is visited exactly once,
/// unless its Service is deleted and created again meanwhile. A name that comes or goes
/// during the walk may be left out.
#[derive(Debug, Default)]
pub struct Walk {
    stage: Stage,
}

/// The names that the walk visits next.
#[derive(Debug, Default)]
enum Stage {
    /// The Namespaces.
    #[default]
    Begin,
    /// The Services from this number on, then the pods of these namespaces.
    Services(usize, VecDeque<Box<str>>),
    /// The pods of the first namespace with these addresses, then the pods of the other
    /// namespaces.
    Pods(VecDeque<Box<str>>, Vec<IpAddr>),
}

impl Walk {
    /// The names of the next step; `None` after the last step. A step has about `budget`
    /// names. It may be empty. It has more names where one Service does, or where the
    /// cluster has more Namespaces.
    pub fn next(&mut self, index: &Index, budget: usize) -> Option<Vec<RelativeName>> {
        match &mut self.stage {
            Stage::Begin => {
                let namespaces = index.namespaces.keys().cloned().collect();
                let listed = index.namespaces.iter();
                let listed = listed.filter(|(_, entry)| entry.list.is_some());
                let names = listed.filter_map(|(name, _)| RelativeName::from_labels([&**name]));
                let names = names.collect();
                self.stage = Stage::Services(0, namespaces);
                Some(names)
            }
            Stage::Services(number, namespaces) => {
                let mut names = Vec::new();
                let end = index.services_end();
                while *number < end && names.len() < budget {
                    if let Some(entry) = index.services.get(*number) {
                        let of_service = entry
                            .state
                            .names(entry.naming(index.name_max), index.settings.endpoints);
                        names.extend(of_service.map(|(name, _)| name));
                    }
                    *number += 1;
                }
                if *number >= end {
                    self.stage = Stage::Pods(std::mem::take(namespaces), Vec::new());
                }
                Some(names)
            }
            Stage::Pods(namespaces, addresses) => {
                let namespace = namespaces.front()?;
                if addresses.is_empty() {
                    let entry = index.namespaces.get(namespace);
                    let pods = entry.into_iter().flat_map(NamespaceEntry::named_pods);
                    *addresses = pods.map(|(address, _)| address).collect();
                }
                let rest = addresses.len().saturating_sub(budget.max(1));
                let step = addresses.split_off(rest);
                let names = step
                    .into_iter()
                    .filter(|address| index.pods(namespace, *address) > 0)
                    .filter_map(|address| index.pod_name(namespace, address))
                    .collect();
                if addresses.is_empty() {
                    namespaces.pop_front();
                }
                Some(names)
            }
        }
    }
}

impl Index {
    /// One more than the highest number of a Service.
    pub fn services_end(&self) -> usize {
        let last = self.services.iter().next_back();
        last.map_or(0, |(number, _)| number + 1)
    }

    /// The problems of [`Self::problems`] that concern the Services of these numbers, which
    /// end at [`Self::services_end`]. Reading a range at a time keeps the lock of the index
    /// short.
    pub fn problems_of(&self, services: std::ops::Range<usize>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for number in services {
            if let Some(entry) = self.services.get(number) {
                self.problems_of_entry(entry, &mut problems);
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;
    use std::str::FromStr as _;

    use headless_ebpf::abi::PodsMode;
    use hickory_proto::rr::Name;

    use super::*;
    use crate::records::{EndpointScope, Settings};
    use crate::watch::{
        Endpoint, EndpointSlice, Event, Namespace, Object, ObjectRef, Pod, Service, ServiceKind,
    };

    /// Two namespaces. Each has `services` headless Services of three endpoints, and `pods`
    /// pods.
    fn index(services: u8, pods: u8) -> Index {
        let mut index = Index::new(Settings {
            pods: PodsMode::Verified,
            endpoints: EndpointScope::All,
            ..Settings::new(Name::from_str("cluster.local.").unwrap())
        });
        for (n, namespace) in [(0, "one"), (1, "two")] {
            index.apply(Event::Apply(Object::Namespace(Namespace {
                name: namespace.into(),
            })));
            for s in 0..services {
                index.apply(Event::Apply(Object::Service(Service {
                    namespace: namespace.into(),
                    name: format!("s{s}").into(),
                    kind: ServiceKind::Headless,
                    ports: Box::new([]),
                    selector: true,
                    partial: false,
                    selected: true,
                })));
                index.apply(Event::Apply(Object::EndpointSlice(EndpointSlice {
                    namespace: namespace.into(),
                    name: format!("s{s}-1").into(),
                    service: format!("s{s}").into(),
                    ports: Box::new([]),
                    aliases: Box::default(),
                    partial: false,
                    selected: true,
                    endpoints: (0..3)
                        .map(|e| Endpoint {
                            address: IpAddr::from([10, n, s, e]),
                            name: None,
                        })
                        .collect(),
                })));
            }
            for p in 0..pods {
                index.apply(Event::Apply(Object::Pod(Pod {
                    namespace: namespace.into(),
                    name: format!("p{p}").into(),
                    address: Some(IpAddr::from([10, n, 255, p])),
                    terminating: false,
                })));
            }
        }
        index
    }

    fn walked(index: &Index, budget: usize) -> Vec<RelativeName> {
        let mut walk = Walk::default();
        let steps = std::iter::from_fn(|| walk.next(index, budget));
        steps.flatten().collect()
    }

    #[test]
    fn every_name_is_visited_once_whatever_the_budget() {
        let index = index(7, 9);
        let all: BTreeSet<_> = index.names().map(|(name, _)| name).collect();
        assert_eq!(all.len(), 2 * (1 + 7 * 4 + 9));
        for budget in [1, 2, 5, 1000] {
            let walked = walked(&index, budget);
            assert_eq!(walked.len(), all.len(), "budget {budget}");
            assert_eq!(walked.into_iter().collect::<BTreeSet<_>>(), all);
        }
    }

    #[test]
    fn names_that_stay_are_visited_while_others_come_and_go() {
        let mut index = index(20, 20);
        let before: BTreeSet<_> = index.names().map(|(name, _)| name).collect();
        let (mut walk, mut walked) = (Walk::default(), BTreeSet::new());
        for round in 0.. {
            let Some(names) = walk.next(&index, 5) else {
                break;
            };
            walked.extend(names);
            let gone = ObjectRef {
                kind: crate::watch::Kind::Service,
                namespace: "one".into(),
                name: format!("s{round}").into(),
            };
            index.apply(Event::Delete(gone));
            index.apply(Event::Apply(Object::Service(Service {
                namespace: "two".into(),
                name: format!("new{round}").into(),
                kind: ServiceKind::Headless,
                ports: Box::new([]),
                selector: true,
                partial: false,
                selected: true,
            })));
        }
        let after: BTreeSet<_> = index.names().map(|(name, _)| name).collect();
        let stayed: BTreeSet<_> = before.intersection(&after).cloned().collect();
        assert!(stayed.len() > 100);
        assert!(stayed.is_subset(&walked));
    }

    #[test]
    fn problems_are_the_same_in_pieces() {
        let mut index = index(3, 0);
        index.apply(Event::Apply(Object::Service(Service {
            namespace: "nowhere".into(),
            name: "lost".into(),
            kind: ServiceKind::Headless,
            ports: Box::new([]),
            selector: true,
            partial: false,
            selected: true,
        })));
        let whole = index.problems();
        assert_eq!(whole.len(), 1);
        let end = index.services_end();
        let pieces = (0..end).flat_map(|at| index.problems_of(at..at + 1));
        assert_eq!(pieces.collect::<Vec<_>>(), whole);
    }
}
