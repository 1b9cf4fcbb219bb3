//! Names of the zone that are left to CoreDNS.

use std::collections::BTreeSet;

use headless_ebpf::abi::{PASSED_MAX, PassedNames};

use super::checked::Checked;
use super::*;
use crate::corefile::{Left, Part};

fn names(range: std::ops::Range<usize>) -> Left {
    Left {
        names: range.map(|i| format!("n{i}").into()).collect(),
        ..Left::NOTHING
    }
}

/// Beats once, and returns whether the state was written.
fn leave(writer: &mut Writer<Checked>, left: &Left) -> bool {
    let beat = Beat {
        lease: Duration::from_secs(30),
        serial: 7,
        may_deny: true,
        passes: left.parts,
    };
    writer.beat_leaving(beat, &left.names).is_ok()
}

/// Whether the programs leave a question for a name that does not exist.
fn leaves(&(flags, passed): &(u32, PassedNames), name: &str) -> bool {
    let hash = PassedNames::hash(&config().hash_key, [name.as_bytes()]).unwrap();
    let parts = State::PASS_ZONE | State::PASS_NXDOMAIN;
    flags & parts != 0 || flags & State::PASS_NAMES != 0 && passed.has(hash)
}

fn all() -> BTreeSet<Box<str>> {
    names(0..2 * PASSED_MAX + 2).names
}

fn is_left(left: &Left, name: &str) -> bool {
    left.parts.has(Part::Zone) || left.parts.has(Part::NxDomain) || left.names.contains(name)
}

#[test]
fn what_is_left_before_and_after_a_heartbeat_is_left_at_every_moment() {
    let steps = [
        names(0..0),
        names(0..1),
        names(0..3),
        names(2..4),
        Part::Zone.into(),
        names(1..2),
        Part::NxDomain.into(),
        names(1..2),
        Part::Reverse.into(),
        names(0..PASSED_MAX),
        names(1..PASSED_MAX + 1),
        Part::Zone.into(),
        names(PASSED_MAX..2 * PASSED_MAX),
        names(0..2),
        Left::ALL,
        Left::NOTHING,
    ];
    for refuses_state in [false, true] {
        let mut writer = open(Checked::new());
        for step in steps.windows(2) {
            let [before, after] = step else { continue };
            leave(&mut writer, before);
            leave(&mut writer, before);
            writer.sink_mut().passes.clear();
            writer.sink_mut().refuses_state = refuses_state;
            assert_eq!(leave(&mut writer, after), !refuses_state);
            let sink = writer.sink_mut();
            sink.refuses_state = false;
            for moment in &sink.passes {
                for name in all() {
                    let both = is_left(before, &name) && is_left(after, &name);
                    let missed = both && !leaves(moment, &name);
                    assert!(!missed, "{name} from {before:?} to {after:?}");
                }
            }
            leave(&mut writer, after);
            leave(&mut writer, after);
            let last = *writer.sink().passes.last().unwrap();
            for name in all() {
                assert_eq!(
                    leaves(&last, &name),
                    is_left(after, &name),
                    "{name} {after:?}"
                );
            }
        }
    }
}

#[test]
fn names_that_do_not_fit_leave_the_zone_and_count_as_a_failure() {
    let long = Left {
        names: ["a.".repeat(124) + "a"].map(Box::from).into(),
        ..Left::NOTHING
    };
    for left in [names(0..PASSED_MAX + 1), long] {
        let mut writer = open(Checked::new());
        assert!(leave(&mut writer, &left));
        assert_ne!(writer.sink().sink.state.flags & State::PASS_ZONE, 0);
        assert_eq!(writer.counts.failed.load(Ordering::Relaxed), 1);
        assert_eq!(writer.counts.full.load(Ordering::Relaxed), 0);
    }
}
