//! Checks properties of the engine that hold for every frame. Fuzz targets call [`check`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::records::{
    Counted, Details, EndpointScope, Index, NameData, RelativeName, Target, TargetSet, Targets,
};
use headless_agent::watch::{
    Endpoint, EndpointSlice, Event, Namespace, Object, Port, Protocol, Service, ServiceKind,
};
use headless_ebpf::abi::{Address, NameFlags};
use headless_ebpf::respond::Verdict;

use crate::cluster::Cluster;
use crate::frame::{SERVER, SERVER_V6};
use crate::host::Host;
use crate::{agreement, decode, maps};

/// Names with all kinds of data, left of `svc.cluster.local`.
pub fn names() -> Vec<(RelativeName, NameData)> {
    let ipv4 = |count: u32| (0..count).map(|i| Ipv4Addr::from_bits(0x0a00_0001 + i));
    let ipv6 = |count: u32| (0..count).map(|i| Ipv6Addr::from_bits((0xfd << 120) + u128::from(i)));
    let empty = NameFlags::empty();
    let cluster_ip = NameFlags::CLUSTER_IP.with(NameFlags::ENDPOINTS_UNKNOWN);
    let long_service = ["s".repeat(63), "n".repeat(63)].join(".");
    let long = ["e".repeat(63), long_service.clone()].join(".");
    [
        ("web.default", 3, 0, empty),
        ("web-0.web.default", 1, 0, empty),
        ("dual.default", 1, 1, cluster_ip),
        ("many.default", 60, 20, empty),
        ("most.default", 28, 7, empty),
        ("ext.default", 0, 0, NameFlags::PASS),
        ("default", 0, 0, NameFlags::NO_SERVICE),
        (&long_service, 6, 0, empty),
        (&long, 6, 0, empty),
    ]
    .map(|(name, v4, v6, flags)| {
        let data = NameData {
            flags,
            ipv4: ipv4(v4).collect(),
            ipv6: ipv6(v6).collect(),
            details: details(name, v4, flags),
        };
        (RelativeName::from_labels(name.split('.')).unwrap(), data)
    })
    .into()
}

/// Ports and SRV targets of a Service; `None` for other names. A Service with a cluster IP
/// is its own target.
fn details(name: &str, endpoints: u32, flags: NameFlags) -> Option<Box<Details>> {
    let port = |name: &str, number| Port {
        name: name.into(),
        number: Some(number),
        protocol: Protocol::Tcp,
    };
    let target = |i: u32| Target {
        label: Some(format!("web-{i}").into()),
        addresses: vec![Ipv4Addr::from_bits(0x0a00_0001 + i).into()],
        ports: [0, 1].into(),
    };
    let targets = |targets: Vec<Target>| Targets {
        ports: [port("http", 80), port("metrics", 9090)]
            .map(|port| Counted {
                port: Some(port),
                endpoints: targets.len(),
            })
            .into(),
        endpoints: targets.len(),
        targets: TargetSet::Each(targets),
    };
    let is_service = name.matches('.').count() == 1 && endpoints > 0;
    is_service.then(|| {
        if flags.contains(NameFlags::CLUSTER_IP) {
            let itself = Target {
                label: None,
                ..target(0)
            };
            Box::new(Details {
                own: Some(targets(vec![itself])),
                endpoints: None,
            })
        } else {
            Box::new(Details {
                own: None,
                endpoints: Some(targets((0..endpoints).map(target).collect())),
            })
        }
    })
}

/// Maps in memory that hold [`names`].
pub fn filled() -> MemorySink {
    let mut sink = maps::memory(maps::config("cluster.local", 30), maps::state(), SERVER);
    let names = names();
    maps::install(&mut sink, names.iter().map(|(name, data)| (name, data)));
    maps::serve(&mut sink, [SERVER.into(), SERVER_V6.into()]);
    sink
}

/// Services of every kind: the index for the resolver, and a writer with the maps for the
/// engine.
struct Mirror {
    index: Index,
    writer: Writer<MemorySink>,
}

impl Mirror {
    fn new() -> Self {
        let cluster = Cluster {
            zone: "cluster.local",
            scope: EndpointScope::Headless,
            events: events(),
        };
        let (index, mut writer) = agreement::mirror(&cluster, true);
        let servers = [IpAddr::from(SERVER), IpAddr::from(SERVER_V6)].map(Address::from);
        writer.serve(&servers).unwrap();
        Self { index, writer }
    }
}

fn events() -> Vec<Event> {
    let ipv4 = |i: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + i));
    let ipv6 = |i: u32| IpAddr::from(Ipv6Addr::from_bits((0xfd << 120) + u128::from(i)));
    let ports: Box<[Port]> = [("http", 80), ("metrics", 9090)]
        .map(|(name, number)| Port {
            name: name.into(),
            number: Some(number),
            protocol: Protocol::Tcp,
        })
        .into();
    let service = |name: &str, kind| {
        Event::Apply(Object::Service(Service {
            namespace: "default".into(),
            name: name.into(),
            kind,
            ports: ports.clone(),
            selector: true,
            partial: false,
            selected: true,
        }))
    };
    let slice = |service: &str, label: &str, addresses: Vec<IpAddr>| {
        let name = |i| (!label.is_empty()).then(|| format!("{label}-{i}").into());
        let endpoints = (0..).zip(addresses);
        let endpoints = endpoints.map(|(i, address)| Endpoint {
            address,
            name: name(i),
        });
        Event::Apply(Object::EndpointSlice(EndpointSlice {
            name: format!("{service}-{}", label.len()).into(),
            namespace: "default".into(),
            service: service.into(),
            ports: ports.clone(),
            aliases: Box::default(),
            partial: false,
            selected: true,
            endpoints: endpoints.collect(),
        }))
    };
    let long = "e".repeat(61);
    let external = ServiceKind::ExternalName("example.com".into());
    let namespace = Namespace {
        name: "default".into(),
    };
    vec![
        Event::Apply(Object::Namespace(namespace)),
        service("web", ServiceKind::Headless),
        slice("web", "web", (0..3).map(ipv4).collect()),
        service("dual", ServiceKind::ClusterIp([ipv4(0), ipv6(0)].into())),
        service("most", ServiceKind::Headless),
        slice("most", "", (0..28).map(ipv4).collect()),
        slice("most", "six", (0..7).map(ipv6).collect()),
        service("many", ServiceKind::Headless),
        slice("many", "", (0..60).map(ipv4).collect()),
        service("ext", external),
        // The golden frames ask for the reverse names of these addresses. No other Service
        // has them, so the answers are single names.
        service("alone", ServiceKind::Headless),
        slice("alone", "web", vec![[10, 0, 0, 122].into(), ipv6(34)]),
        slice("alone", "", vec![[10, 0, 0, 107].into()]),
        service(
            "api",
            ServiceKind::ClusterIp([[10, 96, 0, 7].into()].into()),
        ),
        service("long", ServiceKind::Headless),
        slice("long", &long, (0..6).map(ipv4).collect()),
    ]
}

/// Checks the engine with a frame. Returns whether the frame is answered.
///
/// # Panics
///
/// If the engine panics, if a passed frame has changed, if hickory-proto cannot read an
/// answer, or if the resolver's reply is another one.
pub fn check(frame: &[u8]) -> bool {
    static MAPS: OnceLock<MemorySink> = OnceLock::new();
    static MIRROR: OnceLock<Mirror> = OnceLock::new();
    let (verdict, after) = Host::new(MAPS.get_or_init(filled)).respond(frame);
    match verdict {
        Verdict::Pass(_) => assert_eq!(after, frame, "{verdict:?}"),
        Verdict::Answer(..) => drop(decode::reply(frame, &after)),
        Verdict::Lost => panic!("the engine lost the frame"),
    }
    let Mirror { index, writer } = MIRROR.get_or_init(Mirror::new);
    // The random number comes from the frame, so that a fault can be repeated.
    let random = frame.last().copied().unwrap_or_default();
    let host = Host {
        random: u32::from(random) << 24,
        ..Host::new(writer.sink())
    };
    let verdict = agreement::agree(index, &host, frame);
    matches!(verdict, Verdict::Answer(..))
}
