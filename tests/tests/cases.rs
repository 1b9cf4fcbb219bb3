//! Every folder of `cases`, asked of the engine and of the agent's responder.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use headless_agent::records::EndpointScope;
use headless_tests::cases::{Case, Homes, Outcome};

/// All endpoints are known, as from a folder of manifests: the responder answers.
#[test]
fn every_case_is_answered_as_coredns_does() {
    let cases = Case::all();
    assert!(!cases.is_empty(), "no case");
    for case in cases {
        let homes = Homes::new(&case.cluster(EndpointScope::All));
        for question in &case.questions {
            let about = format!("{}: {question}", case.name());
            let query = question.query();
            if let Outcome::Reply(reply) = homes.by_engine(&query) {
                question
                    .expect
                    .check(&reply, &format!("{about} by the engine"));
            }
            match homes.by_responder(&query) {
                Outcome::Reply(reply) => question
                    .expect
                    .check(&reply, &format!("{about} by the responder")),
                Outcome::Left => panic!("{about}: refused by the responder"),
            }
        }
    }
}

/// The default mode with an API server knows less, and says nothing else.
#[test]
fn no_case_is_answered_wrongly_in_the_default_mode() {
    for case in Case::all() {
        let homes = Homes::new(&case.cluster(EndpointScope::Headless));
        for question in &case.questions {
            let query = question.query();
            for (who, outcome) in [
                ("engine", homes.by_engine(&query)),
                ("responder", homes.by_responder(&query)),
            ] {
                if let Outcome::Reply(reply) = outcome {
                    let about = format!("{}: {question} by the {who}", case.name());
                    question.expect.check(&reply, &about);
                }
            }
        }
    }
}

/// What the cases of two faults are about: the program itself must not deny an alias,
/// and an address that may have more names has none in the default mode.
#[test]
fn the_engine_leaves_what_it_does_not_know() {
    let left = |scope, folder: &str| {
        let mut cases = Case::all().into_iter();
        let case = cases.find(|case| case.name() == folder).expect(folder);
        let homes = Homes::new(&case.cluster(scope));
        let questions = case.questions.iter();
        let left = questions.filter(|question| {
            let outcome = homes.by_engine(&question.query());
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
