//! The verifier accepts every program with at least 10% of its instruction limit left.
//!
//! `--nocapture` prints the counts. `cargo xtask test --kernels` reads them there and
//! compares them to `kernels/budget.yaml`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;

use headless_agent::datapath::object::{self, KernelLog};
use headless_tests::kernel::{CAPACITIES, object};
use headless_tests::verifier::{INSTRUCTIONS_MAX, logged, remembered};

/// Verified instructions by program, of the agent's object loaded as the agent loads it.
fn counts(log: KernelLog) -> BTreeMap<String, u32> {
    let path = object("headless-xdp.o");
    let ebpf = object::load_object(&fs::read(&path).unwrap(), &CAPACITIES, log);
    let ebpf = ebpf.unwrap_or_else(|error| panic!("{error}"));
    let counts = logged(&path, log != KernelLog::Off);
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
    all.extend(logged(&object("headless-reflect.o"), false));
    for (name, count) in all {
        println!("verified: {name} {count}");
        let most = INSTRUCTIONS_MAX / 10 * 9;
        assert!(
            count <= most,
            "{name}: {count} instructions, more than {most}"
        );
    }
}
