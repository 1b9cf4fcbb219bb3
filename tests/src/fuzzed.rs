//! What holds for every frame, whatever it is: for fuzzers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use headless_agent::maps::RecordSink as _;
use headless_agent::maps::memory::MemorySink;
use headless_agent::records::{NameData, RelativeName};
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
    let long = ["e".repeat(63), "s".repeat(63), "n".repeat(63)].join(".");
    [
        ("web.default", 3, 0, NameFlags::SRV),
        ("web-0.web.default", 1, 0, empty),
        ("dual.default", 1, 1, NameFlags::ENDPOINTS_UNKNOWN),
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
        };
        (RelativeName::from_labels(name.split('.')).unwrap(), data)
    })
    .into()
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
