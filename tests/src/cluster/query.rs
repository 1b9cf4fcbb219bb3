//! Random queries about a cluster.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Cluster, NAMES, namespace};
use crate::frame::{Opt, Query, wire};

/// Further labels of names that are asked for.
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

/// Labels of a name, without the zone. Most have the form of a Service's or endpoint's
/// name.
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

/// A name in wire form with capitals at the offsets whose bits are set in `case`. The bits
/// repeat every 64 bytes.
fn in_case(mut name: Vec<u8>, case: u64) -> Vec<u8> {
    for (i, byte) in name.iter_mut().enumerate() {
        // The lengths between the labels stay: they are at most 63, and letters are above.
        if case >> (i % 64) & 1 == 1 {
            byte.make_ascii_uppercase();
        }
    }
    name
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

/// The options of an OPT record in wire form. Nearly half of the queries have none, and hardly
/// any has more than the engine reads.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        4 => Just(10u16),
        4 => select(&[3u16, 8, 9, 11, 12][..]),
        2 => select(&[1u16, 2, 5, 6, 7, 15, 18, 19][..]),
        1 => any::<u16>(),
    ];
    let subnet = (0..3u8, 0..131u8, 0..131u8)
        .prop_map(|(family, source, scope)| vec![0, family, source, scope, 10, 0, 0]);
    let value = prop_oneof![
        2 => Just(Vec::new()),
        4 => vec(any::<u8>(), 0..20),
        1 => subnet,
        1 => Just(vec![0, 0]),
    ];
    let options = vec((code, value), 0..=5).prop_map(|options| {
        let mut wire = Vec::new();
        for (code, value) in options {
            wire.extend(code.to_be_bytes());
            wire.extend((value.len() as u16).to_be_bytes());
            wire.extend(value);
        }
        wire
    });
    prop_oneof![1 => Just(Vec::new()), 2 => options]
}

/// A query for a name in the zone or for a reverse name, in any case, with or without an
/// OPT record.
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
    let opt =
        (size, any::<u8>(), any::<u16>(), options()).prop_map(|(size, rcode, flags, options)| {
            Opt {
                size,
                rcode,
                flags,
                options,
                ..Opt::default()
            }
        });
    // All header bits are random, except for QR, opcode and TC.
    let flags = any::<u16>().prop_map(|flags| flags & !0xfa00);
    let case = prop_oneof![2 => Just(0u64), 1 => any::<u64>()];
    // A resolver's search list may append the zone to a name that has it already.
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
                // Questions for reverse names mostly have type PTR.
                let qtype = match reverse {
                    Some(_) if id % 8 != 0 => 12,
                    _ => qtype,
                };
                let qclass = match id % 16 {
                    0 => 255,
                    1 => 3,
                    _ => 1,
                };
                Query {
                    id,
                    flags,
                    qclass,
                    opt,
                    ..Query::of_wire(in_case(wire(&text), case), qtype)
                }
            },
        )
}
