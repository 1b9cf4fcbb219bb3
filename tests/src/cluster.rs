//! Random small clusters. `query` asks about them. All names are made of a few labels, so
//! questions often ask for names that exist. Among the labels are all that have a meaning
//! in DNS names of Services.

mod query;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headless_agent::records::{EndpointScope, Index, Settings};
use headless_agent::watch::{
    Alias, Endpoint, EndpointSlice, Event, Kind, Namespace, Object, Port, Protocol, Service,
    ServiceKind, ServiceRef, SliceEndpoints,
};
use hickory_proto::rr::Name;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub use self::query::{query, reversed};
use crate::maps::SERIAL;

/// Names of namespaces, Services and endpoints.
const NAMES: [&str; 9] = [
    "a", "default", "dns", "local", "ns", "pod", "svc", "web", "10-0-0-1",
];

/// The zones of the clusters.
pub const ZONES: [&str; 3] = ["cluster.local", "a", "svc.local"];

/// A cluster, as the events that build it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The zone.
    pub zone: &'static str,
    /// The endpoint scope of the index.
    pub scope: EndpointScope,
    /// The events, in their order.
    pub events: Vec<Event>,
}

impl Cluster {
    /// Addresses that objects of the cluster have or had, and one that no object has.
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

    /// Names that objects of the cluster have or had, as labels without the zone.
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
                        let label = endpoint.name.unwrap_or(&dashed);
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

    /// An index with the cluster's settings and without objects.
    pub fn empty_index(&self) -> Index {
        let mut zone: Name = self.zone.parse().unwrap();
        zone.set_fqdn(true);
        let mut index = Index::new(Settings {
            endpoints: self.scope,
            dns_service: ServiceRef {
                namespace: "default".to_owned(),
                name: "dns".to_owned(),
            },
            ..Settings::new(zone)
        });
        index.set_serial(SERIAL);
        index
    }

    /// The events by which the source says that all lists are read.
    pub fn synced() -> impl Iterator<Item = Event> {
        Kind::ALL.into_iter().map(Event::Restarted)
    }
}

fn name() -> impl Strategy<Value = Box<str>> {
    select(&NAMES[..]).prop_map(Box::from)
}

/// A namespace. Most objects share one, so that they belong together more often.
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
            selected: true,
        })
    })
}

fn endpoints() -> impl Strategy<Value = SliceEndpoints> {
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

/// Endpoints with domain names in place of addresses. Most slices have none.
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
                selected: true,
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

/// An object that appears or changes, or is deleted.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => object().prop_map(Event::Apply),
        1 => object().prop_map(|object| Event::Delete(object.reference())),
    ]
}

/// A random cluster.
pub fn cluster() -> impl Strategy<Value = Cluster> {
    let scope = select(&[EndpointScope::Headless, EndpointScope::All][..]);
    // Without a Namespace object, few names of its Services would exist.
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
