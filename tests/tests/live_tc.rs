//! The tc program on veths: beside programs of others, attached by tcx and by clsact, on a
//! bridge's port, behind a router, and in place of XDP while a pod sends much.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::programs::LinkOrder;
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use headless_ebpf::abi::Path;
use headless_tests::agent::{Agent, manifests};
use headless_tests::decode;
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::kernel::Kernel;
use headless_tests::node::{ClusterDns, Node, Pod, wait_for};
use nix::sys::signal::Signal;

/// Name of headless's tc program.
const OURS: &str = "headless_tc";
/// Name of the tests' own tc program, which stands for programs of others.
const OTHERS: &str = "somebody_tc";

const NAME: &str = "nginx-headless.default.svc.cluster.local";

fn web() -> Vec<IpAddr> {
    ["10.0.0.22", "10.0.0.23", "10.0.0.39"]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect()
}

/// Asks a question outside the zone, and checks that the query reaches the cluster's DNS.
fn pass_one(pod: &Pod, cluster_dns: &ClusterDns) {
    let foreign = Query::new("www.example.com", qtype::A);
    pod.client().send(&foreign);
    assert_eq!(cluster_dns.receive(), foreign.message());
}

const fn tcx(order: LinkOrder) -> TcAttachOptions {
    TcAttachOptions::TcxOrder(order)
}

fn filter(priority: u16) -> TcAttachOptions {
    TcAttachOptions::Netlink(NlOptions {
        priority,
        ..NlOptions::default()
    })
}

/// The output of `tc` with these arguments, separated by spaces.
fn shown(node: &Node, arguments: &str) -> String {
    let output = node.command("tc").args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "tc {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_clsact(node: &Node, interface: &str) -> bool {
    shown(node, &format!("qdisc show dev {interface}")).contains("clsact")
}

fn filters(node: &Node, interface: &str, name: &str) -> usize {
    let programs = node.tc_programs(interface);
    programs.iter().filter(|program| *program == name).count()
}

fn stop(mut agent: Agent<'_>) {
    agent.signal(Signal::SIGTERM);
    assert!(agent.wait().success(), "{}", agent.log());
}

#[test]
fn programs_of_others_run_before_and_after_by_tcx() {
    let node = Node::new();
    if !node.has_tcx() {
        eprintln!("skipped: this kernel has no tcx");
        return;
    }
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let (mut before, mut after) = (Kernel::foreign(), Kernel::foreign());
    after.attach_tc(&node, &pod.host_end, tcx(LinkOrder::last()));
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", "tc"]);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    assert_eq!(after.seen(Path::Tc), 0, "an answer does not reach it");
    pass_one(&pod, &cluster_dns);
    assert_eq!(after.seen(Path::Tc), 1, "a pass reaches it");
    before.attach_tc(&node, &pod.host_end, tcx(LinkOrder::first()));
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    pass_one(&pod, &cluster_dns);
    assert_eq!((before.seen(Path::Tc), after.seen(Path::Tc)), (2, 2));
    assert_eq!(agent.number("/answers/tc"), 2);
    assert_eq!(agent.number("/passes/outside_zone"), 2);
    assert_eq!(node.tc_programs(&pod.host_end).len(), 3);
    stop(agent);
    assert_eq!(node.tc_programs(&pod.host_end).len(), 2, "the others stay");
}

#[test]
fn programs_of_others_run_before_and_after_by_clsact() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let mut after = Kernel::foreign();
    node.run(|| Ok(qdisc_add_clsact(&pod.host_end)?)).unwrap();
    // One filter has the preference of ours, one a later preference.
    after.attach_tc(&node, &pod.host_end, filter(1));
    after.attach_tc(&node, &pod.host_end, filter(7));
    let arguments = ["--hook", "tc", "--tc-mode", "clsact"];
    let agent = Agent::start(&node, manifests.path(), &arguments);
    assert!(node.tcx_programs(&pod.host_end).is_empty(), "no tcx");
    assert_eq!(node.tc_programs(&pod.host_end), [OURS, OTHERS, OTHERS]);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    assert_eq!(after.seen(Path::Tc), 0, "an answer does not reach them");
    pass_one(&pod, &cluster_dns);
    assert_eq!(after.seen(Path::Tc), 2, "a pass reaches both");
    assert_eq!(agent.number("/answers/tc"), 1);
    stop(agent);
    assert_eq!(filters(&node, &pod.host_end, OTHERS), 2, "the others stay");
    assert_eq!(filters(&node, &pod.host_end, OURS), 0);
}

#[test]
fn the_agent_removes_the_qdisc_that_it_made_unless_others_use_it() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let arguments = ["--tc-mode", "clsact", "--lease", "2s"];
    let agent = Agent::start(&node, manifests.path(), &arguments);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    assert!(has_clsact(&node, &pod.host_end));
    stop(agent);
    assert!(!has_clsact(&node, &pod.host_end), "removed by its maker");

    let agent = Agent::start(&node, manifests.path(), &arguments);
    let mut other = Kernel::foreign();
    other.attach_tc(&node, &pod.host_end, filter(7));
    stop(agent);
    assert_eq!(filters(&node, &pod.host_end, OURS), 0);
    assert_eq!(filters(&node, &pod.host_end, OTHERS), 1, "used by others");
    drop(other);

    // The next agent removes the filter of a killed agent.
    let mut agent = Agent::start(&node, manifests.path(), &arguments);
    agent.signal(Signal::SIGKILL);
    agent.wait();
    assert_eq!(filters(&node, &pod.host_end, OURS), 1);
    let agent = Agent::start(&node, manifests.path(), &arguments);
    assert_eq!(filters(&node, &pod.host_end, OURS), 1);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    stop(agent);
    assert_eq!(filters(&node, &pod.host_end, OURS), 0);
}

#[test]
fn tc_answers_behind_a_foreign_xdp_program() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let mut foreign = Kernel::foreign();
    foreign.attach_xdp(&node, &pod.host_end);
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &[]);
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    assert_eq!(foreign.seen(Path::Xdp), 1);
    assert_eq!(agent.number("/answers/tc"), 1);
    let state = |program| agent.interface_state(&pod.host_end, program).unwrap();
    assert_eq!(
        (state("xdp"), state("tc")),
        ("foreign".into(), "attached".into())
    );
    assert!(cluster_dns.is_unasked());
}

/// On a port of a bridge, packets have the bridge's Ethernet address as destination, not
/// the port's own.
#[test]
fn a_pod_behind_a_port_of_a_bridge_is_answered() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    node.ip("link add br0 type bridge");
    node.ip("link set br0 address 02:00:00:00:00:77");
    node.ip("link set br0 up");
    node.ip("addr del 10.0.0.1/32 dev veth-client");
    node.ip("link set veth-client master br0");
    node.ip("addr add 10.0.0.1/32 dev br0");
    node.ip("route replace 10.244.0.10/32 dev br0 src 10.0.0.1");
    let output = pod.run("ip", &["neigh", "flush", "all"]);
    assert!(output.status.success(), "{output:?}");
    let manifests = manifests();
    for hook in ["tc", "xdp"] {
        let agent = Agent::start(&node, manifests.path(), &["--hook", hook]);
        for offload in [true, false] {
            pod.offload_checksums(offload);
            assert_eq!(pod.addresses(NAME, qtype::A), web());
        }
        assert_eq!(agent.number(&format!("/answers/{hook}")), 2);
        pass_one(&pod, &cluster_dns);
        stop(agent);
    }
}

/// A pod routes the reply to a pod behind it. The reply's checksum is unfinished, and the
/// interface behind has no offload, so the kernel must be able to finish the checksum.
#[test]
fn a_reply_is_whole_behind_a_router_without_offload() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let inner = pod.nested("veth-inner", 20);
    let output = pod.run("ethtool", &["-K", "veth-inner", "tx", "off"]);
    assert!(output.status.success(), "ethtool: {output:?}");
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", "tc"]);
    for offload in [true, false] {
        inner.offload_checksums(offload);
        assert_eq!(inner.addresses(NAME, qtype::A), web(), "offload {offload}");
    }
    assert_eq!(agent.number("/answers/tc"), 2);
}

/// Sets the flag to false when dropped, so that threads end after a panic too.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The agent subtracts answered queries from a pod's traffic, so they are no reason to lift
/// XDP.
#[test]
fn a_pod_that_asks_much_keeps_xdp() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let arguments = ["--hook", "auto", "--egress-packets", "500"];
    let agent = Agent::start(&node, manifests.path(), &arguments);
    let xdp_is_attached = || {
        let state = agent.interface_state(&pod.host_end, "xdp");
        match state.as_deref() {
            Some("attached") => Ok(()),
            _ => Err(format!("XDP is {state:?}")),
        }
    };
    // Before XDP is attached, tc answers.
    wait_for(xdp_is_attached);
    let before = agent.number("/answers/xdp");
    let client = pod.client();
    let start = Instant::now();
    let mut asked = 0_u64;
    // In this time the agent reads the packet counts several times. The pod's rate is many
    // times the limit.
    while start.elapsed() < Duration::from_secs(4) || asked < 8000 {
        assert!(client.ask(&Query::new(NAME, qtype::A)).is_some());
        asked += 1;
    }
    assert_eq!(agent.number("/answers/xdp") - before, asked);
    assert_eq!(xdp_is_attached(), Ok(()));
}

#[test]
fn no_query_is_lost_when_xdp_is_lifted_for_bytes() {
    no_query_is_lost_when_xdp_is_lifted(&["--egress-limit", "16"], 4, 1400);
}

#[test]
fn no_query_is_lost_when_xdp_is_lifted_for_packets() {
    // The limit is above the rate of the queries, which is at most about 3,000 a second.
    no_query_is_lost_when_xdp_is_lifted(&["--egress-packets", "12000"], 64, 8);
}

/// Loads an interface until the agent lifts XDP, and waits until XDP is back. Every query
/// in this time must be answered exactly once. The load is `packets` packets of `bytes`
/// bytes about every millisecond.
fn no_query_is_lost_when_xdp_is_lifted(limit: &[&str], packets: usize, bytes: usize) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let arguments = [&["--hook", "auto"], limit].concat();
    let agent = Agent::start(&node, manifests.path(), &arguments);
    let xdp_is = |state: &str| {
        wait_for(|| match agent.interface_state(&pod.host_end, "xdp") {
            Some(found) if found == state => Ok(()),
            found => Err(format!("XDP {state}: {found:?}")),
        });
    };
    let (sending, asking) = (AtomicBool::new(true), AtomicBool::new(true));
    let asked = std::thread::scope(|scope| {
        let _ends = (Ends(&sending), Ends(&asking));
        let asker = scope.spawn(|| {
            let client = pod.client();
            let mut asked = 0_u64;
            while asking.load(Ordering::Relaxed) {
                let query = Query {
                    id: asked as u16,
                    ..Query::new(NAME, qtype::A)
                };
                let reply = client.ask(&query);
                let reply = reply.unwrap_or_else(|| panic!("no reply to query {asked}"));
                let mut addresses = decode::addresses(&reply.answers);
                addresses.sort_unstable();
                assert_eq!(addresses, web(), "query {asked}");
                asked += 1;
                // The pause keeps the rate of the queries below the limit.
                std::thread::sleep(Duration::from_micros(300));
            }
            assert!(client.is_silent(), "answered twice");
            asked
        });
        let flood = scope.spawn(|| {
            let socket = pod.within(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();
            while sending.load(Ordering::Relaxed) {
                for _ in 0..packets {
                    // The node's ICMP errors do not matter.
                    let _sent = socket.send_to(&vec![0; bytes], (SERVER, 9));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        xdp_is("lifted");
        assert_eq!(node.xdp_program(&pod.host_end), None);
        sending.store(false, Ordering::Relaxed);
        flood.join().unwrap();
        xdp_is("attached");
        assert!(node.xdp_program(&pod.host_end).is_some());
        asking.store(false, Ordering::Relaxed);
        asker.join().unwrap()
    });
    let (xdp, tc) = (agent.number("/answers/xdp"), agent.number("/answers/tc"));
    assert!(xdp > 0 && tc > 0, "{xdp} by XDP, {tc} by tc");
    assert_eq!(xdp + tc, asked);
    let status = agent.status();
    let passes = status["passes"].as_object().unwrap();
    assert!(passes.values().all(|count| count == 0), "{status:#}");
    assert!(cluster_dns.is_unasked());
}
