//! An attacker who knows the code and not the key looks for names and addresses that collide.
//!
//! The attacker chooses inputs and sees of any two whether they share a bucket, which is more
//! than latencies tell. Each attack learns from one table, then tries what it has learned on
//! inputs that it has not seen. It has found something if so many of them collide that chance
//! gives as many once in 2^40 runs. Two weak hashes show that the attacks can find
//! something.
//!
//! The attacks run for five seconds, or for `HEADLESS_ATTACK_SECONDS`. `HEADLESS_SEED` repeats a
//! run's keys.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts are far below 2^52, and the bounds are rough"
)]

mod chance;
mod strategies;
mod target;

use std::env;
use std::time::{Duration, Instant};

use fastrand::Rng;
use headless_ebpf::abi::HashKey;

use self::chance::{surprise, surprise_of_most};
use self::strategies::{Reached, STRATEGIES, Scene};
use self::target::{LINEAR, TARGETS, Target, WEAK};

/// Bits of surprise from which on an attack has found something.
const FOUND: f64 = 40.0;

/// The results of one attack on one table.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    tried: u64,
    shared: u64,
    inputs: u64,
    /// The most inputs of a set in one bucket, the set's size, and the surprise about it.
    most: (u64, u64, f64),
}

impl Total {
    fn add(&mut self, target: &Target, reached: Reached) {
        self.tried += reached.tried;
        self.shared += reached.shared;
        self.inputs += reached.inputs;
        let bits = surprise_of_most(reached.inputs, reached.most, target.buckets);
        if bits > self.most.2 || self.most.0 == 0 {
            self.most = (reached.most, reached.inputs, bits);
        }
    }

    fn surprise(&self, target: &Target) -> f64 {
        let of_pairs = surprise(self.tried, self.shared, target.buckets);
        of_pairs.max(self.most.2)
    }
}

/// Runs all attacks on a table for some time, with new keys in each round. Prints a line for each.
fn attack(target: &Target, seed: u64, time: Duration) -> Vec<(&'static str, f64)> {
    let mut totals = [Total::default(); STRATEGIES.len()];
    let mut seeds = Rng::with_seed(seed);
    let end = Instant::now() + time;
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        let mut scene = Scene {
            victim: HashKey::from_seed(seeds.u64(..)),
            own: HashKey::from_seed(seeds.u64(..)),
            rng: seeds.fork(),
        };
        for (total, (_, strategy)) in totals.iter_mut().zip(STRATEGIES) {
            total.add(target, strategy(target, &mut scene));
        }
        rounds += 1;
    }
    let results = totals.iter().zip(STRATEGIES).map(|(total, (name, _))| {
        let Total {
            tried,
            shared,
            most: (most, set, _),
            inputs,
        } = *total;
        let bits = total.surprise(target);
        let chance = tried as f64 / f64::from(target.buckets);
        println!(
            "{:<26} {name:<20} {rounds} keys; pairs: {shared} of {tried}, by chance {chance:.0}; \
             sets: {most} of {set} in one bucket, {inputs} inputs; {bits:.1} bits",
            target.name
        );
        (name, bits)
    });
    results.collect()
}

/// The run's seed, printed.
fn seed() -> u64 {
    let given = env::var("HEADLESS_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |text| text.parse().unwrap());
    println!("HEADLESS_SEED={seed}");
    seed
}

#[test]
fn no_attack_finds_collisions() {
    let seed = seed();
    let seconds = env::var("HEADLESS_ATTACK_SECONDS");
    let seconds: f64 = seconds.map_or(5.0, |text| text.parse().unwrap());
    let time = Duration::from_secs_f64(seconds / TARGETS.len() as f64);
    let mut found = Vec::new();
    for target in &TARGETS {
        let results = attack(target, seed, time);
        let above = results.into_iter().filter(|(_, bits)| *bits >= FOUND);
        found.extend(above.map(|(attack, bits)| (target.name, attack, bits)));
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_attacks_find_the_collisions_of_weak_hashes() {
    let expected: [(Target, &[&str]); 2] = [
        (WEAK, &["other cluster", "weights of the code"]),
        (LINEAR, &["differences", "extensions", "best stride"]),
    ];
    for (target, attacks) in expected {
        let results = attack(&target, 1, Duration::ZERO);
        for expected in attacks {
            let found = results.iter().find(|(name, _)| name == expected);
            let bits = found.unwrap().1;
            assert!(bits >= FOUND, "{} {expected}: {bits}", target.name);
        }
    }
}
