//! The programs follow the state that the agent writes: each change holds from the next
//! query on.

use headless_agent::corefile::{Part, Parts};
use headless_ebpf::abi::{AnswerKind, Counter, Outcome, PassReason, Path, State};
use headless_ebpf::respond::Verdict;
use headless_tests::frame::{Query, qtype};
use headless_tests::maps;
use headless_tests::tap::Way;
use headless_tests::twin::{SERVERS, Twin};

headless_tests::for_each_hook! {
    nothing_is_answered_after_the_deadline
    nothing_is_denied_while_names_are_missing
    nothing_is_denied_while_names_are_written
    tc_passes_replies_for_an_interface_without_mtu
    what_the_corefile_leaves_to_coredns_passes
}

const DATA: Verdict = Verdict::Answer(AnswerKind::A, Outcome::Data);

/// Queries with their verdicts in the state `maps::state()`, in which everything is
/// answered.
fn queries() -> [(Query, Verdict); 6] {
    let of = |name: &str, qtype| Query::new(&format!("{name}.svc.cluster.local"), qtype);
    let a = |outcome| Verdict::Answer(AnswerKind::A, outcome);
    [
        (of("web.default", qtype::A), DATA),
        (of("web.default", qtype::A).edns(1232), DATA),
        (of("nope.default", qtype::A), a(Outcome::NxDomain)),
        // This name is too deep to exist, so no map is read.
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

/// Asks in each of `states`, and in the state `maps::state()` after each. `reason` maps a
/// verdict to the reason for which the query passes in `states`, if it passes.
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

fn nothing_is_answered_after_the_deadline(hook: &str) {
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

fn nothing_is_denied_while_names_are_missing(hook: &str) {
    let incomplete = State {
        flags: 0,
        ..maps::state()
    };
    check(hook, &[incomplete], |verdict| {
        is_negative(verdict).then_some(PassReason::Incomplete)
    });
}

fn nothing_is_denied_while_names_are_written(hook: &str) {
    let writing = maps::state().next_generation();
    check(hook, &[writing], |verdict| {
        is_negative(verdict).then_some(PassReason::Changed)
    });
}

fn what_the_corefile_leaves_to_coredns_passes(hook: &str) {
    let leaving = |part: Part| State {
        flags: maps::state().flags | Parts::from(part).bits(),
        ..maps::state()
    };
    check(hook, &[leaving(Part::NxDomain)], |verdict| {
        let missing = matches!(verdict, Verdict::Answer(_, Outcome::NxDomain));
        missing.then_some(PassReason::Corefile)
    });
    check(hook, &[leaving(Part::Denials)], |verdict| {
        is_negative(verdict).then_some(PassReason::Corefile)
    });
    check(hook, &[leaving(Part::Zone)], |verdict| {
        matches!(verdict, Verdict::Answer(..)).then_some(PassReason::Corefile)
    });
}

/// tc passes a query if the interface's MTU is unknown, because the reply might be longer.
fn tc_passes_replies_for_an_interface_without_mtu(hook: &str) {
    let mut twin = Twin::new(hook);
    twin.add("many.default", 60, 0);
    // The reply is too large for XDP, so tc answers.
    let query = Query::new("many.default.svc.cluster.local", qtype::A).edns(1232);
    for server in SERVERS {
        let client = twin.pod.client_of(server);
        assert_eq!(twin.ask(&client, server, &query), DATA);
        let (node, host_end) = (&twin.node, &twin.pod.host_end);
        twin.kernel.delete_interface(node, host_end);
        let ((), moved) = twin.counting(|| {
            client.send(&query);
            assert_eq!(twin.cluster_dns(server).answer(), query.message());
            assert!(client.receive().is_some(), "a reply of the cluster's DNS");
        });
        let unknown = (Counter::pass(Path::Tc, PassReason::Map), 1);
        let left = (Counter::pass(Path::Xdp, PassReason::TooLarge), 1);
        let expected = if hook == "xdp" {
            vec![left, unknown]
        } else {
            vec![unknown]
        };
        assert_eq!(moved, expected, "{server}");
        twin.tap.gone(Way::In);
        twin.behind_xdp.gone(Way::In);
        twin.set_mtu(1500);
        assert_eq!(twin.ask(&client, server, &query), DATA);
    }
}
