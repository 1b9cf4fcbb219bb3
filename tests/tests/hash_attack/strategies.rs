//! The attacks. Each learns from one table and then tries what it has learned on inputs that it
//! has not seen yet: only what carries over makes a set of colliding inputs grow.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;
use headless_ebpf::abi::{HashKey, NameKey};

use super::target::{Input, MULTIPLIER, Shape, Target};

/// Inputs that are compared with each other while an attack learns.
const LEARNED_FROM: usize = 4096;

/// Trials of each thing that was learned.
const TRIALS: usize = 64;

/// What an attack has reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    /// Pairs of inputs that should share a bucket, if the attack works.
    pub(crate) tried: u64,
    /// Pairs that do.
    pub(crate) shared: u64,
    /// Inputs of a set that should crowd into few buckets.
    pub(crate) inputs: u64,
    /// The most inputs of the set in one bucket.
    pub(crate) most: u64,
}

/// One key of a victim, one of the attacker's own cluster, and random numbers.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) victim: HashKey,
    pub(crate) own: HashKey,
    pub(crate) rng: Rng,
}

/// An attack.
pub(crate) type Strategy = fn(&Target, &mut Scene) -> Reached;

pub(crate) const STRATEGIES: [(&str, Strategy); 7] = [
    ("bits", bits),
    ("differences", differences),
    ("extensions", extensions),
    ("other cluster", other_cluster),
    ("weights of the code", weights),
    ("structured set", structured),
    ("best stride", strides),
];

/// A random input of the target's shape.
fn input(target: &Target, rng: &mut Rng) -> Input {
    let network = u64::from(u32::from_le_bytes([10, 244, rng.u8(..), rng.u8(..)]));
    match target.shape {
        Shape::Name => {
            let labels = [22, 14].map(|len| {
                let len = rng.usize(3..=len);
                let letter = |_| rng.choice(*b"abcdefghijklmnopqrstuvwxyz0123456789-");
                (0..len).map(letter).map(|it| it.unwrap_or(b'a')).collect()
            });
            name(&labels)
        }
        Shape::Endpoint => [network | rng.u64(1..1 << 20) << 32, 0, 0, 0, 0],
        Shape::Address if rng.bool() => [rng.u64(..), rng.u64(..), 0, 0, 0],
        Shape::Address | Shape::Ipv4 => ipv4(network),
    }
}

fn name(labels: &[Vec<u8>]) -> Input {
    let (key, _) = NameKey::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
    *key.words.first_chunk().unwrap()
}

fn ipv4(address: u64) -> Input {
    [0, address << 32 | u64::from(0xffff_u32.to_be()), 0, 0, 0]
}

/// The numbers of the words that an attacker chooses.
fn words(target: &Target) -> std::ops::Range<usize> {
    match target.shape {
        Shape::Name => 0..5,
        Shape::Endpoint => 0..1,
        Shape::Address => 0..2,
        Shape::Ipv4 => 1..2,
    }
}

/// The bits of a word that an attacker chooses.
fn mask(target: &Target) -> u64 {
    match target.shape {
        Shape::Name | Shape::Address => u64::MAX,
        Shape::Endpoint => u64::from(u32::MAX),
        Shape::Ipv4 => u64::from(u32::MAX) << 32,
    }
}

/// Tries a change on many inputs: does the changed input share the bucket?
fn try_change(
    target: &Target,
    scene: &mut Scene,
    change: impl Fn(Input) -> Input,
    reached: &mut Reached,
) {
    for _ in 0..TRIALS {
        let base = input(target, &mut scene.rng);
        let changed = change(base);
        if changed != base {
            reached.tried += 1;
            let bucket = |input| (target.bucket)(&scene.victim, input);
            reached.shared += u64::from(bucket(&base) == bucket(&changed));
        }
    }
}

/// One and two bits of one word, in both halves, and of two words.
fn bits(target: &Target, scene: &mut Scene) -> Reached {
    let mut reached = Reached::default();
    let (words, mask) = (words(target), mask(target));
    for _ in 0..256 {
        let at = [0, 1].map(|_| scene.rng.usize(words.clone()));
        let flips = [0, 1].map(|_| (1_u64 << scene.rng.u32(..64)) & mask);
        let change = |mut input: Input| {
            input[at[0]] ^= flips[0];
            input[at[1]] ^= flips[1];
            input
        };
        try_change(target, scene, change, &mut reached);
    }
    reached
}

/// The pairs of inputs that share a bucket under a key.
fn pairs(target: &Target, key: &HashKey, inputs: &[Input]) -> Vec<[Input; 2]> {
    let mut first = HashMap::new();
    let mut pairs = Vec::new();
    for input in inputs {
        let other = *first.entry((target.bucket)(key, input)).or_insert(*input);
        if other != *input {
            pairs.push([other, *input]);
        }
    }
    pairs
}

/// A word, and pairs of inputs that differ in this word alone and share a bucket.
fn pairs_of_word(target: &Target, scene: &mut Scene) -> (usize, Vec<[Input; 2]>) {
    let at = scene.rng.usize(words(target));
    let base = input(target, &mut scene.rng);
    let inputs = std::iter::repeat_with(|| {
        let mut other = base;
        other[at] = base[at] & !mask(target) | scene.rng.u64(..) & mask(target);
        other
    });
    let inputs: Vec<_> = inputs.take(LEARNED_FROM).collect();
    (at, pairs(target, &scene.victim, &inputs))
}

/// Pairs that differ in one word and share a bucket. Their difference is added to that word of
/// other inputs.
fn differences(target: &Target, scene: &mut Scene) -> Reached {
    let mut reached = Reached::default();
    let (at, pairs) = pairs_of_word(target, scene);
    for [one, other] in pairs.into_iter().take(256) {
        let difference = one[at].wrapping_sub(other[at]);
        let change = |mut input: Input| {
            input[at] = input[at].wrapping_add(difference);
            input
        };
        try_change(target, scene, change, &mut reached);
    }
    reached
}

/// Pairs that share a bucket, extended: the same change of all other words in both. If the sums
/// of a pair were equal, and not only their buckets, all extensions would share a bucket, since
/// the hash adds up its words.
fn extensions(target: &Target, scene: &mut Scene) -> Reached {
    let mut reached = Reached::default();
    let at = scene.rng.usize(words(target));
    let base = input(target, &mut scene.rng);
    let inputs: Vec<_> = std::iter::repeat_with(|| {
        let mut other = base;
        other[at] = input(target, &mut scene.rng)[at];
        other
    })
    .take(LEARNED_FROM)
    .collect();
    if words(target).len() == 1 {
        return reached;
    }
    for [one, other] in pairs(target, &scene.victim, &inputs).into_iter().take(256) {
        for _ in 0..TRIALS {
            let mut extended = [input(target, &mut scene.rng); 2];
            extended[0][at] = one[at];
            extended[1][at] = other[at];
            // Two IPv4 addresses have the same first word.
            if extended[0] == one {
                continue;
            }
            let [one, other] = extended.map(|input| (target.bucket)(&scene.victim, &input));
            reached.tried += 1;
            reached.shared += u64::from(one == other);
        }
    }
    reached
}

/// Pairs that share a bucket in the attacker's own cluster, tried on the victim's.
fn other_cluster(target: &Target, scene: &mut Scene) -> Reached {
    let mut reached = Reached::default();
    let inputs: Vec<_> = std::iter::repeat_with(|| input(target, &mut scene.rng))
        .take(4 * LEARNED_FROM)
        .collect();
    for [one, other] in pairs(target, &scene.own, &inputs) {
        let bucket = |input| (target.bucket)(&scene.victim, input);
        reached.tried += 1;
        reached.shared += u64::from(bucket(&one) == bucket(&other));
    }
    reached
}

/// Changes of two words that cancel out where the code weighs words by constants.
fn weights(target: &Target, scene: &mut Scene) -> Reached {
    let mut reached = Reached::default();
    let words = words(target);
    for _ in 0..256 {
        let at = scene.rng.usize(words.clone());
        let by = scene.rng.u64(1..) & mask(target);
        let change = |mut input: Input| {
            input[at] = input[at].wrapping_add(by.wrapping_mul(MULTIPLIER));
            if words.contains(&(at + 1)) {
                input[at + 1] = input[at + 1].wrapping_sub(by);
            }
            input
        };
        try_change(target, scene, change, &mut reached);
    }
    reached
}

/// The set's size, and the most of its inputs in one bucket.
fn crowd(target: &Target, key: &HashKey, set: impl Iterator<Item = Input>) -> Reached {
    let mut counts = HashMap::<u32, u64>::new();
    let mut inputs = 0;
    for input in set {
        *counts.entry((target.bucket)(key, &input)).or_default() += 1;
        inputs += 1;
    }
    Reached {
        inputs,
        most: counts.values().copied().max().unwrap_or_default(),
        ..Reached::default()
    }
}

/// Inputs that a tenant has anyway: names with a counter at any place, of any length, below one
/// namespace; addresses in a row.
fn structured(target: &Target, scene: &mut Scene) -> Reached {
    let (from, shift) = (scene.rng.u32(..), scene.rng.u32(..33));
    let numbers = (0..LEARNED_FROM as u32).map(|i| from.wrapping_add(i));
    let stem = "abcdefghijklmnopqrstu".as_bytes();
    let len = scene.rng.usize(..=stem.len());
    let (first, place) = (scene.rng.u64(..), scene.rng.bool());
    let set = numbers.map(|i| match target.shape {
        Shape::Name => {
            let digits = format!("{i:x}").into_bytes();
            let label = if place {
                [&stem[..len], &digits].concat()
            } else {
                [&digits, &stem[..len]].concat()
            };
            name(&[label, b"evil".to_vec()])
        }
        Shape::Endpoint => [u64::from(i) | 7 << 32, 0, 0, 0, 0],
        Shape::Ipv4 => ipv4(u64::from(i)),
        Shape::Address => [first, u64::from(i) << shift, 0, 0, 0],
    });
    crowd(target, &scene.victim, set)
}

/// Sequences in one word, whose strides are the differences of pairs that share a bucket. The
/// stride that crowds most in a short sequence is then tried in a long one.
fn strides(target: &Target, scene: &mut Scene) -> Reached {
    let (at, pairs) = pairs_of_word(target, scene);
    let (base, mask) = (input(target, &mut scene.rng), mask(target));
    let sequence = |stride: u64, from: u64, len: u64| {
        (from..from + len).map(move |i| {
            let mut input = base;
            let moved = input[at].wrapping_add(i.wrapping_mul(stride));
            input[at] = input[at] & !mask | moved & mask;
            input
        })
    };
    let strides = pairs
        .iter()
        .map(|[one, other]| one[at].wrapping_sub(other[at]));
    let crowded = |stride: &u64| crowd(target, &scene.victim, sequence(*stride, 0, 64)).most;
    let Some(best) = strides.max_by_key(crowded) else {
        return Reached::default();
    };
    // A sequence may come back to where it began. An input counts once.
    let set: HashSet<Input> = sequence(best, 64, 2048).collect();
    crowd(target, &scene.victim, set.into_iter())
}
