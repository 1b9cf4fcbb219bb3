//! A pod asks while the agent starts, reads changes, stops or is killed. The tests check
//! who answers: the programs, the agent, or the cluster's DNS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::programs::{Xdp, XdpMode};
use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::kernel;
use headless_tests::node::{Fate, Node, Pod, wait_for};
use hickory_proto::op::Message;
use nix::sys::signal::Signal;

headless_tests::for_each_hook! {
    queries_pass_after_the_agent_is_killed
    a_stopped_agent_answers_until_the_lease_ends
    an_agent_that_stops_detaches_its_programs
    pods_come_and_go
    status_is_served_while_pods_come_and_go
    pods_see_changes_of_manifests
    a_broken_document_is_reported_and_the_others_are_served
    the_agent_answers_questions_that_the_programs_pass
}

/// The same with the tc program on the clsact qdisc, as on kernels before 6.6.
mod clsact {
    #[test]
    fn queries_pass_after_the_agent_is_killed() {
        super::queries_pass_after_the_agent_is_killed(super::CLSACT);
    }

    #[test]
    fn a_stopped_agent_answers_until_the_lease_ends() {
        super::a_stopped_agent_answers_until_the_lease_ends(super::CLSACT);
    }

    #[test]
    fn an_agent_that_stops_detaches_its_programs() {
        super::an_agent_that_stops_detaches_its_programs(super::CLSACT);
    }
}

/// The hook `tc`, attached by the clsact qdisc.
const CLSACT: &str = "clsact";

const NAME: &str = "nginx-headless.default.svc.cluster.local";

fn query() -> Query {
    Query::new(NAME, qtype::A)
}

fn web() -> Vec<IpAddr> {
    ["10.0.0.22", "10.0.0.23", "10.0.0.39"]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect()
}

/// The arguments that select a hook, and `others` behind them.
fn hooked<'a>(hook: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    let hook: &[&str] = match hook {
        CLSACT => &["--hook", "tc", "--tc-mode", "clsact"],
        hook => &["--hook", hook],
    };
    [hook, others].concat()
}

/// Fails unless the agent reports its program as attached to the interface.
fn attached(agent: &Agent<'_>, interface: &str, hook: &str) -> Result<(), String> {
    match agent.interface_state(interface, hook) {
        Some(state) if state == "attached" => Ok(()),
        state => Err(format!("{hook} attached to {interface}: {state:?}")),
    }
}

/// Whether the interface has exactly the programs of a hook.
fn carries(node: &Node, interface: &str, hook: &str) -> bool {
    let (xdp, tc) = (node.xdp_program(interface), node.tc_programs(interface));
    let as_asked = hook != CLSACT || node.tcx_programs(interface).is_empty();
    tc == ["headless_tc"] && as_asked && xdp.is_some() == (hook == "xdp")
}

/// Whether the interface has no program.
fn is_bare(node: &Node, interface: &str) -> bool {
    node.xdp_program(interface).is_none() && node.tc_programs(interface).is_empty()
}

/// Asks until the answer has exactly these addresses. While names are written, questions
/// for missing names pass. No reply comes then, because nobody else answers in the test.
fn wait_for_addresses(pod: &Pod, name: &str, expected: &[IpAddr]) {
    wait_for(|| {
        let reply = pod.client().ask(&Query::new(name, qtype::A));
        let reply = reply.ok_or("no reply")?;
        let mut addresses = decode::addresses(&reply.answers);
        addresses.sort_unstable();
        if addresses == expected {
            Ok(())
        } else {
            Err(format!("{expected:?}, not {addresses:?}"))
        }
    });
}

fn queries_pass_after_the_agent_is_killed(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let mut agent = Agent::start(&node, manifests.path(), &hooked(hook, &["--lease", "2s"]));
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    assert!(cluster_dns.is_unasked());
    assert!(carries(&node, &pod.host_end, hook));
    agent.signal(Signal::SIGKILL);
    assert!(!agent.wait().success());
    // The kernel detaches links with the process, but filters of clsact stay. A program
    // that stays must not answer after the lease has ended.
    let client = pod.client();
    wait_for(|| {
        client.send(&query());
        if cluster_dns.is_unasked() {
            Err("a query passed".into())
        } else {
            Ok(())
        }
    });
}

/// SIGSTOP stops the heartbeat, and the programs stay attached. After the lease the
/// cluster's DNS answers. After SIGCONT the programs answer again.
fn a_stopped_agent_answers_until_the_lease_ends(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &hooked(hook, &["--lease", "2s"]));
    agent.signal(Signal::SIGSTOP);
    // The last heartbeat was at most one second ago, so the lease of two seconds holds
    // for at least one second more.
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    assert!(cluster_dns.is_unasked());
    let client = pod.client();
    let mut by_kernel = 1;
    wait_for(|| match client.follow(&query(), &cluster_dns) {
        Fate::Passed => Ok(()),
        Fate::Answered(_) => {
            by_kernel += 1;
            Err("a query passed".into())
        }
    });
    assert!(carries(&node, &pod.host_end, hook), "still attached");
    let mut passed = 1;
    let missing = Query::new("nope.default.svc.cluster.local", qtype::A);
    let nodata = Query::new(NAME, qtype::AAAA);
    for query in [query(), missing.clone(), nodata] {
        client.send(&query);
        assert_eq!(cluster_dns.answer(), query.message());
        let reply = client.receive().expect("a reply of the cluster's DNS");
        let reply = Message::from_vec(&reply).unwrap();
        assert!(!reply.metadata.authoritative && reply.answers.is_empty());
        passed += 1;
    }
    agent.signal(Signal::SIGCONT);
    wait_for(|| match client.follow(&query(), &cluster_dns) {
        Fate::Passed => {
            passed += 1;
            Err("a query is answered".to_owned())
        }
        Fate::Answered(reply) => {
            assert_eq!(reply.answers.len(), web().len());
            Ok(())
        }
    });
    by_kernel += 1;
    assert_eq!(pod.ask(&missing).authorities.len(), 1, "NXDOMAIN again");
    by_kernel += 1;
    assert!(cluster_dns.is_unasked());
    assert_eq!(agent.number("/passes/agent_stale"), passed);
    assert_eq!(agent.kernel_answers(), by_kernel);
}

fn an_agent_that_stops_detaches_its_programs(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::start(&node, manifests.path(), &hooked(hook, &[]));
        assert_eq!(pod.addresses(NAME, qtype::A), web());
        assert!(carries(&node, &pod.host_end, hook));
        agent.signal(signal);
        assert!(agent.wait().success(), "{signal}: {}", agent.log());
        assert!(is_bare(&node, &pod.host_end), "{signal}");
        let client = pod.client();
        client.send(&query());
        assert_eq!(cluster_dns.receive(), query().message());
    }
}

#[test]
fn a_foreign_program_is_left_alone() {
    let hook = "xdp";
    let node = Node::new();
    let (pod, other) = (node.pod("veth-client", 10), node.pod("veth-other", 11));
    let object = kernel::object("headless-reflect.o");
    let mut foreign = aya::Ebpf::load_file(object).unwrap();
    let reflect: &mut Xdp = foreign.program_mut("reflect").unwrap().try_into().unwrap();
    reflect.load().unwrap();
    node.run(|| {
        reflect.attach(&other.host_end, XdpMode::Skb)?;
        Ok(())
    })
    .unwrap();
    let id = node.xdp_program(&other.host_end).unwrap();

    let manifests = manifests();
    let mut agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    let problems = agent.problems();
    let sentence = "interface veth-other carries another XDP program";
    assert!(problems.contains(sentence), "{problems}");
    assert_eq!(node.xdp_program(&other.host_end), Some(id));
    for (program, state) in [("xdp", "foreign"), ("tc", "attached")] {
        let found = agent.interface_state(&other.host_end, program);
        assert_eq!(found.as_deref(), Some(state));
    }
    agent.signal(Signal::SIGTERM);
    assert!(agent.wait().success());
    let left = node.xdp_program(&other.host_end);
    assert_eq!(left, Some(id), "a stopping agent detaches nothing foreign");
}

fn pods_come_and_go(hook: &str) {
    let node = Node::new();
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    for round in 0..3 {
        let pod = node.pod("veth-new", 20);
        wait_for(|| attached(&agent, "veth-new", hook));
        assert_eq!(pod.addresses(NAME, qtype::A), web(), "{round}");
        node.ip("link delete veth-new");
        wait_for(|| match attached(&agent, "veth-new", hook) {
            Ok(()) => Err("veth-new gone".to_owned()),
            Err(_) => Ok(()),
        });
    }
    assert!(cluster_dns.is_unasked());
    assert_eq!(agent.number(&format!("/answers/{hook}")), 3);
    let problems = agent.problems();
    assert!(!problems.contains("veth-new"), "{problems}");
}

/// An earlier version locked the list of interfaces while it wrote the status. A change of
/// interfaces at the same time stopped the agent for ever.
fn status_is_served_while_pods_come_and_go(hook: &str) {
    let node = Node::new();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (agent, ended) = (&agent, &ended);
        let goes_on = || !ended.load(Ordering::Relaxed);
        for _ in 0..2 {
            scope.spawn(move || while goes_on() && agent.get("/metrics").is_ok() {});
        }
        scope.spawn(move || while goes_on() && agent.ask("/status.json").is_ok() {});
        for _ in 0..40 {
            node.ip("link add veth-new type veth peer name peer");
            node.ip("link set veth-new up");
            node.ip("link delete veth-new");
        }
        ended.store(true, Ordering::Relaxed);
    });
    let status = agent.ask("/status.json").unwrap();
    assert_eq!(status.0, 200, "{}", status.1);
}

fn pods_see_changes_of_manifests(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let _agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    assert_eq!(pod.addresses(NAME, qtype::A), web());

    let file = manifests.path().join("nginx-headless.yaml");
    let text = fs::read_to_string(&file).unwrap();
    // The second endpoint becomes unready.
    let (head, tail) = text.split_at(text.find("10.0.0.23").unwrap());
    let unready = format!("{head}{}", tail.replacen("ready: true", "ready: false", 1));
    fs::write(&file, unready).unwrap();
    wait_for_addresses(&pod, NAME, &[web()[0], web()[2]]);
    let one = format!("web-1.{NAME}");
    wait_for_addresses(&pod, &one, &[]);
    fs::write(&file, &text).unwrap();
    wait_for_addresses(&pod, NAME, &web());

    // A name's addresses move between its record and chunks as their number changes.
    let many: Vec<String> = (1..=20).map(|i| format!("10.9.0.{i}")).collect();
    let extra = manifests.path().join("extra.yaml");
    let name = "extra.default.svc.cluster.local";
    for count in [20, 2, 20, 5, 6] {
        fs::write(&extra, headless_service("extra", &many[..count])).unwrap();
        let expected: Vec<IpAddr> = many[..count].iter().map(|at| at.parse().unwrap()).collect();
        wait_for_addresses(&pod, name, &expected);
    }
    fs::remove_file(&extra).unwrap();
    wait_for_addresses(&pod, name, &[]);
}

fn a_broken_document_is_reported_and_the_others_are_served(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let good = headless_service("good", &["10.9.0.1".into()]);
    let bad = headless_service("bad", &["fd00::1e525".into(), "10.9.0.2".into()]);
    let missing = "apiVersion: v1\nkind: Service\nmetadata: {namespace: default}\nspec: {}\n";
    let file = manifests.path().join("mixed.yaml");
    fs::write(&file, format!("{bad}---\n{missing}---\n{good}")).unwrap();
    let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    let name = |service: &str| format!("{service}.default.svc.cluster.local");
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    assert_eq!(
        pod.addresses(&name("good"), qtype::A),
        [address("10.9.0.1")]
    );
    let problems = agent.problems();
    for part in ["mixed.yaml", "fd00::1e525", "endpoints[0]", "metadata.name"] {
        assert!(problems.contains(part), "no {part} in {problems}");
    }
    // A file that is being edited may be no YAML. Its last good objects stay.
    fs::write(&file, "apiVersion: v1\nkind: [Service\n  oops: }").unwrap();
    wait_for(|| {
        let problems = agent.problems();
        if problems.contains("mixed.yaml document 1") {
            Ok(())
        } else {
            Err(problems)
        }
    });
    assert_eq!(
        pod.addresses(&name("good"), qtype::A),
        [address("10.9.0.1")]
    );
    fs::write(&file, headless_service("good", &["10.9.0.7".into()])).unwrap();
    wait_for_addresses(&pod, &name("good"), &[address("10.9.0.7")]);
}

/// The endpoints of the cluster's DNS. Without them the agent does not know which Services the
/// zone's name servers are.
const DNS_POD: &str = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns-pod
  namespace: kube-system
  labels: { kubernetes.io/service-name: kube-dns }
addressType: IPv4
endpoints: [{ addresses: [10.244.7.7], conditions: { ready: true } }]
ports: [{ name: dns, port: 53, protocol: UDP }]
";

fn the_agent_answers_questions_that_the_programs_pass(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    fs::write(manifests.path().join("dns-pod.yaml"), DNS_POD).unwrap();
    let agent = Agent::start(
        &node,
        manifests.path(),
        &["--hook", hook, "--listen", "10.96.0.10"],
    );
    for offload in [true, false] {
        pod.offload_checksums(offload);
        let servers = Query::new("cluster.local", qtype::NS).edns(1232);
        assert_eq!(pod.ask(&servers).answers.len(), 1);
        let expected: IpAddr = "10.96.0.10".parse().unwrap();
        assert_eq!(pod.addresses("ns.dns.cluster.local", qtype::A), [expected]);
    }
    assert_eq!(agent.number("/answers/agent"), 4);
    assert_eq!(agent.number(&format!("/answers/{hook}")), 0);
    assert_eq!(agent.number("/passes/qtype"), 2);
    assert_eq!(agent.number("/passes/userspace"), 2);
}
