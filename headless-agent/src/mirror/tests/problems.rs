//! Problems of objects.

use super::*;

/// A report about Service `i`, with a problem if the Service is wrong.
fn report(i: usize, wrong: bool) -> Report {
    let about = format!("Service default/bad-{i}");
    let problem = Problem {
        object: about.clone(),
        field: "spec.clusterIP".into(),
        reason: Reason::InvalidAddress("fd00::1e525".into()),
    };
    Report {
        about,
        problems: wrong.then_some(problem).into_iter().collect(),
    }
}

fn reports(reports: impl IntoIterator<Item = Report>) -> Batch {
    Batch {
        reports: reports.into_iter().collect(),
        ..Batch::default()
    }
}

#[test]
fn problems_are_counted_and_the_latest_are_shown() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let many = (0..PROBLEMS_SHOWN_MAX + 5).map(|i| report(i, true));
    apply(&mut keeper, reports(many));
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.problem_counts["invalid_address"], 105);
    assert_eq!(snapshot.reported.len(), PROBLEMS_SHOWN_MAX);
    assert!(snapshot.reported.last().unwrap().contains("bad-104"));
}

#[test]
fn a_problem_is_shown_until_its_object_is_right_or_gone() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, reports([report(1, true), report(2, true)]));
    apply(&mut keeper, reports([report(1, false), report(2, true)]));
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.reported.len(), 1, "{:?}", snapshot.reported);
    assert!(snapshot.reported[0].contains("bad-2"));
    assert_eq!(
        snapshot.problem_counts["invalid_address"], 2,
        "no problem is counted twice"
    );
}
