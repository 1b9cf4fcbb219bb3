//! The SRV targets of a Service.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::types::{Counted, Target, Targets};
use super::endpoints::{Endpoints, endpoint_label};
use crate::watch::Port;

/// The ports of a Service or slice, in order. Where none is declared there is one
/// that lets the addresses be found all the same (CoreDNS, `service.go`).
fn declared(ports: &[Port]) -> Vec<Option<Port>> {
    if ports.is_empty() {
        return vec![None];
    }
    let mut ports: Vec<_> = ports.iter().cloned().map(Some).collect();
    ports.sort_by(|a, b| order(a.as_ref(), b.as_ref()));
    ports
}

/// By number, those without first.
fn order(a: Option<&Port>, b: Option<&Port>) -> std::cmp::Ordering {
    fn key(port: Option<&Port>) -> Option<(Option<u16>, &str, &str)> {
        port.map(|port| (port.number, port.protocol.label(), &*port.name))
    }
    key(a).cmp(&key(b))
}

impl Targets {
    /// Of a Service with these addresses of its own.
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
            targets: itself.into_iter().collect(),
            endpoints: addresses.len(),
        }
    }

    /// Of endpoints, where no slice has a port twice.
    pub(super) fn of(endpoints: &Endpoints) -> Option<Self> {
        let mut lists: Vec<&[Port]> = endpoints.all().map(|(_, ports)| ports).collect();
        // One slice's ports are one piece of memory, and most Services' slices have
        // the same.
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
            // The same port twice counts twice, which no bit can say.
            let once = places.windows(2).all(|pair| pair[0] < pair[1]);
            (once && places.len() == ports.len()).then_some(places)
        };
        let mut counts = vec![0; all.len()];
        if let [_] = lists.as_slice() {
            let places = places(lists[0])?;
            return Some(Self::alike(endpoints, all, &places));
        }
        // An address has the ports of all slices that it is in, so that it is given
        // once whichever of them are asked for.
        let mut found: BTreeMap<(Cow<'_, str>, IpAddr), BTreeSet<usize>> = BTreeMap::new();
        let mut total = 0;
        let mut current: Option<(&[Port], Box<[usize]>)> = None;
        for (endpoint, list) in endpoints.all() {
            let ports = match &current {
                Some((of, ports)) if std::ptr::eq(*of, list) => ports,
                _ => &current.insert((list, places(list)?)).1,
            };
            total += 1;
            ports.iter().for_each(|port| counts[*port] += 1);
            let key = (endpoint_label(endpoint), endpoint.address);
            found.entry(key).or_default().extend(ports);
        }
        let mut targets: BTreeMap<(Cow<'_, str>, BTreeSet<usize>), Vec<IpAddr>> = BTreeMap::new();
        for ((label, address), ports) in found {
            targets.entry((label, ports)).or_default().push(address);
        }
        let target = |((label, ports), addresses): ((Cow<'_, str>, BTreeSet<usize>), _)| Target {
            label: Some(label.into()),
            addresses,
            ports: ports.into_iter().collect(),
        };
        let counted = all.into_iter().zip(counts);
        Some(Self {
            ports: counted
                .map(|(port, endpoints)| Counted { port, endpoints })
                .collect(),
            targets: targets.into_iter().map(target).collect(),
            endpoints: total,
        })
    }
}

impl Targets {
    /// Of endpoints which all have all of these ports: no more than one walk, since
    /// they are in the order of their names already.
    fn alike(endpoints: &Endpoints, ports: Vec<Option<Port>>, places: &[usize]) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        let mut total = 0;
        for endpoint in endpoints.by_name() {
            total += 1;
            let label = endpoint_label(endpoint);
            // In the order of folded names, labels that differ in case are mixed.
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
                    label: Some(label.into()),
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
            targets,
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

    /// Ports of a slice, and names and addresses of its endpoints.
    type Slice<'a> = (&'a [Port], &'a [(&'a str, [u8; 4])]);

    fn targets(slices: &[Slice<'_>]) -> Option<Targets> {
        let endpoint = |(name, address): &(&str, [u8; 4])| Endpoint {
            address: IpAddr::from(*address),
            name: Some((*name).into()),
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
        Targets::of(&Endpoints::default().replaced(&slices))
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
        let ports: Vec<_> = found.targets.iter().map(|at| &*at.ports).collect();
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
        let mut labels: Vec<_> = found
            .targets
            .iter()
            .map(|target| (target.label.as_deref().unwrap(), target.addresses.len()))
            .collect();
        labels.sort_unstable();
        assert_eq!(labels, [("A", 1), ("a", 2), ("b", 1)]);
    }

    /// Whatever the slices, both ways of counting lead to the same.
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
        assert_eq!(targets(&both).unwrap().targets.len(), 2, "other ports");
        let both = [
            (&[http.clone()][..], &[("a", [10, 0, 0, 1])][..]),
            (&[port("dns", 53)][..], &[("a", [10, 0, 0, 1])][..]),
        ];
        let both = targets(&both).unwrap();
        assert_eq!(both.targets.len(), 1, "one address, once");
        assert_eq!(*both.targets[0].ports, [0, 1]);
        let http = [http];
        let once = (&http[..], &[("a", [10, 0, 0, 1])][..]);
        let twice = targets(&[once, once]).unwrap();
        assert_eq!((twice.endpoints, twice.targets.len()), (2, 1));
    }
}
