//! All faults of a packet, with the golden frames that have them. Each such frame passes
//! in both programs, with the reason of its fault.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use headless_ebpf::abi::PassReason;
use headless_ebpf::respond::Verdict;
use headless_tests::golden::{self, Case};

use self::corpus::CORPUS;

/// Reasons for which well-formed packets pass. Golden frames have these too.
const WELL_FORMED: [PassReason; 9] = [
    PassReason::Tcp,
    PassReason::Corefile,
    PassReason::AgentStale,
    PassReason::Userspace,
    PassReason::Incomplete,
    PassReason::Changed,
    PassReason::TooLarge,
    PassReason::NotServed,
    PassReason::OutsideZone,
];

/// Reasons that a frame alone does not cause, each with the file and the name of the test
/// that causes it.
const BY_OTHER_TESTS: [(PassReason, &str, &str); 7] = [
    (
        PassReason::Observed,
        "golden.rs",
        "an_observed_frame_leaves_as_it_came_and_is_counted",
    ),
    (
        PassReason::Busy,
        "pass_is_untouched.rs",
        "failed_writes_and_missing_maps_have_reasons",
    ),
    (
        PassReason::NoRoom,
        "pass_is_untouched.rs",
        "a_packet_that_cannot_grow_passes_unchanged",
    ),
    (
        PassReason::Map,
        "pass_is_untouched.rs",
        "failed_writes_and_missing_maps_have_reasons",
    ),
    (
        PassReason::Map,
        "live_states.rs",
        "tc_passes_replies_for_an_interface_without_mtu",
    ),
    (
        PassReason::Lost,
        "pass_is_untouched.rs",
        "failed_writes_and_missing_maps_have_reasons",
    ),
    // Several datagrams in one buffer, whose length fields are right.
    (
        PassReason::Length,
        "live_edges/joined.rs",
        "queries_joined_by_the_sender",
    ),
];

fn cases() -> BTreeMap<String, Case> {
    golden::cases()
        .into_iter()
        .map(|case| (case.name(), case))
        .collect()
}

/// Reasons for which the cases pass, in any program.
fn reasons<'a>(cases: impl IntoIterator<Item = &'a Case>) -> BTreeSet<PassReason> {
    let verdicts = cases
        .into_iter()
        .flat_map(|case| case.hooks().map(|hook| case.expected(hook)));
    verdicts
        .filter_map(|verdict| match verdict {
            Verdict::Pass(reason) => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn every_malformed_frame_passes_with_its_reason() {
    let cases = cases();
    let mut seen = BTreeSet::new();
    for (about, reason, frames) in CORPUS {
        for frame in *frames {
            let name = format!("pass_{frame}");
            let case = cases.get(&name);
            let case = case.unwrap_or_else(|| panic!("{about}: no frame {name}"));
            for hook in case.hooks() {
                let found = case.expected(hook);
                assert_eq!(found, Verdict::Pass(*reason), "{about}: {name} in {hook:?}");
            }
            assert!(seen.insert(name), "{frame} is listed twice");
        }
    }
}

#[test]
fn every_pass_reason_has_a_test() {
    let cases = cases();
    let malformed: BTreeSet<_> = CORPUS.iter().map(|(_, reason, _)| *reason).collect();
    let by_frames = reasons(cases.values());
    for reason in WELL_FORMED {
        assert!(
            by_frames.contains(&reason),
            "no golden frame has {reason:?}"
        );
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut by_other_tests = BTreeSet::new();
    for (reason, file, test) in BY_OTHER_TESTS {
        let text = fs::read_to_string(tests.join(file)).unwrap();
        assert!(
            text.contains(&format!("fn {test}(")),
            "{reason:?}: {file} has no test {test}"
        );
        let mentions = text.contains(&format!("PassReason::{reason:?}"));
        assert!(mentions, "{file} does not mention {reason:?}");
        by_other_tests.insert(reason);
    }
    for reason in PassReason::ALL {
        assert!(
            malformed.contains(reason)
                || WELL_FORMED.contains(reason)
                || by_other_tests.contains(reason),
            "no test causes {reason:?}"
        );
    }
}
