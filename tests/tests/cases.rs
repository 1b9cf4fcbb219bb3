//! Puts the questions of every folder in `cases` to the engine, to the agent's responder, and
//! to the resolver.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use headless_agent::records::EndpointScope;
use headless_tests::cases::{Case, Expected, Outcome, Question, Servers};
use headless_tests::differential::message::Decoded;

/// Calls `look` with the servers of each case in a scope and with each question for them.
fn each(scope: EndpointScope, mut look: impl FnMut(&Servers, &Question, &str)) {
    let cases = Case::all();
    assert!(!cases.is_empty(), "no case");
    for case in cases {
        for (agent_args, questions) in case.by_agent_args() {
            let servers = Servers::new(&case, scope, agent_args);
            for question in questions {
                look(&servers, question, &format!("{}: {question}", case.name()));
            }
        }
    }
}

/// The answer without the records of upstream resolvers, which the responder does not have.
fn without_upstream(expected: &Expected) -> Expected {
    let is_ours = |record: &String| record.to_ascii_lowercase().contains("cluster.local.");
    let answers = expected.answers.iter().filter(|record| is_ours(record));
    Expected {
        answers: answers.cloned().collect(),
        ..expected.clone()
    }
}

/// With all endpoints in the index, as from a folder of manifests, the resolver leaves no
/// question to others.
#[test]
fn every_case_is_answered_as_coredns_does() {
    each(EndpointScope::All, |servers, question, about| {
        let query = question.query();
        if let Outcome::Reply(reply) = servers.by_engine(&query, 0) {
            question
                .expect
                .check(&reply, &format!("{about} by the engine"));
        }
        let alone = without_upstream(&question.expect);
        let by_responder = (servers.by_responder(&query), &alone, "responder");
        let by_resolver = (servers.by_resolver(&query), &question.expect, "resolver");
        for (outcome, expected, who) in [by_responder, by_resolver] {
            match outcome {
                Outcome::Reply(reply) => expected.check(&reply, &format!("{about} by the {who}")),
                Outcome::Left => panic!("{about}: left by the {who}"),
            }
        }
    });
}

/// In the scope of headless Services the agent leaves out endpoints. Then fewer questions are
/// answered, and no answer differs.
#[test]
fn no_case_is_answered_wrongly_without_all_endpoints() {
    each(EndpointScope::Headless, |servers, question, about| {
        let query = question.query();
        let alone = without_upstream(&question.expect);
        for (who, outcome, expected) in [
            ("engine", servers.by_engine(&query, 0), &question.expect),
            ("responder", servers.by_responder(&query), &alone),
            ("resolver", servers.by_resolver(&query), &question.expect),
        ] {
            if let Outcome::Reply(reply) = outcome {
                expected.check(&reply, &format!("{about} by the {who}"));
            }
        }
    });
}

/// CoreDNS takes the slices of a Service in random order, so all records come in turn.
#[test]
fn records_of_partial_answers_take_turns() {
    let mut partial = 0;
    each(EndpointScope::All, |servers, question, about| {
        let Some(count) = question.expect.answers_count else {
            return;
        };
        partial += 1;
        let query = question.query();
        let turns = 0..512u32;
        let by_engine = turns
            .clone()
            .map(|turn| servers.by_engine(&query, turn << 23));
        let by_resolver = turns.map(|_| servers.by_resolver(&query));
        let outcomes: [Vec<Outcome>; 2] = [by_engine.collect(), by_resolver.collect()];
        for outcomes in outcomes {
            let mut seen = BTreeSet::new();
            for outcome in outcomes {
                let Outcome::Reply(reply) = outcome else {
                    panic!("{about}: left");
                };
                question.expect.check(&reply, about);
                let [answers, ..] = Decoded::new(&reply).expect(about).sections;
                seen.extend(answers.into_iter().map(|record| record.rest));
            }
            let all = question.expect.answers.len();
            assert!(
                count < all && seen.len() == all,
                "{about}: {} of {all}",
                seen.len()
            );
        }
    });
    assert!(partial > 0, "no case with a partial answer");
}

/// The engine must not deny a Service whose endpoints have domain names: it cannot answer
/// with a CNAME. Nor may it answer a reverse name for an address that may have further
/// names, or name the zone's name servers.
#[test]
fn the_engine_passes_questions_that_it_cannot_answer_completely() {
    for scope in [EndpointScope::All, EndpointScope::Headless] {
        let mut answered = BTreeSet::new();
        each(scope, |servers, question, about| {
            if let Outcome::Reply(_) = servers.by_engine(&question.query(), 0) {
                answered.insert(about.to_owned());
            }
        });
        let answered: Vec<&str> = answered.iter().map(String::as_str).collect();
        assert_eq!(
            answered,
            [
                "dns-version: dns-version.cluster.local. TXT",
                "ns-of-two-services: cluster.local. SOA",
                "srv-partial-of-many-slices: a.d.svc.cluster.local. SRV",
                "terminating-pod: 10-1-1-1.d.pod.cluster.local. A",
                "terminating-pod: 10-1-1-1.d.pod.cluster.local. SRV",
            ]
        );
    }
}
