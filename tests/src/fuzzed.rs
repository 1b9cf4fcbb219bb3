//! What holds for every frame, whatever it is: for fuzzers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use headless_agent::maps::RecordSink as _;
use headless_agent::maps::memory::MemorySink;
use headless_agent::records::{Counted, Details, NameData, RelativeName, Target, Targets};
use headless_agent::watch::{Port, Protocol};
use headless_ebpf::abi::NameFlags;
use headless_ebpf::respond::Verdict;

use crate::frame::{SERVER, SERVER_V6};
use crate::host::Host;
use crate::{decode, maps};

/// Names with all kinds of data, in the zone `cluster.local`.
pub fn names() -> Vec<(RelativeName, NameData)> {
    let ipv4 = |count: u32| (0..count).map(|i| Ipv4Addr::from_bits(0x0a00_0001 + i));
    let ipv6 = |count: u32| (0..count).map(|i| Ipv6Addr::from_bits((0xfd << 120) + u128::from(i)));
    let empty = NameFlags::empty();
    let cluster_ip = NameFlags::CLUSTER_IP.with(NameFlags::ENDPOINTS_UNKNOWN);
    let long = ["e".repeat(63), "s".repeat(63), "n".repeat(63)].join(".");
    [
        ("web.default", 3, 0, empty),
        ("web-0.web.default", 1, 0, empty),
        ("dual.default", 1, 1, cluster_ip),
        ("many.default", 60, 20, empty),
        ("most.default", 28, 7, empty),
        ("ext.default", 0, 0, NameFlags::PASS),
        ("default", 0, 0, NameFlags::NAMESPACE),
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

/// Ports and endpoints of a Service, with itself as the target where its
/// endpoints are unknown.
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
        targets,
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
    sink.put_server(maps::address(SERVER_V6), 0).unwrap();
    sink
}

/// Checks a frame.
pub fn check(frame: &[u8]) {
    static MAPS: OnceLock<MemorySink> = OnceLock::new();
    let (verdict, after) = Host::new(MAPS.get_or_init(filled)).respond(frame);
    match verdict {
        Verdict::Pass(_) => assert_eq!(after, frame, "{verdict:?}"),
        Verdict::Answer(..) => drop(decode::reply(frame, &after)),
        Verdict::Lost => panic!("lost"),
    }
}
