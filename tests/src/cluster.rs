//! Small clusters and questions about them, at random: few labels, so that
//! names meet, among them all that mean something to the grammar of names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headless_agent::records::{EndpointScope, Index, Settings};
use headless_agent::watch::{
    Alias, Endpoint, EndpointSlice, Event, Kind, Namespace, Object, Port, Protocol, Service,
    ServiceKind,
};
use hickory_proto::rr::Name;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::frame::{Opt, Query, wire};
use crate::maps::SERIAL;

/// Names of namespaces, Services and endpoints.
const NAMES: [&str; 9] = [
    "a", "default", "dns", "local", "ns", "pod", "svc", "web", "10-0-0-1",
];

/// What else stands in questions.
const LABELS: [&str; 10] = [
    "_",
    "__",
    "_http",
    "_tcp",
    "_udp",
    "cluster",
    "dns-version",
    "http",
    "tcp",
    "x",
];

/// Zones of the clusters.
pub const ZONES: [&str; 3] = ["cluster.local", "a", "svc.local"];

/// A cluster as the events that make it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its zone.
    pub zone: &'static str,
    /// Whose endpoints have names.
    pub scope: EndpointScope,
    /// What it consists of.
    pub events: Vec<Event>,
}

impl Cluster {
    /// Addresses that objects of the cluster have or had, and one that none has.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = vec![IpAddr::from([192, 0, 2, 1])];
        for event in &self.events {
            match event {
                Event::Apply(Object::Service(service)) => {
                    if let ServiceKind::ClusterIp(own) = &service.kind {
                        addresses.extend(own.iter().copied());
                    }
                }
                Event::Apply(Object::EndpointSlice(slice)) => {
                    let endpoints = slice.endpoints.iter().take(3);
                    addresses.extend(endpoints.map(|endpoint| endpoint.address));
                }
                _ => {}
            }
        }
        addresses
    }

    /// Names that objects of the cluster have or had, as labels before the zone.
    fn names(&self) -> Vec<Vec<String>> {
        let pod = |label: &str| [label, "default", "pod"].map(str::to_owned).to_vec();
        let mut names = vec![
            vec!["default".to_owned(), "svc".to_owned()],
            vec!["default".to_owned(), "pod".to_owned()],
            pod("10-0-0-22"),
            pod("1-2-3-256"),
            pod("fd00--1"),
            [vec!["x".to_owned()], pod("1-2-3-4")].concat(),
        ];
        let mut push = |labels: &[&str]| {
            let svc = ["svc"].iter();
            names.push(labels.iter().chain(svc).map(ToString::to_string).collect());
        };
        for event in &self.events {
            match event {
                Event::Apply(Object::Service(service)) => {
                    let Service {
                        namespace, name, ..
                    } = service;
                    push(&[name, namespace]);
                    for port in &service.ports {
                        let protocol = format!("_{}", port.protocol.label());
                        push(&[&format!("_{}", port.name), &protocol, name, namespace]);
                    }
                    push(&["_", "_", name, namespace]);
                }
                Event::Apply(Object::EndpointSlice(slice)) => {
                    for endpoint in slice.endpoints.iter().take(3) {
                        let dashed = endpoint.address.to_string().replace(['.', ':'], "-");
                        let label = endpoint.name.as_deref().unwrap_or(&dashed);
                        push(&[label, &slice.service, &slice.namespace]);
                    }
                    for alias in &slice.aliases {
                        push(&[&alias.name, &slice.service, &slice.namespace]);
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// An index that has not been told of anything.
    pub fn empty_index(&self) -> Index {
        let mut zone: Name = self.zone.parse().unwrap();
        zone.set_fqdn(true);
        let mut index = Index::new(Settings {
            endpoints: self.scope,
            dns_addresses: vec![IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10))],
            dns_service: ("default".into(), "dns".into()),
            ..Settings::new(zone)
        });
        index.set_serial(SERIAL);
        index
    }

    /// The events after which the index knows that there is no more.
    pub fn synced() -> impl Iterator<Item = Event> {
        Kind::ALL.into_iter().map(Event::Restarted)
    }
}

fn name() -> impl Strategy<Value = Box<str>> {
    select(&NAMES[..]).prop_map(Box::from)
}

/// Two in one namespace meet more often than two in nine.
fn namespace() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        3 => Just("default"),
        1 => Just("a"),
        1 => select(&NAMES[..]),
    ]
    .prop_map(Box::from)
}

fn ipv4() -> impl Strategy<Value = IpAddr> {
    (0..40u32).prop_map(|i| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + i)))
}

fn ipv6() -> impl Strategy<Value = IpAddr> {
    (0..20u128).prop_map(|i| IpAddr::V6(Ipv6Addr::from_bits((0xfd << 120) + i)))
}

fn ports() -> impl Strategy<Value = Box<[Port]>> {
    let port = (
        select(&["", "_", "http", "tcp"][..]),
        prop::option::weighted(0.8, 1..=9u16),
        select(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp][..]),
    );
    let port = port.prop_map(|(name, number, protocol)| Port {
        name: name.into(),
        number,
        protocol,
    });
    vec(port, 0..3).prop_map(Into::into)
}

fn kind() -> impl Strategy<Value = ServiceKind> {
    let external = select(&["a.default.svc.cluster.local", "example.com", "web.b.svc.a"][..]);
    prop_oneof![
        6 => Just(ServiceKind::Headless),
        2 => ipv4().prop_map(|at| ServiceKind::ClusterIp([at].into())),
        1 => ipv6().prop_map(|at| ServiceKind::ClusterIp([at].into())),
        2 => (ipv4(), ipv6()).prop_map(|(a, b)| ServiceKind::ClusterIp([a, b].into())),
        1 => external.prop_map(|name| ServiceKind::ExternalName(name.into())),
        1 => Just(ServiceKind::Unserved),
    ]
}

fn service() -> impl Strategy<Value = Object> {
    let partial = prop::bool::weighted(0.05);
    let parts = (namespace(), name(), kind(), ports(), partial);
    parts.prop_map(|(namespace, name, kind, ports, partial)| {
        Object::Service(Service {
            namespace,
            name,
            kind,
            ports,
            selector: true,
            partial,
        })
    })
}

fn endpoints() -> impl Strategy<Value = Box<[Endpoint]>> {
    let address = prop_oneof![3 => ipv4(), 1 => ipv6()];
    let some = vec((address, prop::option::of(name())), 1..6).prop_map(|endpoints| {
        let endpoint = |(address, name)| Endpoint { address, name };
        endpoints.into_iter().map(endpoint).collect()
    });
    let many = (0..90u32, any::<bool>()).prop_map(|(count, v6)| {
        let address = |i: u32| {
            if v6 {
                IpAddr::V6(Ipv6Addr::from_bits((0xfc << 120) + u128::from(i)))
            } else {
                IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + i))
            }
        };
        (0..count)
            .map(|i| Endpoint {
                address: address(i),
                name: None,
            })
            .collect()
    });
    prop_oneof![3 => some, 1 => many]
}

/// Domain names in place of addresses, mostly none.
fn aliases() -> impl Strategy<Value = Box<[Alias]>> {
    let targets = [
        "web.default.svc.cluster.local",
        "a.default.svc.a",
        "dns.default.svc.svc.local",
        "example.com",
    ];
    let alias = (select(targets.to_vec()), name()).prop_map(|(target, name)| Alias {
        target: target.into(),
        name,
    });
    prop_oneof![
        6 => Just(Box::default()),
        1 => vec(alias, 1..3).prop_map(Into::into),
    ]
}

fn slice() -> impl Strategy<Value = Object> {
    let rest = (aliases(), prop::bool::weighted(0.05));
    (namespace(), name(), 0..3u8, ports(), endpoints(), rest).prop_map(
        |(namespace, service, number, ports, endpoints, (aliases, partial))| {
            Object::EndpointSlice(EndpointSlice {
                name: format!("{service}-{number}").into(),
                namespace,
                service,
                ports,
                endpoints,
                aliases,
                partial,
            })
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        2 => name().prop_map(|name| Object::Namespace(Namespace { name })),
        3 => service(),
        4 => slice(),
    ]
}

/// Objects as they appear, change and go.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => object().prop_map(Event::Apply),
        1 => object().prop_map(|object| Event::Delete(object.reference())),
    ]
}

/// A cluster.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    let scope = select(&[EndpointScope::Headless, EndpointScope::All][..]);
    // Most have the namespaces that names are made of.
    let namespaces = prop::sample::subsequence(&["a", "default", "ns", "svc"][..], 1..=4);
    (select(&ZONES[..]), scope, namespaces, vec(event(), 0..30)).prop_map(
        |(zone, scope, namespaces, events)| {
            let namespaces = namespaces.into_iter().map(|name| {
                let name = name.into();
                Event::Apply(Object::Namespace(Namespace { name }))
            });
            Cluster {
                zone,
                scope,
                events: namespaces.chain(events).collect(),
            }
        },
    )
}

/// The labels that stand before the zone: mostly in the shape of a name that
/// there may be.
fn labels(names: Vec<Vec<String>>) -> impl Strategy<Value = Vec<String>> {
    let any = || prop_oneof![2 => select(&NAMES[..]), 1 => select(&LABELS[..])];
    let shaped = (
        prop::option::weighted(0.3, any()),
        select(&NAMES[..]),
        namespace(),
    );
    let shaped = shaped.prop_map(|(endpoint, service, namespace)| {
        let below = [service, &namespace, "svc"].map(str::to_owned);
        endpoint
            .into_iter()
            .map(str::to_owned)
            .chain(below)
            .collect()
    });
    let free = |first: &'static [&'static str], max| {
        vec(any(), 0..max).prop_map(move |rest| {
            let labels = first.iter().copied().chain(rest);
            labels.map(str::to_owned).collect()
        })
    };
    prop_oneof![
        8 => select(names),
        4 => shaped,
        1 => free(&["ns", "dns"], 4),
        2 => free(&[], 8),
    ]
}

/// The reverse name of an address (RFC 1035, section 3.5; RFC 3596, section 2.5).
pub fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", address.to_bits());
            let digits: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}

/// A question in the zone or of an address, with or without OPT record, in any case.
pub fn query(cluster: &Cluster) -> impl Strategy<Value = Query> + use<> {
    let zone = cluster.zone;
    let labels = labels(cluster.names());
    let reverse = prop::option::weighted(0.1, select(cluster.addresses()));
    let qtype = prop_oneof![
        4 => Just(1u16),
        3 => Just(28),
        1 => Just(33),
        2 => select(&[2u16, 5, 6, 12, 15, 16, 35, 43, 64, 65, 255, 256, 257][..]),
        1 => any::<u16>(),
    ];
    let size = prop_oneof![
        select(&[0u16, 511, 512, 513, 1232, 4096, 65535][..]),
        any::<u16>()
    ];
    let opt = (size, any::<u8>(), any::<u16>()).prop_map(|(size, rcode, flags)| Opt {
        size,
        rcode,
        flags,
        ..Opt::default()
    });
    // Whatever a query can have but QR, the opcode and TC.
    let flags = any::<u16>().prop_map(|flags| flags & !0xfa00);
    let case = prop_oneof![2 => Just(0u64), 1 => any::<u64>()];
    // The zone once more, as a search list appends it.
    let twice = prop::bool::weighted(0.1);
    (
        (labels, reverse),
        qtype,
        prop::option::of(opt),
        any::<u16>(),
        flags,
        case,
        twice,
    )
        .prop_map(
            move |((labels, reverse), qtype, opt, id, flags, case, twice)| {
                let again = if twice {
                    format!("{zone}.default.svc.{zone}")
                } else {
                    zone.to_owned()
                };
                let text =
                    reverse.map_or_else(|| format!("{}.{again}", labels.join(".")), reversed);
                // Of addresses little else is asked.
                let qtype = match reverse {
                    Some(_) if id % 8 != 0 => 12,
                    _ => qtype,
                };
                let mut name = wire(&text);
                for (i, byte) in name.iter_mut().enumerate() {
                    // Lengths are at most 63 and no letters.
                    if case >> (i % 64) & 1 == 1 {
                        byte.make_ascii_uppercase();
                    }
                }
                Query {
                    id,
                    flags,
                    opt,
                    ..Query::of_wire(name, qtype)
                }
            },
        )
}
