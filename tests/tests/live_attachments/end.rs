//! Requests and events that come while programs are taken off.

use std::sync::atomic::{AtomicBool, Ordering};

use headless_tests::agent::{Agent, manifests};
use headless_tests::node::{Node, wait_for};

use super::{rename, stop, tc};

/// No event is handled after stopping began: what it attached by clsact would stay.
#[test]
fn nothing_is_attached_after_stopping_began() {
    let manifests = manifests();
    for round in 0..4 {
        let node = Node::new();
        let arguments = ["--hook", "tc", "--tc-mode", "clsact", "--interface", "v*"];
        let agent = Agent::start(&node, manifests.path(), &arguments);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for adder in ["a", "b", "c"] {
                let (node, ended) = (&node, &ended);
                scope.spawn(move || {
                    for number in 0..20 {
                        if !ended.load(Ordering::Relaxed) {
                            let name = format!("{adder}{number}");
                            node.ip(&format!("link add v{name} type veth peer name p{name}"));
                        }
                    }
                });
            }
            // Stops the agent while interfaces are being added.
            wait_for(|| match agent.ask("/status.json") {
                Ok((_, status)) if status.contains("va3") => Ok(()),
                other => Err(format!("{other:?}")),
            });
            stop(agent);
            ended.store(true, Ordering::Relaxed);
        });
        // No qdisc, no filter.
        let shown = tc(&node, "qdisc show");
        assert!(!shown.contains("clsact"), "{round}: {shown}");
    }
}

/// With one thread for requests, which once waited for a lock that was held by what
/// waited for this thread.
#[test]
fn metrics_are_told_while_qdiscs_are_removed() {
    let node = Node::new();
    let _pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let folder = manifests.path().to_str().unwrap();
    let launcher = ["sh", "-c", r#"TOKIO_WORKER_THREADS=1 exec "$0" "$@""#];
    let clsact = ["--hook", "tc", "--tc-mode", "clsact"];
    let excluded = ["--exclude-interface", "off*", "--manifests", folder];
    let arguments = [&clsact[..], &excluded].concat();
    let mut agent = Agent::spawn_by(&node, &launcher, &arguments);
    agent.ready();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (agent, ended) = (&agent, &ended);
        let goes_on = || !ended.load(Ordering::Relaxed);
        scope.spawn(move || while goes_on() && agent.get("/metrics").is_ok() {});
        scope.spawn(move || while goes_on() && agent.ask("/status.json").is_ok() {});
        for _ in 0..30 {
            rename(&node, "veth-client", "off0");
            rename(&node, "off0", "veth-client");
        }
        ended.store(true, Ordering::Relaxed);
    });
    let status = agent.ask("/status.json").unwrap();
    assert_eq!(status.0, 200, "{}", status.1);
    wait_for(
        || match agent.interface_state("veth-client", "tc").as_deref() {
            Some("attached") => Ok(()),
            found => Err(format!("{found:?}")),
        },
    );
}
