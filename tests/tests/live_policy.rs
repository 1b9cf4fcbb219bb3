//! `--mode`: pods that are answered, pods that are only observed, and pods that are left alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use headless_tests::agent::{Agent, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Fate, Node};
use headless_tests::tap::{Tap, Way};
use nix::sys::signal::Signal;

/// Ways of attaching tc, as arguments.
const WAYS: [&[&str]; 2] = [&[], &["--tc-mode", "clsact"]];

/// Questions that the kernel answers: data, NODATA and NXDOMAIN.
fn answered() -> [Query; 3] {
    [
        Query::new("nginx-headless.default.svc.cluster.local", qtype::A),
        Query::new("nginx-headless.default.svc.cluster.local", qtype::AAAA),
        Query::new("nope.default.svc.cluster.local", qtype::A),
    ]
}

fn stop(mut agent: Agent<'_>) {
    agent.signal(Signal::SIGTERM);
    assert!(agent.wait().success(), "{}", agent.log());
}

fn states(agent: &Agent<'_>, interface: &str) -> [Option<String>; 2] {
    ["xdp", "tc"].map(|program| agent.interface_state(interface, program))
}

#[test]
fn an_observed_pod_gets_the_cluster_dns_and_is_counted() {
    for way in WAYS {
        let node = Node::new();
        let pod = node.pod("veth-client", 10);
        let cluster_dns = node.cluster_dns();
        let folder = manifests();
        let arguments = [&["--mode", "observe", "--hook", "xdp"], way].concat();
        let agent = Agent::start(&node, folder.path(), &arguments);
        let expected = ["unused", "observing"].map(|it| Some(it.to_owned()));
        assert_eq!(states(&agent, "veth-client"), expected);
        assert_eq!(node.xdp_program("veth-client"), None);
        let client = pod.client();
        let tap = Tap::of_pod(&pod);
        let queries = answered();
        for query in &queries {
            client.send(query);
            assert_eq!(cluster_dns.answer(), query.message(), "as the pod sent it");
            assert!(client.receive().is_some(), "a reply of the cluster's DNS");
        }
        // Nothing but the replies of the cluster's DNS came to the pod.
        assert_eq!(tap.gone(Way::In).len(), queries.len());
        let outside = Query::new("example.com", qtype::A);
        assert!(matches!(
            client.follow(&outside, &cluster_dns),
            Fate::Passed
        ));
        assert_eq!(agent.kernel_answers(), 0);
        assert_eq!(agent.number("/passes/observed"), queries.len() as u64);
        assert_eq!(agent.number("/passes/outside_zone"), 1);
        let metrics = agent.metrics();
        for sample in [
            "headless_dns_passes_total{path=\"tc\",reason=\"observed\"} 3",
            "headless_interfaces{program=\"tc\",state=\"observing\"} 1",
            "headless_interfaces{program=\"tc\",state=\"attached\"} 0",
        ] {
            assert!(metrics.contains(sample), "no {sample} in {metrics}");
        }
        let problems = agent.problems();
        assert!(!problems.contains("veth-client"), "{problems}");
        stop(agent);
        assert_eq!(node.tc_programs("veth-client"), [""; 0]);
    }
}

#[test]
fn a_pod_with_the_mode_off_has_no_programs() {
    for way in WAYS {
        let node = Node::new();
        let pod = node.pod("veth-client", 10);
        let cluster_dns = node.cluster_dns();
        let folder = manifests();
        let arguments = [&["--mode", "off"], way].concat();
        let agent = Agent::start(&node, folder.path(), &arguments);
        let expected = ["off", "off"].map(|it| Some(it.to_owned()));
        assert_eq!(states(&agent, "veth-client"), expected);
        assert_eq!(node.xdp_program("veth-client"), None);
        assert_eq!(node.tc_programs("veth-client"), [""; 0]);
        let client = pod.client();
        for query in answered() {
            assert!(matches!(client.follow(&query, &cluster_dns), Fate::Passed));
        }
        assert_eq!(agent.number("/passes/observed"), 0);
        let table = agent.run(&["status"]);
        let line = table.lines().find(|line| line.contains("veth-client"));
        assert!(line.unwrap().contains("off"), "{table}");
        stop(agent);
    }
}

#[test]
fn without_the_option_pods_are_answered() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let folder = manifests();
    let agent = Agent::start(&node, folder.path(), &["--hook", "xdp"]);
    let client = pod.client();
    for query in answered() {
        assert!(matches!(
            client.follow(&query, &cluster_dns),
            Fate::Answered(_)
        ));
    }
    assert_eq!(agent.kernel_answers(), 3);
    stop(agent);
}
