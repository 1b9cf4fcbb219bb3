//! Interfaces that are renamed, become ports of a bridge or are deleted.

use std::sync::atomic::{AtomicBool, Ordering};

use headless_tests::agent::{Agent, manifests};
use headless_tests::decode;
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, Pod, wait_for};
use serde_json::Value;

use super::{NAME, TC, WAYS, has_clsact, is_bare, link, rename, restorations, stop, web};

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
        assert!(passes.values().all(|count| count == 0), "{way}: {status:#}");
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

/// CNI plugins make an interface under one name and give it another at once: the name
/// that was read may be another interface's when the program is attached.
#[test]
fn names_that_change_hands_lead_no_program_astray() {
    for (way, arguments, _) in WAYS {
        let node = Node::new();
        let manifests = manifests();
        let arguments = [arguments, &["--interface", "v*"]].concat();
        let agent = Agent::start(&node, manifests.path(), &arguments);
        for number in 0..10 {
            node.ip("link add vnew type veth peer name peer");
            node.ip(&format!("link set vnew name v{number}"));
            node.ip(&format!("link set peer name x{number}"));
            // Not one that gets the programs.
            node.ip("link add vnew type bridge");
            node.ip("link set vnew name other");
            node.ip("link delete other");
        }
        for number in 0..10 {
            let interface = format!("v{number}");
            wait_for(|| match &node.tc_programs(&interface)[..] {
                [program] if program == TC => Ok(()),
                found => Err(format!("{way}: {interface}: {found:?}")),
            });
            assert!(is_bare(&node, &format!("x{number}")), "{way}");
        }
        stop(agent);
        for number in 0..10 {
            let interface = format!("v{number}");
            assert!(is_bare(&node, &interface) && !has_clsact(&node, &interface));
        }
    }
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
