//! Objects that would fill the log.

use std::fs;

use headless_tests::agent::{Agent, manifests};
use headless_tests::node::{Node, wait_for};

use super::{number, slice};

#[test]
fn an_object_with_many_problems_makes_one_line() {
    let node = Node::new();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let before = agent.log().lines().count();
    let evil = "no\n2026-11-27T00:00:00.000000Z ERROR headless_agent: panicked at\u{1b}[2J";
    for round in 0..3 {
        let addresses = (0..4000).map(|i| format!("{i}{evil}{round}"));
        // Written whole and then renamed, so that the agent never reads a part.
        let text = slice("default", "evil", addresses);
        fs::write(manifests.path().join(".evil"), text).unwrap();
        fs::rename(
            manifests.path().join(".evil"),
            manifests.path().join("evil.yaml"),
        )
        .unwrap();
        wait_for(|| {
            let reported = agent.status()["reported"].to_string();
            let is_in = reported.contains(&format!("[2J{round}"));
            is_in.then_some(()).ok_or(reported)
        });
    }
    let status = agent.status();
    let reported: Vec<_> = status["reported"].as_array().unwrap().iter().collect();
    assert_eq!(reported.len(), 9, "{reported:#?}");
    let last = reported[8].as_str().unwrap();
    assert!(last.contains("invalid_address"), "{last}");
    let metrics = agent.metrics();
    let counted = "headless_object_problems_total{reason=\"invalid_address\"} ";
    assert!(number(&metrics, counted) >= 4000, "{metrics}");
    let log = agent.log();
    let new: Vec<_> = log.lines().skip(before).collect();
    assert!(new.len() <= 3, "{new:#?}");
    for line in &new {
        assert!(line.contains(" WARN ") && line.contains("more"), "{line}");
        assert!(line.len() < 3000, "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    // On a terminal, too.
    let table = agent.run(&["status"]);
    assert!(!table.contains('\u{1b}'), "{table:?}");
    assert!(
        !table.lines().any(|line| line.starts_with("2026-")),
        "{table}"
    );
}
