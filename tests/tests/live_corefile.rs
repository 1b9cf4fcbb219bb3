//! The agent reads a Corefile and follows its changes while a pod asks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use headless_ebpf::abi::PassReason;
use headless_tests::agent::{Agent, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Client, ClusterDns, Fate, Node, Pod, wait_for};
use hickory_proto::op::{Message, ResponseCode};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const HEADLESS: &str = "nginx-headless.default.svc.cluster.local";
const MISSING: &str = "nosuch.default.svc.cluster.local";

/// Corefiles of the shape that kubeadm and EKS install.
const KUBEADM: &str = include_str!("../corefiles/kubeadm/Corefile");
const EKS: &str = include_str!("../corefiles/eks/Corefile");

/// An agent that reads its Corefile from a file, and a pod.
struct Scene<'a> {
    agent: Agent<'a>,
    corefile: PathBuf,
    client: Client,
    cluster_dns: ClusterDns,
    _pod: Pod,
    _folders: [TempDir; 2],
}

impl<'a> Scene<'a> {
    fn new(node: &'a Node, text: &str, arguments: &[&str]) -> Self {
        let folders = [manifests(), TempDir::new().unwrap()];
        let corefile = folders[1].path().join("Corefile");
        fs::write(&corefile, text).unwrap();
        let pod = node.pod("veth1", 9);
        let own = ["--corefile-file", corefile.to_str().unwrap()];
        let agent = Agent::start(node, folders[0].path(), &[&own[..], arguments].concat());
        Self {
            agent,
            corefile,
            client: pod.client(),
            cluster_dns: node.cluster_dns(),
            _pod: pod,
            _folders: folders,
        }
    }

    fn ask(&self, name: &str, qtype: u16) -> Option<Message> {
        match self
            .client
            .follow(&Query::new(name, qtype), &self.cluster_dns)
        {
            Fate::Answered(message) => Some(message),
            Fate::Passed => None,
        }
    }

    /// Changes the Corefile, and waits until these parts are left to CoreDNS.
    fn change(&self, text: &str, parts: &[&str]) {
        // A reader sees the old file or the new one.
        let next = self.corefile.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &self.corefile).unwrap();
        self.leaves(parts);
    }

    fn leaves(&self, parts: &[&str]) {
        let expected = serde_json::json!(parts);
        wait_for(|| {
            let left = self.agent.status()["left_to_coredns"].clone();
            let text = format!("{left}\n{}", self.agent.log());
            (left == expected).then_some(()).ok_or(text)
        });
        // The programs hear of it with the next heartbeat.
        let since = Instant::now();
        wait_for(|| {
            // The reply may take long. Its age is of the time before it came.
            let waited = since.elapsed().as_secs_f64();
            let status = self.agent.status();
            let beaten = status["heartbeat_age"].as_f64().unwrap() < waited;
            beaten.then_some(()).ok_or(status.to_string())
        });
    }
}

#[test]
fn kubeadms_corefile_leaves_nothing_and_its_options_hold() {
    let node = Node::new();
    let scene = Scene::new(&node, KUBEADM, &[]);
    scene.leaves(&[]);
    assert!(!scene.ask(HEADLESS, qtype::A).unwrap().answers.is_empty());
    let missing = scene.ask(MISSING, qtype::A).unwrap();
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let version = scene.ask("dns-version.cluster.local", qtype::TXT).unwrap();
    assert_eq!(version.answers[0].ttl, 30, "as kubeadm's `cache 30` has it");
    let notes = scene.agent.status()["notes"].to_string();
    assert!(
        notes.contains("prometheus: what the programs answer"),
        "{notes}"
    );
}

#[test]
fn options_of_the_corefile_hold_where_none_is_given() {
    let node = Node::new();
    let arguments = ["--pods", "disabled"];
    let scene = Scene::new(&node, EKS, &arguments);
    assert_eq!(scene.ask(HEADLESS, qtype::A).unwrap().answers[0].ttl, 5);
    let pod = scene.ask("10-0-0-1.default.pod.cluster.local", qtype::A);
    let code = pod.unwrap().metadata.response_code;
    assert_eq!(code, ResponseCode::NXDomain, "the operator's option wins");
    let notes = scene.agent.status()["notes"].to_string();
    let told = "--pods disabled is given, the Corefile has insecure";
    assert!(notes.contains(told), "{notes}");
}

#[test]
fn a_corefile_that_changes_leaves_more_to_coredns_while_a_pod_asks() {
    let node = Node::new();
    let scene = Scene::new(&node, KUBEADM, &[]);
    assert!(scene.ask(MISSING, qtype::A).is_some());

    let fallthrough = KUBEADM.replace("fallthrough in-addr.arpa ip6.arpa", "fallthrough");
    scene.change(&fallthrough, &["nxdomain"]);
    assert!(
        scene.ask(MISSING, qtype::A).is_none(),
        "names that do not exist pass"
    );
    assert!(
        scene.ask(HEADLESS, qtype::A).is_some(),
        "names that exist do not"
    );
    assert!(scene.ask(HEADLESS, qtype::TXT).is_some(), "nor do types");
    let problems = scene.agent.problems();
    let line = "line 9 of Corefile: fallthrough covers cluster.local.: names that do not exist \
                are left to CoreDNS";
    assert!(problems.contains(line), "{problems}");

    let (status, body) = scene.agent.get("/readyz").unwrap();
    assert_eq!(
        status, 200,
        "a Corefile does not make the agent unready: {body}"
    );
    assert!(body.contains(line), "{body}");
    let metrics = scene.agent.metrics();
    for (part, value) in [("zone", 0), ("nxdomain", 1), ("denials", 0), ("reverse", 0)] {
        let sample = format!("headless_corefile_stands_down{{part=\"{part}\"}} {value}");
        assert!(metrics.contains(&sample), "{sample}");
    }

    let all = ["zone", "nxdomain", "denials", "reverse"];
    scene.change(".:53 {", &all);
    assert!(
        scene.ask(HEADLESS, qtype::A).is_none(),
        "a Corefile that cannot be parsed"
    );
    let label = PassReason::Corefile.label();
    assert!(scene.agent.number(&format!("/passes/{label}")) >= 2);
    // CoreDNS may go by an earlier text for two minutes.
    scene.change(KUBEADM, &all);
    let problems = scene.agent.problems();
    assert!(
        problems.contains("CoreDNS may still go by the old one"),
        "{problems}"
    );
}

#[test]
fn names_of_the_corefile_pass_alone_while_a_pod_asks() {
    let node = Node::new();
    let scene = Scene::new(&node, KUBEADM, &[]);
    assert!(scene.ask(HEADLESS, qtype::A).is_some());
    let with = |hosts: &str| {
        let hosts = format!("hosts {{\n 192.0.2.1 {hosts}\n no_reverse\n fallthrough\n }}\n");
        KUBEADM.replace("cache 30", &format!("{hosts} cache 30"))
    };
    let other = "db.example.cluster.local";
    scene.change(&with(&format!("{HEADLESS} {other}")), &[]);
    wait_for(|| match scene.ask(HEADLESS, qtype::A) {
        Some(message) => Err(format!("{message}\n{}", scene.agent.log())),
        None => Ok(()),
    });
    for qtype in [qtype::A, qtype::AAAA, qtype::SRV, qtype::TXT] {
        assert!(scene.ask(HEADLESS, qtype).is_none(), "{qtype}");
        assert!(scene.ask(other, qtype).is_none(), "{qtype}");
    }
    let missing = scene.ask(MISSING, qtype::A).unwrap();
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let label = PassReason::Corefile.label();
    assert!(scene.agent.number(&format!("/passes/{label}")) >= 8);
    let problems = scene.agent.problems();
    let line = format!("hosts: it has the name {other}: this name is left to CoreDNS");
    assert!(problems.contains(&line), "{problems}");
    assert!(scene.agent.metrics().contains("headless_corefile_names 2"));

    // CoreDNS may go by the earlier text, so the names of both pass.
    scene.change(&with("new.cluster.local"), &[]);
    wait_for(|| match scene.agent.metrics() {
        metrics if metrics.contains("headless_corefile_names 3") => Ok(()),
        metrics => Err(metrics),
    });
    wait_for(|| match scene.ask("new.cluster.local", qtype::A) {
        Some(message) => Err(message.to_string()),
        None => Ok(()),
    });
    assert!(scene.ask(HEADLESS, qtype::A).is_none());
    assert!(scene.ask(MISSING, qtype::A).is_some());
}

#[test]
fn an_agent_that_cannot_take_options_over_leaves_everything_to_coredns() {
    let node = Node::new();
    let mut scene = Scene::new(&node, KUBEADM, &[]);
    let all = ["zone", "nxdomain", "denials", "reverse"];
    scene.change(&KUBEADM.replace("ttl 30", "ttl 60"), &all);
    assert!(scene.ask(HEADLESS, qtype::A).is_none());
    let problems = scene.agent.problems();
    assert!(
        problems.contains("with which the agent can only start"),
        "{problems}"
    );
    scene.agent.signal(Signal::SIGTERM);
    assert!(scene.agent.wait().success());
}
