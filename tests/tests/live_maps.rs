//! Maps that are full: the error is counted and said, nothing is denied, and
//! what is there is answered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, wait_for};

fn query(service: &str) -> Query {
    Query::new(&format!("{service}.default.svc.cluster.local"), qtype::A)
}

#[test]
fn full_of_names() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    // The demo's names are 2 namespaces, 3 Services and 3 endpoints.
    let agent = Agent::start(
        &node,
        manifests.path(),
        &["--names-table", "1", "--names-short", "7"],
    );
    let missing = query("nope");
    assert_eq!(
        pod.ask(&missing).authorities.len(),
        1,
        "NXDOMAIN while there is room"
    );

    let file = manifests.path().join("extra.yaml");
    fs::write(&file, headless_service("extra", &["10.9.0.1".into()])).unwrap();
    wait_for(|| {
        let problems = agent.problems();
        let said = problems.contains("names_short is full")
            && problems.contains("negative answers are withheld");
        if said { Ok(()) } else { Err(problems) }
    });
    let status = agent.status();
    assert_eq!(status["complete"], false, "{status:#}");
    // The new name may be the one that is missing, or its endpoint.
    let client = pod.client();
    client.send(&missing);
    assert_eq!(cluster_dns.receive(), missing.message(), "not denied");
    let nodata = Query::new("nginx-headless.default.svc.cluster.local", qtype::AAAA);
    client.send(&nodata);
    assert_eq!(cluster_dns.receive(), nodata.message(), "not denied");
    assert_eq!(agent.number("/passes/incomplete"), 2);
    assert_eq!(
        pod.ask(&query("nginx-headless")).answers.len(),
        3,
        "still answered"
    );

    fs::remove_file(&file).unwrap();
    wait_for(|| {
        let status = agent.status();
        if status["complete"] == true {
            Ok(())
        } else {
            Err(format!("{status:#}"))
        }
    });
    assert_eq!(pod.ask(&missing).authorities.len(), 1, "NXDOMAIN again");
    assert!(cluster_dns.is_unasked());
}

#[test]
fn full_of_addresses() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let many: Vec<String> = (1..=250).map(|i| format!("10.9.0.{i}")).collect();
    let file = manifests.path().join("extra.yaml");
    // Room for 40 addresses and all that belongs to them.
    fs::write(&file, headless_service("extra", &many[..40])).unwrap();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let room = agent.number("/maps/chunks/entries").to_string();
    drop(agent);
    fs::write(&file, headless_service("extra", &many)).unwrap();
    let agent = Agent::start(&node, manifests.path(), &["--chunks", &room]);
    let client = pod.client();
    client.send(&query("extra"));
    assert_eq!(cluster_dns.receive(), query("extra").message());
    assert_eq!(agent.number("/passes/incomplete"), 1);
    assert_eq!(pod.ask(&query("nginx-headless")).answers.len(), 3);

    fs::write(&file, headless_service("extra", &many[..40])).unwrap();
    wait_for(|| {
        let status = agent.status();
        if status["complete"] == true {
            Ok(())
        } else {
            Err(format!("{status:#}"))
        }
    });
    let reply = pod.ask(&query("extra"));
    assert!(reply.metadata.truncation && reply.answers.len() > 20);
}
