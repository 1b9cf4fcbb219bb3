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
        problems: if wrong {
            problem.into()
        } else {
            Problems::default()
        },
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
    let many = (0..LINES_SHOWN_MAX + 5).map(|i| report(i, true));
    apply(&mut keeper, reports(many));
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.problem_counts["invalid_address"], 105);
    assert_eq!(snapshot.reported.len(), LINES_SHOWN_MAX);
    assert!(snapshot.reported.last().unwrap().contains("bad-104"));
}

#[test]
fn a_namespace_with_many_reports_hides_no_other() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let good = Report {
        about: "Service good/api".into(),
        ..report(0, true)
    };
    apply(&mut keeper, reports([good]));
    let many = (0..3 * LINES_SHOWN_MAX).map(|i| report(i, true));
    apply(&mut keeper, reports(many));
    let shown = mirror.snapshot().reported.clone();
    assert_eq!(shown.len(), LINES_SHOWN_MAX);
    assert!(
        shown[0].contains("bad-0"),
        "the report about good: {shown:?}"
    );
    assert!(shown[1].contains("bad-201"), "the oldest others are gone");
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

/// As where a tenant changes a broken object all the time.
#[test]
fn a_namespace_with_many_problems_leaves_the_log_to_the_others() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let object = |namespace: &str, broken: usize| {
        let mut problems = Problems::default();
        for i in 0..20_000 {
            problems.add(Problem {
                object: format!("EndpointSlice {namespace}/a"),
                field: format!("endpoints[{i}].addresses[0]"),
                reason: Reason::InvalidAddress(format!("{broken}.{i}").into()),
            });
        }
        Report {
            about: format!("EndpointSlice {namespace}/a"),
            problems,
        }
    };
    for round in 0..50 {
        apply(&mut keeper, reports([object("evil", round)]));
    }
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.lines_left_out, 45);
    assert_eq!(snapshot.reported.len(), 9, "{:?}", snapshot.reported);
    // Of the problems that are not kept, nobody knows that they are other ones each time.
    assert_eq!(
        snapshot.problem_counts["invalid_address"],
        20_000 + 49 * 8,
        "all are counted"
    );
    apply(&mut keeper, reports([object("good", 0)]));
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.lines_left_out, 45, "the line of `good` is logged");
    assert_eq!(snapshot.problem_counts["invalid_address"], 40_000 + 49 * 8);
    assert_eq!(snapshot.reported.len(), 18);
}
