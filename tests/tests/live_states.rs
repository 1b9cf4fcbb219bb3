//! What the agent has written of itself, as the pod sees it: each change counts from
//! the next query on.

use headless_ebpf::abi::{AnswerKind, Outcome, PassReason, State};
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Query, qtype};
use headless_tests::maps;
use headless_tests::twin::{SERVERS, Twin};

headless_tests::for_each_hook! {
    the_deadline
    the_right_to_negative_answers
    names_that_are_being_written
}

const DATA: Verdict = Verdict::Answer(AnswerKind::A, Outcome::Data);

/// Each with its verdict while all is well.
fn queries() -> [(Query, Verdict); 6] {
    let of = |name: &str, qtype| Query::new(&format!("{name}.svc.cluster.local"), qtype);
    let a = |outcome| Verdict::Answer(AnswerKind::A, outcome);
    [
        (of("web.default", qtype::A), DATA),
        (of("web.default", qtype::A).edns(1232), DATA),
        (of("nope.default", qtype::A), a(Outcome::NxDomain)),
        // By its shape alone.
        (of("a.b.c.web.default", qtype::A), a(Outcome::NxDomain)),
        (
            of("web.default", qtype::AAAA),
            Verdict::Answer(AnswerKind::Aaaa, Outcome::NoData),
        ),
        (
            Query::new("cluster.local", 6),
            Verdict::Answer(AnswerKind::Other, Outcome::Data),
        ),
    ]
}

/// Asks in each state, then in the one in which all is well; `reason` says why which
/// verdicts become passes in it.
fn check(hook: &str, states: &[State], reason: impl Fn(Verdict) -> Option<PassReason>) {
    let mut twin = Twin::new(hook);
    twin.add("web.default", 3, 0);
    let all = states.iter().flat_map(|state| [*state, maps::state()]);
    for state in all {
        twin.put_state(state);
        for server in SERVERS {
            let client = twin.pod.client_of(server);
            for (query, verdict) in queries() {
                let expected = match reason(verdict) {
                    Some(reason) if state != maps::state() => Verdict::Pass(reason),
                    _ => verdict,
                };
                let found = twin.ask(&client, server, &query);
                assert_eq!(found, expected, "{query:?} to {server} in {state:?}");
            }
        }
    }
}

fn the_deadline(hook: &str) {
    let over = |deadline_ns| State {
        deadline_ns,
        ..maps::state()
    };
    check(hook, &[over(0), over(1)], |_| Some(PassReason::AgentStale));
}

fn is_negative(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Answer(_, Outcome::NoData | Outcome::NxDomain)
    )
}

fn the_right_to_negative_answers(hook: &str) {
    let incomplete = State {
        flags: 0,
        ..maps::state()
    };
    check(hook, &[incomplete], |verdict| {
        is_negative(verdict).then_some(PassReason::Incomplete)
    });
}

fn names_that_are_being_written(hook: &str) {
    let writing = maps::state().next_generation();
    check(hook, &[writing], |verdict| {
        is_negative(verdict).then_some(PassReason::Changed)
    });
}
