//! The verifier accepts every program with at least 10% of its instruction limit left.
//!
//! `--nocapture` prints the counts. `cargo xtask test --kernels` reads them there and
//! compares them to `kernels/budget.yaml`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;

use headless_agent::datapath::object::{self, KernelLog};
use headless_ebpf::abi::global;
use headless_tests::kernel;
use headless_tests::maps::CAPACITIES;
use headless_tests::verifier::{INSTRUCTIONS_MAX, KERNEL_LOG, logged, remembered};

/// Verified instructions by program, of the agent's object loaded as the agent loads it.
fn counts(log: KernelLog) -> BTreeMap<String, u32> {
    let path = kernel::object("headless-xdp.o");
    let ebpf = object::load_object(&fs::read(&path).unwrap(), &CAPACITIES, log);
    let ebpf = ebpf.unwrap_or_else(|error| panic!("{error}"));
    let globals: &[_] = if log == KernelLog::Off {
        &[]
    } else {
        &KERNEL_LOG
    };
    let counts = logged(&path, globals);
    let remembered = remembered(&ebpf);
    assert!(
        remembered.keys().eq(counts.keys()),
        "{remembered:?} {counts:?}"
    );
    for (name, count) in remembered {
        if let Some(count) = count {
            assert_eq!(
                counts[&name], count,
                "{name}: the log and the program info differ"
            );
        }
    }
    counts
}

/// A single test, because no other thread may open files while [`logged`] runs.
#[test]
fn programs_stay_below_the_verifiers_limit() {
    let mut all = counts(KernelLog::Off);
    for (name, count) in counts(KernelLog::Debug) {
        all.insert(name + "/kernel-log", count);
    }
    all.extend(logged(&kernel::object("headless-reflect.o"), &[]));
    for (name, count) in all {
        println!("verified: {name} {count}");
        is_below_the_limit(&name, count);
    }
    // As on a kernel with PREEMPT_RT and on a weakly ordered processor.
    let guards = [(global::PREEMPTIBLE, 1), (global::WEAKLY_ORDERED, 1)];
    for (name, count) in logged(&kernel::object("headless-xdp.o"), &guards) {
        is_below_the_limit(&name, count);
    }
}

fn is_below_the_limit(name: &str, count: u32) {
    let most = INSTRUCTIONS_MAX / 10 * 9;
    assert!(
        count <= most,
        "{name}: {count} instructions, more than {most}"
    );
}
