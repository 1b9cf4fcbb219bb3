//! The tables under attack, seen as functions from a key and an input to a bucket.

use headless_ebpf::abi::{Address, EndpointEntry, HASH_NAME, HashKey, KeyedHash};
use headless_ebpf::abi::{ReversePlace, SERVED_SLOTS, ServedPlace, TablePlace};

/// Buckets of a table: few, so that pairs which share one are common.
pub(crate) const BUCKETS: u32 = 4096;

/// Words of an input: a short key. Tables that take less leave out the last ones.
pub(crate) const WORDS: usize = 5;

/// What an attacker puts into a table.
pub(crate) type Input = [u64; WORDS];

/// The part of an input that an attacker chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A name: labels of letters, digits and hyphens, padded with zeros.
    Name,
    /// An IPv4 address and the number of its Service, which the agent chooses.
    Endpoint,
    /// An IPv4 or IPv6 address.
    Address,
    /// An IPv4 address.
    Ipv4,
}

/// A table. The attacker sees whether two inputs share a bucket, which is more than latencies
/// tell: the number of probes, and whether a key fell out of the table into the hash map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) buckets: u32,
    pub(crate) bucket: fn(&HashKey, &Input) -> u32,
}

/// The tables of this version.
pub(crate) const TARGETS: [Target; 6] = [
    Target {
        name: "table, first bucket",
        shape: Shape::Name,
        buckets: BUCKETS,
        bucket: |key, words| table(key, words)[0],
    },
    Target {
        name: "table, second bucket",
        shape: Shape::Name,
        buckets: BUCKETS,
        bucket: |key, words| table(key, words)[1],
    },
    Target {
        name: "ENDPOINTS, first bucket",
        shape: Shape::Endpoint,
        buckets: BUCKETS,
        bucket: |key, words| EndpointEntry(words[0]).buckets(key, BUCKETS)[0],
    },
    Target {
        name: "ENDPOINTS, second bucket",
        shape: Shape::Endpoint,
        buckets: BUCKETS,
        bucket: |key, words| EndpointEntry(words[0]).buckets(key, BUCKETS)[1],
    },
    Target {
        name: "REVERSE",
        shape: Shape::Address,
        buckets: BUCKETS,
        bucket: |key, words| ReversePlace::of(key, address(words), BUCKETS).bucket,
    },
    Target {
        name: "SERVED",
        shape: Shape::Ipv4,
        buckets: SERVED_SLOTS as u32,
        bucket: |key, words| ServedPlace::of(key, address(words)).slot(0),
    },
];

/// The hash of layout 4, which is known to be weak: it added the seed after it had multiplied,
/// so that inputs which collide under one seed collide under all.
pub(crate) const WEAK: Target = Target {
    name: "layout 4",
    shape: Shape::Name,
    buckets: BUCKETS,
    bucket: layout_4,
};

/// A hash that multiplies each word by its part of the key and mixes nothing: what an attacker
/// learns about one word holds whatever the others are.
pub(crate) const LINEAR: Target = Target {
    name: "linear",
    shape: Shape::Name,
    buckets: BUCKETS,
    bucket: |key, words| {
        let key: &[u64] = bytemuck::cast_slice(bytemuck::bytes_of(key));
        let products = words
            .iter()
            .zip(key)
            .map(|(word, key)| word.wrapping_mul(*key));
        let sum = products.fold(0, u64::wrapping_add);
        (sum >> (64 - BUCKETS.ilog2())) as u32
    },
};

/// The multiplier of layout 4.
pub(crate) const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

fn layout_4(key: &HashKey, words: &Input) -> u32 {
    let (mut sum, mut multiplier) = (0_u64, MULTIPLIER);
    for word in words {
        sum = sum.wrapping_add(word.wrapping_mul(multiplier));
        multiplier = multiplier.wrapping_mul(MULTIPLIER);
    }
    let seed: &[u64] = bytemuck::cast_slice(bytemuck::bytes_of(key));
    let mixed = (sum ^ sum >> 32).wrapping_mul(MULTIPLIER);
    let hash = mixed.wrapping_add(seed[0]) >> 32;
    ((hash * u64::from(BUCKETS)) >> 32) as u32
}

fn table(key: &HashKey, words: &Input) -> [u32; 2] {
    TablePlace::of(KeyedHash::new().words(key, HASH_NAME, words), BUCKETS).buckets
}

fn address(words: &Input) -> Address {
    Address {
        first: words[0],
        last: words[1],
    }
}
