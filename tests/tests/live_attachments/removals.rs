//! Programs and filters that somebody removes, or that a killed agent left.

use headless_tests::agent::{Agent, manifests};
use headless_tests::frame::qtype;
use headless_tests::node::{Node, wait_for};
use nix::sys::signal::Signal;

use super::{ATTACHED, NAME, TC, has_clsact, is, is_bare, link, restorations, stop, tc, web};

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
