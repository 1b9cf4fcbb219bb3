//! The SRV targets of a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::types::{Counted, Target, TargetSet, Targets};
use super::endpoints::Endpoints;
use super::label::EndpointLabel;
use crate::watch::Port;

/// The ports of a Service or slice, in order. As in CoreDNS
/// (`plugin/kubernetes/object/service.go`), an object that declares no port has one
/// without name, protocol and number, so that its addresses are found.
fn declared(ports: &[Port]) -> Vec<Option<Port>> {
    if ports.is_empty() {
        return vec![None];
    }
    let mut ports: Vec<_> = ports.iter().cloned().map(Some).collect();
    ports.sort_by(|a, b| order(a.as_ref(), b.as_ref()));
    ports
}

/// The order of ports: by number, ports without a number first.
fn order(a: Option<&Port>, b: Option<&Port>) -> std::cmp::Ordering {
    fn key(port: Option<&Port>) -> Option<(Option<u16>, &str, &str)> {
        port.map(|port| (port.number, port.protocol.label(), &*port.name))
    }
    key(a).cmp(&key(b))
}

impl Targets {
    /// The ports of a Service with these cluster IPs, which lead to the Service itself.
    pub(super) fn own(ports: &[Port], addresses: &[IpAddr]) -> Self {
        let ports: Vec<_> = declared(ports)
            .into_iter()
            .map(|port| Counted {
                port,
                endpoints: addresses.len(),
            })
            .collect();
        let itself = (!addresses.is_empty()).then(|| Target {
            label: None,
            addresses: addresses.to_vec(),
            ports: (0..ports.len()).collect(),
        });
        Self {
            ports,
            targets: TargetSet::Each(itself.into_iter().collect()),
            endpoints: addresses.len(),
        }
    }

    /// The ports and targets of a headless Service's endpoints, as
    /// [`TargetSet::Addresses`] where this is enough. `None` where a slice has a port twice.
    pub(super) fn of_headless(endpoints: &Endpoints) -> Option<Self> {
        let Some(list) = endpoints.uniform_ports() else {
            return Self::of(endpoints);
        };
        let ports = declared(list);
        // A port that is there twice counts twice, but a target has one bit for each port.
        let once = ports
            .windows(2)
            .all(|pair| order(pair[0].as_ref(), pair[1].as_ref()).is_lt());
        let total = endpoints.len();
        let counted = |port| Counted {
            port,
            endpoints: total,
        };
        once.then(|| Self {
            ports: ports.into_iter().map(counted).collect(),
            targets: TargetSet::Addresses,
            endpoints: total,
        })
    }

    /// The ports and targets of endpoints, each target in full. `None` where a slice has a
    /// port twice.
    pub(super) fn of(endpoints: &Endpoints) -> Option<Self> {
        let mut lists: Vec<&[Port]> = endpoints.all().map(|(_, ports)| ports).collect();
        // The endpoints of one slice share the memory of their ports, and the slices of most
        // Services have the same ports.
        lists.dedup_by(|a, b| std::ptr::eq(*a, *b) || a == b);
        let mut all: Vec<Option<Port>> = lists.iter().flat_map(|list| declared(list)).collect();
        all.sort_by(|a, b| order(a.as_ref(), b.as_ref()));
        all.dedup();
        let places = |list: &[Port]| -> Option<Box<[usize]>> {
            let ports = declared(list);
            let place = |port: &Option<Port>| {
                let found = all.binary_search_by(|at| order(at.as_ref(), port.as_ref()));
                found.ok()
            };
            let places: Box<[usize]> = ports.iter().filter_map(place).collect();
            // A port that is there twice counts twice, but a target has one bit for each port.
            let once = places.windows(2).all(|pair| pair[0] < pair[1]);
            (once && places.len() == ports.len()).then_some(places)
        };
        let mut counts = vec![0; all.len()];
        if let [_] = lists.as_slice() {
            let places = places(lists[0])?;
            return Some(Self::alike(endpoints, all, &places));
        }
        // An address gets the ports of all slices that have it, so that each reply holds it
        // once.
        let mut found: BTreeMap<(EndpointLabel<'_>, IpAddr), BTreeSet<usize>> = BTreeMap::new();
        let mut total = 0;
        let mut current: Option<(&[Port], Box<[usize]>)> = None;
        for (endpoint, list) in endpoints.all() {
            let ports = match &current {
                Some((of, ports)) if std::ptr::eq(*of, list) => ports,
                _ => &current.insert((list, places(list)?)).1,
            };
            total += 1;
            ports.iter().for_each(|port| counts[*port] += 1);
            let key = (EndpointLabel::of(endpoint), endpoint.address);
            found.entry(key).or_default().extend(ports);
        }
        let mut targets: BTreeMap<(EndpointLabel<'_>, BTreeSet<usize>), Vec<IpAddr>> =
            BTreeMap::new();
        for ((label, address), ports) in found {
            targets.entry((label, ports)).or_default().push(address);
        }
        let target =
            |((label, ports), addresses): ((EndpointLabel<'_>, BTreeSet<usize>), _)| Target {
                label: Some((*label).into()),
                addresses,
                ports: ports.into_iter().collect(),
            };
        let counted = all.into_iter().zip(counts);
        Some(Self {
            ports: counted
                .map(|(port, endpoints)| Counted { port, endpoints })
                .collect(),
            targets: TargetSet::Each(targets.into_iter().map(target).collect()),
            endpoints: total,
        })
    }
}

impl Targets {
    /// The targets of endpoints that all have all of these ports. Endpoints are in the order
    /// of their labels, so one walk over them is enough.
    fn alike(endpoints: &Endpoints, ports: Vec<Option<Port>>, places: &[usize]) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        let mut total = 0;
        for endpoint in endpoints.by_name() {
            total += 1;
            let label = EndpointLabel::of(endpoint);
            // Labels that differ in case only are next to each other, in any order.
            let mut alike = targets.iter_mut().rev().take_while(|target| {
                let other = target.label.as_deref().unwrap_or_default();
                other.eq_ignore_ascii_case(&label)
            });
            match alike.find(|target| target.label.as_deref() == Some(&*label)) {
                Some(last) => {
                    if !last.addresses.contains(&endpoint.address) {
                        last.addresses.push(endpoint.address);
                    }
                }
                None => targets.push(Target {
                    label: Some((*label).into()),
                    addresses: vec![endpoint.address],
                    ports: places.into(),
                }),
            }
        }
        let counted = |port| Counted {
            port,
            endpoints: total,
        };
        Self {
            ports: ports.into_iter().map(counted).collect(),
            targets: TargetSet::Each(targets),
            endpoints: total,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use super::*;
    use crate::watch::{Endpoint, EndpointSlice, Protocol};

    fn port(name: &str, number: u16) -> Port {
        Port {
            name: name.into(),
            number: Some(number),
            protocol: Protocol::Tcp,
        }
    }

    /// The ports of a slice, and the names and addresses of its endpoints.
    type Slice<'a> = (&'a [Port], &'a [(&'a str, [u8; 4])]);

    fn targets(slices: &[Slice<'_>]) -> Option<Targets> {
        Targets::of_headless(&endpoints(slices))
    }

    /// An endpoint with an empty name is called by its address.
    fn endpoints(slices: &[Slice<'_>]) -> Endpoints {
        let endpoint = |(name, address): &(&str, [u8; 4])| Endpoint {
            address: IpAddr::from(*address),
            name: (!name.is_empty()).then(|| (*name).into()),
        };
        let slice = |(number, (ports, endpoints)): (usize, &Slice<'_>)| {
            Arc::new(EndpointSlice {
                namespace: "default".into(),
                name: format!("web-{number}").into(),
                service: "web".into(),
                ports: (*ports).into(),
                endpoints: endpoints.iter().map(endpoint).collect(),
                aliases: Box::default(),
                partial: false,
            })
        };
        let slices: Vec<_> = slices.iter().enumerate().map(slice).collect();
        Endpoints::default().replaced(&slices)
    }

    fn each(targets: &Targets) -> &[Target] {
        match &targets.targets {
            TargetSet::Each(targets) => targets,
            TargetSet::Addresses => panic!("{targets:?}"),
        }
    }

    /// Targets are in full where they do not follow from the addresses.
    #[test]
    fn targets_may_follow_from_the_addresses() {
        let (http, metrics) = ([port("http", 80)], [port("metrics", 9090)]);
        let (a, b) = (("", [10, 0, 0, 1]), ("", [10, 0, 0, 2]));
        let implied = |slices: &[Slice<'_>]| {
            let found = targets(slices).unwrap();
            let explicit = Targets::of(&endpoints(slices)).unwrap();
            let same = (&found.ports, found.endpoints) == (&explicit.ports, explicit.endpoints);
            assert!(same, "{found:?} {explicit:?}");
            found.targets == TargetSet::Addresses
        };
        assert!(implied(&[(&http, &[a, b])]));
        assert!(implied(&[(&http, &[a]), (&http, &[b]), (&metrics, &[])]));
        assert!(implied(&[(&[], &[a])]));
        assert!(
            !implied(&[(&http, &[a, ("web-0", [10, 0, 0, 2])])]),
            "a name"
        );
        assert!(!implied(&[(&http, &[a]), (&metrics, &[b])]), "other ports");
        assert!(!implied(&[(&http, &[a]), (&http, &[a])]), "twice");
    }

    #[test]
    fn slices_may_have_ports_of_their_own() {
        let (http, metrics) = (port("http", 80), port("metrics", 9090));
        let found = targets(&[
            (&[metrics.clone(), http.clone()], &[("a", [10, 0, 0, 1])]),
            (
                std::slice::from_ref(&http),
                &[("b", [10, 0, 0, 2]), ("c", [10, 0, 0, 3])],
            ),
            (&[], &[("d", [10, 0, 0, 4])]),
        ])
        .unwrap();
        let counted: Vec<_> = found
            .ports
            .iter()
            .map(|at| (at.port.clone(), at.endpoints))
            .collect();
        assert_eq!(counted, [(None, 1), (Some(http), 3), (Some(metrics), 1)]);
        let ports: Vec<_> = each(&found).iter().map(|at| &*at.ports).collect();
        assert_eq!(ports, [&[1, 2][..], &[1], &[1], &[0]]);
        assert_eq!(found.endpoints, 4);
    }

    #[test]
    fn labels_that_differ_in_case_are_two() {
        let http = [port("http", 80)];
        let mixed = [
            ("a", [10, 0, 0, 1]),
            ("A", [10, 0, 0, 2]),
            ("a", [10, 0, 0, 3]),
            ("b", [10, 0, 0, 4]),
        ];
        let found = targets(&[(&http[..], &mixed)]).unwrap();
        let mut labels: Vec<_> = each(&found)
            .iter()
            .map(|target| (target.label.as_deref().unwrap(), target.addresses.len()))
            .collect();
        labels.sort_unstable();
        assert_eq!(labels, [("A", 1), ("a", 2), ("b", 1)]);
    }

    /// Slices with equal ports and slices with different ports are counted alike.
    #[test]
    fn a_slice_of_no_endpoints_changes_nothing() {
        let (http, metrics) = ([port("http", 80)], [port("metrics", 9090)]);
        let some: &[(&str, [u8; 4])] = &[("a", [10, 0, 0, 1]), ("b", [10, 0, 0, 2])];
        let alone = targets(&[(&http[..], some)]).unwrap();
        assert_eq!(
            targets(&[(&http[..], some), (&metrics, &[])]).unwrap(),
            alone
        );
        assert_eq!(
            targets(&[(&http[..], &some[..1]), (&http, &some[1..])]).unwrap(),
            alone
        );
    }

    #[test]
    fn what_cannot_be_told_is_left_out() {
        let (http, metrics) = (port("http", 80), port("metrics", 9090));
        let of = |ports: &[Port], name| targets(&[(ports, &[(name, [10, 0, 0, 1])])]);
        assert!(of(std::slice::from_ref(&http), "a").is_some());
        assert!(of(&[http.clone(), http.clone()], "a").is_none());
        let both = [
            (&[http.clone()][..], &[("a", [10, 0, 0, 1])][..]),
            (&[metrics][..], &[("a", [10, 0, 0, 2])][..]),
        ];
        assert_eq!(each(&targets(&both).unwrap()).len(), 2, "other ports");
        let both = [
            (&[http.clone()][..], &[("a", [10, 0, 0, 1])][..]),
            (&[port("dns", 53)][..], &[("a", [10, 0, 0, 1])][..]),
        ];
        let both = targets(&both).unwrap();
        assert_eq!(each(&both).len(), 1, "one address, once");
        assert_eq!(*each(&both)[0].ports, [0, 1]);
        let http = [http];
        let once = (&http[..], &[("a", [10, 0, 0, 1])][..]);
        let twice = targets(&[once, once]).unwrap();
        assert_eq!((twice.endpoints, each(&twice).len()), (2, 1));
    }
}
