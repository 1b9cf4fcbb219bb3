//! The SRV targets of a Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use headless_ebpf::abi::PORTS_MAX;

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

/// Ports as bits, by their places in [`Targets::ports`].
type Places = u16;

const _: () = assert!(PORTS_MAX <= Places::BITS as usize);

fn list(places: Places) -> Box<[usize]> {
    let bits = (0..PORTS_MAX).filter(|place| places >> place & 1 == 1);
    bits.collect()
}

// The maps hold at most `PORTS_MAX` ports of a Service. Ports are counted before they are
// copied, because an object may have 20,000 ports and as many endpoints.
impl Targets {
    /// The ports of a Service with these cluster IPs, which lead to the Service itself. `None`
    /// where it has too many ports.
    pub(super) fn own(ports: &[Port], addresses: &[IpAddr]) -> Option<Self> {
        if ports.len() > PORTS_MAX {
            return None;
        }
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
        Some(Self {
            ports,
            targets: TargetSet::Each(itself.into_iter().collect()),
            endpoints: addresses.len(),
        })
    }

    /// The ports and targets of a headless Service's endpoints, as
    /// [`TargetSet::Addresses`] where this is enough. `None` where a slice has a port twice,
    /// and where there are too many ports.
    pub(super) fn of_headless(endpoints: &Endpoints) -> Option<Self> {
        let Some(list) = endpoints.uniform_ports() else {
            return Self::of(endpoints);
        };
        if list.len() > PORTS_MAX {
            return None;
        }
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
    /// port twice, and where there are too many ports.
    pub(super) fn of(endpoints: &Endpoints) -> Option<Self> {
        let all = all_ports(endpoints.port_lists())?;
        let places = |list: &[Port]| -> Option<Places> {
            let mut places: Places = 0;
            for port in declared(list) {
                let place = all.binary_search_by(|at| order(at.as_ref(), port.as_ref()));
                let bit = 1 << place.ok()?;
                // A port that is there twice counts twice, but a target has one bit for it.
                if places & bit != 0 {
                    return None;
                }
                places |= bit;
            }
            Some(places)
        };
        let mut lists = endpoints.port_lists();
        let first = lists.next().unwrap_or_default();
        if lists.all(|list| list == first) {
            let places = places(first)?;
            return Some(Self::alike(endpoints, all, places));
        }
        let mut counts = vec![0; all.len()];
        // An address gets the ports of all slices that have it, so that each reply holds it
        // once.
        let mut found: BTreeMap<(EndpointLabel<'_>, IpAddr), Places> = BTreeMap::new();
        let mut total = 0;
        let mut current: Option<(&[Port], Places)> = None;
        for (endpoint, list) in endpoints.all() {
            let ports = match current {
                Some((of, ports)) if std::ptr::eq(of, list) => ports,
                _ => current.insert((list, places(list)?)).1,
            };
            total += 1;
            let counted = counts.iter_mut().enumerate();
            counted.for_each(|(place, count)| *count += usize::from(ports >> place & 1));
            let key = (EndpointLabel::of(endpoint), endpoint.address);
            *found.entry(key).or_default() |= ports;
        }
        let mut targets: BTreeMap<(EndpointLabel<'_>, Places), Vec<IpAddr>> = BTreeMap::new();
        for ((label, address), ports) in found {
            targets.entry((label, ports)).or_default().push(address);
        }
        let target = |((label, ports), addresses): ((EndpointLabel<'_>, Places), _)| Target {
            label: Some((*label).into()),
            addresses,
            ports: list(ports),
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

    /// The targets of endpoints that all have all of these ports. Endpoints are in the order
    /// of their folded labels.
    fn alike(endpoints: &Endpoints, ports: Vec<Option<Port>>, places: Places) -> Self {
        let places = list(places);
        let mut targets: Vec<Target> = Vec::new();
        let mut members = Vec::new();
        for group in endpoints.groups() {
            // The labels of a group differ in case at most.
            let of_group = group.members();
            members.clear();
            members.extend(of_group.map(|at| (EndpointLabel::of(at), at.address)));
            members.sort_unstable();
            members.dedup();
            let named = members.chunk_by(|(a, _), (b, _)| a == b);
            targets.extend(named.map(|named| Target {
                label: Some((*named[0].0).into()),
                addresses: named.iter().map(|(_, address)| *address).collect(),
                ports: places.clone(),
            }));
        }
        let total = endpoints.len();
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

/// The ports of all slices, each once, in order. `None` where they are too many.
fn all_ports<'a>(lists: impl Iterator<Item = &'a [Port]>) -> Option<Vec<Option<Port>>> {
    let mut all: Vec<Option<Port>> = Vec::new();
    let mut last: Option<&[Port]> = None;
    for list in lists {
        if list.len() > PORTS_MAX {
            return None;
        }
        // The slices of most Services have the same ports.
        if last.replace(list) == Some(list) {
            continue;
        }
        all.extend(declared(list));
        all.sort_by(|a, b| order(a.as_ref(), b.as_ref()));
        all.dedup();
        if all.len() > PORTS_MAX {
            return None;
        }
    }
    Some(all)
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
                selected: true,
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
