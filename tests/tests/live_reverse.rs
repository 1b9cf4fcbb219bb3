//! A pod asks for reverse names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::cluster::reversed;
use headless_tests::frame::Query;
use headless_tests::node::{Node, Pod, wait_for};
use hickory_proto::rr::RecordType;

headless_tests::for_each_hook! { reverse_names_follow_the_cluster }

fn query(address: &str) -> Query {
    let name = reversed(address.parse().unwrap());
    Query::new(&name, RecordType::PTR.into())
}

/// The name in the reply for an address.
fn name(pod: &Pod, address: &str) -> String {
    let reply = pod.ask(&query(address));
    let [answer] = reply.answers.as_slice() else {
        panic!("{reply}");
    };
    answer.data.to_string()
}

fn reverse_names_follow_the_cluster(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let file = manifests.path().join("extra.yaml");
    let extra = |addresses: &[&str]| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        fs::write(&file, headless_service("extra", &addresses)).unwrap();
    };
    extra(&["10.9.0.1", "10.9.0.2"]);
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    let before = agent.number(&format!("/answers/{hook}"));
    let zone = "svc.cluster.local.";
    assert_eq!(
        name(&pod, "10.0.0.22"),
        format!("web-0.nginx-headless.default.{zone}")
    );
    assert_eq!(
        name(&pod, "10.96.0.10"),
        format!("kube-dns.kube-system.{zone}")
    );
    assert_eq!(
        name(&pod, "10.9.0.1"),
        format!("10-9-0-1.extra.default.{zone}")
    );
    assert_eq!(agent.number(&format!("/answers/{hook}")) - before, 3);
    assert!(cluster_dns.is_unasked());

    // The question for an address that is gone passes: the cluster's DNS may know a name.
    extra(&["10.9.0.2", "10.9.0.3"]);
    wait_for(|| {
        pod.client().send(&query("10.9.0.1"));
        if cluster_dns.is_unasked() {
            return Err("still answered".into());
        }
        Ok(())
    });
    // The new address may become visible later than the old one vanishes.
    wait_for(|| {
        let reply = pod.client().ask(&query("10.9.0.3"));
        reply.map(drop).ok_or("not answered".into())
    });
    assert_eq!(
        name(&pod, "10.9.0.3"),
        format!("10-9-0-3.extra.default.{zone}")
    );
    let foreign = query("192.0.2.1");
    pod.client().send(&foreign);
    // The queries that passed before come first.
    while cluster_dns.receive() != foreign.message() {}
    // The question that passed first may have met the write, which has a reason of its own.
    assert!(agent.number("/passes/outside_zone") >= 1);
}
