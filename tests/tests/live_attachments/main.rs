//! The programs stay on the pods' interfaces, and on no others, whatever happens to the
//! interfaces, to the programs and to the routes meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use headless_tests::agent::{Agent, manifests};
use headless_tests::bpf_link::BpfLink;
use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, Pod, wait_for};
use nix::net::if_::if_nametoindex;
use nix::sys::signal::Signal;
use serde_json::Value;

const NAME: &str = "nginx-headless.default.svc.cluster.local";

const TC: &str = "headless_tc";

/// Arguments for each way of attaching, with the programs that it attaches.
const WAYS: [(&str, &[&str], &[&str]); 3] = [
    ("xdp", &["--hook", "xdp"], &["xdp", "tc"]),
    ("tc", &["--hook", "tc"], &["tc"]),
    (
        "clsact",
        &["--hook", "xdp", "--tc-mode", "clsact"],
        &["xdp", "tc"],
    ),
];

fn web() -> Vec<IpAddr> {
    ["10.0.0.22", "10.0.0.23", "10.0.0.39"]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect()
}

fn is(agent: &Agent<'_>, interface: &str, states: [&str; 2]) -> Result<(), String> {
    let found = ["xdp", "tc"].map(|program| agent.interface_state(interface, program));
    if found == states.map(|state| Some(state.to_owned())) {
        Ok(())
    } else {
        Err(format!("{interface} {states:?}: {found:?}"))
    }
}

const ATTACHED: [&str; 2] = ["attached", "attached"];
const UPLINK: [&str; 2] = ["uplink", "uplink"];

fn is_bare(node: &Node, interface: &str) -> bool {
    node.xdp_program(interface).is_none() && node.tc_programs(interface).is_empty()
}

fn tc(node: &Node, arguments: &str) -> String {
    let output = node.command("tc").args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "tc {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_clsact(node: &Node, interface: &str) -> bool {
    tc(node, &format!("qdisc show dev {interface}")).contains("clsact")
}

/// How often a program was attached again because somebody had removed it.
fn restorations(agent: &Agent<'_>, program: &str) -> u64 {
    let (status, text) = agent.get("/metrics").unwrap();
    assert_eq!(status, 200);
    let sample = format!("headless_program_restorations_total{{program=\"{program}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&sample));
    value
        .unwrap_or_else(|| panic!("no {sample} in {text}"))
        .parse()
        .unwrap()
}

fn link(node: &Node, agent: &Agent<'_>, interface: &str, program: &str) -> Option<BpfLink> {
    let id = agent.number(&format!("/programs/{program}/id"));
    let index = node.run(|| Ok(if_nametoindex(interface)?)).unwrap();
    BpfLink::find(u32::try_from(id).unwrap(), index)
}

fn stop(mut agent: Agent<'_>) {
    agent.signal(Signal::SIGTERM);
    assert!(agent.wait().success(), "{}", agent.log());
}

/// Asks without an end while `work` goes on; every query must be answered by the kernel.
fn while_asking(pod: &Pod, work: impl FnOnce()) -> u64 {
    let asking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let client = pod.client();
            let mut asked = 0_u64;
            while asking.load(Ordering::Relaxed) {
                let reply = client.ask(&Query::new(NAME, qtype::A));
                let reply = reply.unwrap_or_else(|| panic!("no reply to query {asked}"));
                let mut addresses = decode::addresses(&reply.answers);
                addresses.sort_unstable();
                assert_eq!(addresses, web(), "query {asked}");
                asked += 1;
            }
            asked
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        asking.store(false, Ordering::Relaxed);
        let asked = thread.join().unwrap();
        worked.unwrap();
        asked
    })
}

const VLAN_FILTERING: &str = "link set br0 type bridge vlan_filtering 1";

/// Messages about a bridge's ports are not about the interfaces. CNI plugins with a
/// bridge make each pod's interface a port of it, in hairpin mode.
#[test]
fn a_port_of_a_bridge_keeps_its_programs() {
    for (way, arguments, programs) in WAYS {
        let node = Node::new();
        let pod = node.pod("veth-client", 10);
        let cluster_dns = node.cluster_dns();
        node.ip("link add br0 type bridge");
        node.ip("link set br0 up");
        // The node answers no ARP behind a port that has no address.
        let show = ["-json", "link", "show", "dev", "veth-client"];
        let shown = node.command("ip").args(show).output().unwrap();
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let address = shown[0]["address"].as_str().unwrap();
        let neighbour = [
            "neigh", "replace", "10.0.0.1", "lladdr", address, "dev", "eth0",
        ];
        let output = pod.run("ip", &[&neighbour[..], &["nud", "permanent"]].concat());
        assert!(output.status.success(), "{output:?}");
        let manifests = manifests();
        let agent = Agent::start(&node, manifests.path(), arguments);
        let links = || {
            let links = programs.iter().map(|program| {
                let link = link(&node, &agent, "veth-client", program);
                link.map(|link| link.id)
            });
            links.collect::<Vec<_>>()
        };
        let before = links();
        let asked = while_asking(&pod, || {
            for _ in 0..5 {
                for arguments in [
                    "link set veth-client master br0",
                    "link set veth-client type bridge_slave hairpin on",
                    VLAN_FILTERING,
                    "link set br0 type bridge stp_state 1",
                    "link set veth-client type bridge_slave hairpin off",
                    "link set br0 type bridge stp_state 0",
                    "link set veth-client nomaster",
                ] {
                    let changed = node.command("ip").args(arguments.split(' ')).output();
                    let changed = changed.unwrap();
                    // Not every kernel has it.
                    let may_fail = arguments == VLAN_FILTERING;
                    assert!(
                        changed.status.success() || may_fail,
                        "{arguments}: {changed:?}"
                    );
                }
            }
        });
        assert_eq!(agent.kernel_answers(), asked, "{way}: {}", agent.log());
        let status = agent.status();
        let passes = status["passes"].as_object().unwrap();
        // The pod's own IPv6 packets have extension headers.
        let mut others = passes.iter().filter(|(reason, _)| *reason != "ip_header");
        assert!(others.all(|(_, count)| count == 0), "{way}: {status:#}");
        assert!(cluster_dns.is_unasked());
        assert_eq!(links(), before, "{way}: the same links");
        for program in programs {
            assert_eq!(restorations(&agent, program), 0, "{way}");
        }
        assert!(!agent.log().contains("detached"), "{}", agent.log());
        stop(agent);
    }
}

#[test]
fn a_detached_link_is_attached_again() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", "xdp"]);
    let programs: &[&str] = if node.has_tcx() {
        &["xdp", "tc"]
    } else {
        &["xdp"]
    };
    for program in programs {
        for removals in 1..=2 {
            link(&node, &agent, "veth-client", program)
                .unwrap()
                .detach();
            wait_for(|| match restorations(&agent, program) {
                found if found == removals => Ok(()),
                found => Err(format!("{found} restorations, not {removals}")),
            });
            assert!(link(&node, &agent, "veth-client", program).is_some());
            assert_eq!(pod.addresses(NAME, qtype::A), web());
        }
        let said = format!("somebody removed the {program} program");
        assert_eq!(agent.log().matches(&said).count(), 1, "{}", agent.log());
    }
    assert_eq!(is(&agent, "veth-client", ATTACHED), Ok(()));

    // The kernel keeps a link's program where it is asked to take it off in another way.
    let off = ["link", "set", "dev", "veth-client", "xdpgeneric", "off"];
    node.command("ip").args(off).output().unwrap();
    wait_for(|| {
        node.xdp_program("veth-client")
            .ok_or_else(|| "XDP".to_owned())
    });
    stop(agent);
    assert!(is_bare(&node, "veth-client"));
}

#[test]
fn a_removed_filter_is_there_again() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let agent = Agent::start(
        &node,
        manifests.path(),
        &["--hook", "tc", "--tc-mode", "clsact"],
    );
    let removals = [
        "filter del dev veth-client ingress",
        "qdisc del dev veth-client clsact",
        "filter del dev veth-client ingress pref 1",
    ];
    for (count, removal) in (1..).zip(removals) {
        tc(&node, removal);
        wait_for(|| match restorations(&agent, "tc") {
            found if found == count => Ok(()),
            found => Err(format!("{found} restorations, not {count}")),
        });
        assert_eq!(node.tc_programs("veth-client"), [TC], "{removal}");
        assert_eq!(pod.addresses(NAME, qtype::A), web());
    }
    let said = "somebody removed the tc program";
    assert_eq!(agent.log().matches(said).count(), 1, "{}", agent.log());
    stop(agent);
    assert!(is_bare(&node, "veth-client"));
    assert!(!has_clsact(&node, "veth-client"));
}

/// A killed agent's filter and qdisc go also where the next agent attaches nothing, or by
/// another way.
#[test]
fn a_killed_agents_filters_are_removed() {
    let node = Node::new();
    let _pods = [node.pod("veth-client", 10), node.pod("veth-other", 11)];
    let manifests = manifests();
    let clsact = ["--hook", "tc", "--tc-mode", "clsact"];
    let mut killed = Agent::start(&node, manifests.path(), &clsact);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    for interface in ["veth-client", "veth-other"] {
        assert_eq!(node.tc_programs(interface), [TC]);
    }
    let arguments = [&clsact[..], &["--exclude-interface", "veth-other"]].concat();
    let agent = Agent::start(&node, manifests.path(), &arguments);
    assert_eq!(node.tc_programs("veth-client"), [TC]);
    assert!(is_bare(&node, "veth-other") && !has_clsact(&node, "veth-other"));
    stop(agent);
    assert!(is_bare(&node, "veth-client") && !has_clsact(&node, "veth-client"));
}

#[test]
fn a_renamed_interface_keeps_its_programs() {
    for (way, arguments, programs) in WAYS {
        let node = Node::new();
        let pod = node.pod("veth-client", 10);
        let manifests = manifests();
        let agent = Agent::start(&node, manifests.path(), arguments);
        let state = |interface: &str| {
            wait_for(|| match agent.interface_state(interface, "tc").as_deref() {
                Some("attached") => Ok(()),
                found => Err(format!("{interface}: {found:?}")),
            });
        };
        rename(&node, "veth-client", "cali-client");
        state("cali-client");
        assert_eq!(agent.interface_state("veth-client", "tc"), None);
        // Another pod gets the name, and both have their programs.
        let _other = node.pod("veth-client", 11);
        state("veth-client");
        for interface in ["veth-client", "cali-client"] {
            assert_eq!(node.tc_programs(interface), [TC], "{way}: {interface}");
            let xdp = node.xdp_program(interface).is_some();
            assert_eq!(xdp, programs.contains(&"xdp"), "{way}: {interface}");
        }
        for program in programs {
            assert_eq!(restorations(&agent, program), 0, "{way}");
        }
        // The way back is gone since the interface was down.
        node.ip("route replace 10.244.0.10/32 dev cali-client src 10.0.0.1");
        assert_eq!(pod.addresses(NAME, qtype::A), web(), "{way}");
        assert!(!agent.log().contains("detached"), "{}", agent.log());
        stop(agent);
        assert!(is_bare(&node, "veth-client") && is_bare(&node, "cali-client"));
    }
}

fn rename(node: &Node, from: &str, to: &str) {
    node.ip(&format!("link set {from} down"));
    node.ip(&format!("link set {from} name {to}"));
    node.ip(&format!("link set {to} up"));
}

/// CNI plugins make an interface under one name and give it another at once: the name
/// that was read may be another interface's when the program is attached.
#[test]
fn names_that_change_hands_lead_no_program_astray() {
    for (way, arguments, _) in WAYS {
        let node = Node::new();
        let manifests = manifests();
        let arguments = [arguments, &["--interface", "v*"]].concat();
        let agent = Agent::start(&node, manifests.path(), &arguments);
        for number in 0..20 {
            node.ip("link add vnew type veth peer name peer");
            node.ip(&format!("link set vnew name v{number}"));
            node.ip(&format!("link set peer name x{number}"));
            // Not one that gets the programs.
            node.ip("link add vnew type bridge");
            node.ip("link set vnew name other");
            node.ip("link delete other");
        }
        for number in 0..20 {
            let interface = format!("v{number}");
            wait_for(|| match &node.tc_programs(&interface)[..] {
                [program] if program == TC => Ok(()),
                found => Err(format!("{way}: {interface}: {found:?}")),
            });
            assert!(is_bare(&node, &format!("x{number}")), "{way}");
        }
        stop(agent);
        for number in 0..20 {
            let interface = format!("v{number}");
            assert!(is_bare(&node, &interface) && !has_clsact(&node, &interface));
        }
    }
}

/// Where the node is a container, its uplink is a veth whose other end is elsewhere.
#[test]
fn the_uplink_is_left_alone() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let _outside = node.pod("veth-up", 11);
    node.ip("route add default via 10.244.0.11 dev veth-up");
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &["--hook", "xdp"]);
    assert_eq!(is(&agent, "veth-up", UPLINK), Ok(()));
    assert!(is_bare(&node, "veth-up"));
    assert_eq!(is(&agent, "veth-client", ATTACHED), Ok(()));
    assert_eq!(pod.addresses(NAME, qtype::A), web());
    let table = agent.run(&["status"]);
    let line = table.lines().find(|line| line.contains("veth-up"));
    assert!(line.unwrap().contains("carries a default route"), "{table}");
    assert!(!agent.problems().contains("veth-up"));

    // The default route moves.
    node.ip("route replace default via 10.244.0.10 dev veth-client");
    wait_for(|| is(&agent, "veth-client", UPLINK));
    assert!(is_bare(&node, "veth-client"));
    wait_for(|| is(&agent, "veth-up", ATTACHED));
    node.ip("route del default");
    wait_for(|| is(&agent, "veth-client", ATTACHED));

    // A subnet's route is none, nor is that of another table.
    node.ip("route add 192.0.2.0/24 via 10.244.0.11 dev veth-up");
    node.ip("route add default via 10.244.0.11 dev veth-up table 100");
    node.ip("-6 route add default dev veth-client");
    wait_for(|| is(&agent, "veth-client", UPLINK));
    assert_eq!(is(&agent, "veth-up", ATTACHED), Ok(()));
    node.ip("-6 route del default dev veth-client");
    wait_for(|| is(&agent, "veth-client", ATTACHED));
    stop(agent);

    // A pattern that names it is the operator's decision.
    node.ip("route add default via 10.244.0.11 dev veth-up");
    let named = ["--hook", "xdp", "--interface", "veth-up"];
    let agent = Agent::start(&node, manifests.path(), &named);
    assert_eq!(is(&agent, "veth-up", ATTACHED), Ok(()));
}

#[test]
fn a_deleted_pod_is_worth_a_line_at_debug() {
    for (way, arguments, _) in WAYS {
        let node = Node::new();
        let _pod = node.pod("veth-client", 10);
        let manifests = manifests();
        let folder = manifests.path().to_str().unwrap();
        let log = ["--log", "info,headless_agent::datapath=debug"];
        let arguments = [&["--manifests", folder], &log[..], arguments].concat();
        let mut agent = Agent::spawn(&node, &arguments);
        agent.ready();
        let before = agent.log().len();
        node.ip("link delete veth-client");
        wait_for(|| match agent.interface_state("veth-client", "tc") {
            None => Ok(()),
            state => Err(format!("{way}: {state:?}")),
        });
        let log = agent.log();
        let lines: Vec<&str> = log[before..].lines().collect();
        assert_eq!(lines.len(), 1, "{way}: {lines:#?}");
        assert!(lines[0].contains("DEBUG") && lines[0].contains("is gone"));
        stop(agent);
    }
}

/// No event is handled after stopping began: what it attached by clsact would stay.
#[test]
fn nothing_is_attached_after_stopping_began() {
    let manifests = manifests();
    for round in 0..4 {
        let node = Node::new();
        let arguments = ["--hook", "tc", "--tc-mode", "clsact", "--interface", "v*"];
        let agent = Agent::start(&node, manifests.path(), &arguments);
        let ended = AtomicBool::new(false);
        let added = std::thread::scope(|scope| {
            let adders = ["a", "b", "c"].map(|adder| {
                let (node, ended) = (&node, &ended);
                scope.spawn(move || {
                    let numbers = (0..).take_while(|_| !ended.load(Ordering::Relaxed));
                    let names = numbers.map(|number| format!("{adder}{number}"));
                    let added = names.inspect(|name| {
                        node.ip(&format!("link add v{name} type veth peer name p{name}"));
                    });
                    added.collect::<Vec<_>>()
                })
            });
            // Stops in the midst of them.
            wait_for(|| match agent.get("/status.json") {
                Ok((_, status)) if status.contains("va3") => Ok(()),
                other => Err(format!("{other:?}")),
            });
            stop(agent);
            ended.store(true, Ordering::Relaxed);
            adders.map(|adder| adder.join().unwrap()).concat()
        });
        for name in added {
            let interface = format!("v{name}");
            assert!(is_bare(&node, &interface), "{round}: {interface}");
            assert!(!has_clsact(&node, &interface), "{round}: {interface}");
        }
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
        for path in ["/metrics", "/status.json"] {
            let (agent, ended) = (&agent, &ended);
            scope.spawn(
                move || {
                    while !ended.load(Ordering::Relaxed) && agent.get(path).is_ok() {}
                },
            );
        }
        for _ in 0..30 {
            rename(&node, "veth-client", "off0");
            rename(&node, "off0", "veth-client");
        }
        ended.store(true, Ordering::Relaxed);
    });
    let status = agent.get("/status.json").unwrap();
    assert_eq!(status.0, 200, "{}", status.1);
    wait_for(
        || match agent.interface_state("veth-client", "tc").as_deref() {
            Some("attached") => Ok(()),
            found => Err(format!("{found:?}")),
        },
    );
}
