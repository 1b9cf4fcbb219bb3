//! Random queries for the names: types, header bits and EDNS.

use fastrand::Rng;
use headless_ebpf::wire::dns::OPT_DO;
use headless_ebpf::wire::dns::flags::{AA, AD, CD, RA, RD, TC};

use super::{Questions, Topic};
use crate::differential::message::{DnsName, Opt, Query};

/// Question types with their weights in the random choice. Clients never ask for the last
/// four types.
const TYPES: [(u16, u32); 24] = [
    (1, 300),
    (28, 220),
    (33, 120),
    (16, 60),
    (12, 60),
    (5, 50),
    (6, 50),
    (2, 50),
    (15, 40),
    (65, 40),
    (64, 10),
    (255, 40),
    (13, 20),
    (43, 20),
    (48, 10),
    (35, 10),
    (257, 10),
    (99, 10),
    (65_280, 10),
    (65_535, 10),
    (252, 2),
    (251, 2),
    (41, 1),
    (0, 1),
];

/// EDNS options that CoreDNS accepts: code and value.
const OPTIONS: [(u16, &[u8]); 24] = [
    (10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    (10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    (10, b"a cookie with a server's part"),
    (10, b""),
    (3, b""),
    (3, b"name"),
    (12, b"\0\0\0\0\0\0\0\0"),
    (12, b""),
    (8, b"\0\x01\x18\0\x0a\0\0"),
    (8, b"\0\x02\x38\0\xfd\0\0\x10\x02\x44\0"),
    (8, b"\0\0\0\0"),
    (8, b"\0\x01\x20\x20"),
    (9, b""),
    (9, b"\0\0\x0e\x10more"),
    (11, b""),
    (11, b"\0\0"),
    (11, b"\0\x05"),
    (1, &[0; 18]),
    (2, &[0; 8]),
    (5, b"\x05\x07\x08\x0a\x0d\x0e\x0f"),
    (6, b"\x01\x02\x04"),
    (15, b"\0\x01text"),
    (19, b"\x02\0"),
    (65_001, b"local"),
];

/// EDNS options that CoreDNS refuses, that the programs leave to it, or that make a query longer
/// than 512 bytes.
const UNUSUAL_OPTIONS: [(u16, &[u8]); 15] = [
    (1, &[0; 17]),
    (2, &[0; 5]),
    (8, b""),
    (8, b"\0\x01\x18"),
    (8, b"\0\0\x18\0"),
    (8, b"\0\x01\x21\0\x0a\0\0\0\0"),
    (8, b"\0\x01\x18\x21\x0a\0\0"),
    (8, b"\0\x02\x81\0"),
    (8, b"\0\x03\x18\0\x0a\0\0"),
    (9, b"abc"),
    (11, b"a"),
    (15, b"a"),
    (18, b"\x05agent\x07example\0"),
    (19, b""),
    (12, &[0; 480]),
];

/// Whether the programs read these options: at most four in 64 bytes, and none of
/// [`UNUSUAL_OPTIONS`].
pub(super) fn are_usual(mut options: &[u8]) -> bool {
    let mut count = 0;
    if options.len() > 64 {
        return false;
    }
    while let Some(([code @ .., _, _], rest)) = options.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([options[2], options[3]]));
        let (code, Some(value)) = (u16::from_be_bytes(*code), rest.get(..len)) else {
            return false;
        };
        if !OPTIONS.contains(&(code, value)) {
            return false;
        }
        options = &rest[len..];
        count += 1;
    }
    options.is_empty() && count <= 4
}

/// A random element, chosen by the weights.
fn weighted<T: Copy>(rng: &mut Rng, from: &[(T, u32)]) -> T {
    let total: u32 = from.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.u32(..total);
    for (element, weight) in from {
        if at < *weight {
            return *element;
        }
        at -= weight;
    }
    from[0].0
}

impl Questions {
    /// Makes `count` queries. Up to a third ask for the addresses of names that exist;
    /// the rest are random.
    pub fn queries(&mut self, count: usize) -> Vec<Query> {
        let mut queries = Vec::new();
        let mut existing = Vec::new();
        for topic in [Topic::Service, Topic::Endpoint] {
            let mut names = self.names.get(&topic).cloned().unwrap_or_default();
            self.rng.shuffle(&mut names);
            existing.append(&mut names);
        }
        existing.truncate(count / 6);
        for name in existing {
            for qtype in [1, 28] {
                queries.push(self.query(name.clone(), qtype));
            }
        }
        while queries.len() < count {
            let topic = weighted(&mut self.rng, &Topic::ALL);
            let names = self
                .names
                .get(&topic)
                .map(Vec::as_slice)
                .unwrap_or_default();
            if names.is_empty() {
                continue;
            }
            let name = names[self.rng.usize(..names.len())].clone();
            let qtype = match topic {
                Topic::Reverse if self.rng.u32(..3) > 0 => 12,
                Topic::Port if self.rng.u32(..3) > 0 => 33,
                _ => weighted(&mut self.rng, &TYPES),
            };
            queries.push(self.query(name, qtype));
        }
        queries
    }

    fn query(&mut self, name: DnsName, qtype: u16) -> Query {
        let rng = &mut self.rng;
        let mut query = Query::new(name, qtype);
        query.id = rng.u16(..);
        match rng.u32(..8) {
            // Random case, as resolvers send against spoofing (draft-vixie-dnsext-dns0x20).
            0 | 1 => {
                for byte in query.name.0.iter_mut().flatten() {
                    if rng.bool() {
                        byte.make_ascii_uppercase();
                    }
                }
            }
            2 => query
                .name
                .0
                .iter_mut()
                .for_each(|label| label.make_ascii_uppercase()),
            _ => {}
        }
        match rng.u32(..40) {
            0..6 => query.flags = 0,
            6 => query.flags |= CD,
            7 => query.flags |= AD,
            // AA, RA, Z and RCODE, which no client sends.
            8 => query.flags |= AA | RA | 1 << 6 | 3,
            9 if rng.u32(..4) == 0 => query.flags |= TC,
            _ => {}
        }
        match rng.u32(..400) {
            0 => query.flags = 4 << 11 | RD,
            1 => query.flags = 2 << 11 | RD,
            2 => query.flags = 5 << 11,
            3..6 => query.qclass = 3,
            6..10 => query.qclass = 255,
            10..12 => query.qclass = rng.u16(..),
            _ => {}
        }
        query.opt = self.opt();
        query
    }

    fn opt(&mut self) -> Option<Opt> {
        let rng = &mut self.rng;
        if rng.u32(..100) < 55 {
            return None;
        }
        let sizes = [
            0, 100, 512, 513, 600, 1200, 1232, 1232, 1232, 1400, 4096, 4096, 65_535,
        ];
        let mut opt = Opt {
            size: sizes[rng.usize(..sizes.len())],
            ttl: 0,
            options: Vec::new(),
        };
        match rng.u32(..40) {
            0..12 => opt.ttl |= u32::from(OPT_DO),
            12 => opt.ttl |= 0x1_0000,
            13 => opt.ttl |= 0x7a55,
            14 => opt.ttl |= 0x5500_0000,
            _ => {}
        }
        if rng.u32(..5) < 2 {
            for _ in 0..rng.usize(1..4) + rng.usize(..3) * rng.usize(..2) {
                let (code, value) = if rng.u32(..20) == 0 {
                    UNUSUAL_OPTIONS[rng.usize(..UNUSUAL_OPTIONS.len())]
                } else {
                    OPTIONS[rng.usize(..OPTIONS.len())]
                };
                opt.options.extend(code.to_be_bytes());
                opt.options.extend((value.len() as u16).to_be_bytes());
                opt.options.extend(value);
            }
            if rng.u32(..40) == 0 {
                opt.options.truncate(rng.usize(..opt.options.len()));
            }
        }
        Some(opt)
    }
}

/// The query's bytes, cut off, with more bytes behind, or with one to three bytes changed.
pub fn mangled(query: &Query, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = query.bytes();
    match rng.u32(..4) {
        0 => bytes.truncate(rng.usize(..=bytes.len())),
        1 => {
            let more = rng.usize(1..20);
            bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(more));
        }
        _ => {
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(2..bytes.len());
                bytes[at] = rng.u8(..);
            }
        }
    }
    bytes
}
