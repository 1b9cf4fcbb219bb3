//! Puts the questions of every folder in `cases` to the engine and to the agent's
//! responder.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use headless_agent::records::EndpointScope;
use headless_tests::cases::{Case, Outcome, Servers};

/// With all endpoints in the index, as from a folder of manifests, the responder leaves no
/// question to others.
#[test]
fn every_case_is_answered_as_coredns_does() {
    let cases = Case::all();
    assert!(!cases.is_empty(), "no case");
    for case in cases {
        let servers = Servers::new(&case.cluster(EndpointScope::All));
        for question in &case.questions {
            let about = format!("{}: {question}", case.name());
            let query = question.query();
            if let Outcome::Reply(reply) = servers.by_engine(&query) {
                question
                    .expect
                    .check(&reply, &format!("{about} by the engine"));
            }
            match servers.by_responder(&query) {
                Outcome::Reply(reply) => question
                    .expect
                    .check(&reply, &format!("{about} by the responder")),
                Outcome::Left => panic!("{about}: refused by the responder"),
            }
        }
    }
}

/// With an API server the default scope leaves out endpoints. Then fewer questions are
/// answered, and no answer differs.
#[test]
fn no_case_is_answered_wrongly_in_the_default_mode() {
    for case in Case::all() {
        let servers = Servers::new(&case.cluster(EndpointScope::Headless));
        for question in &case.questions {
            let query = question.query();
            for (who, outcome) in [
                ("engine", servers.by_engine(&query)),
                ("responder", servers.by_responder(&query)),
            ] {
                if let Outcome::Reply(reply) = outcome {
                    let about = format!("{}: {question} by the {who}", case.name());
                    question.expect.check(&reply, &about);
                }
            }
        }
    }
}

/// The engine must not deny a Service whose endpoints have domain names: it cannot answer
/// with a CNAME. Nor may it answer a reverse name for an address that may have further
/// names.
#[test]
fn the_engine_passes_questions_that_it_cannot_answer_completely() {
    let left = |scope, folder: &str| {
        let mut cases = Case::all().into_iter();
        let case = cases.find(|case| case.name() == folder).expect(folder);
        let servers = Servers::new(&case.cluster(scope));
        let questions = case.questions.iter();
        let left = questions.filter(|question| {
            let outcome = servers.by_engine(&question.query());
            outcome == Outcome::Left
        });
        (left.count(), case.questions.len())
    };
    for scope in [EndpointScope::All, EndpointScope::Headless] {
        assert_eq!(left(scope, "slice-of-names"), (8, 8));
        assert_eq!(left(scope, "slice-of-names-with-hostname"), (3, 3));
        assert_eq!(left(scope, "ptr-headless-and-cluster-ip"), (1, 1));
    }
}
