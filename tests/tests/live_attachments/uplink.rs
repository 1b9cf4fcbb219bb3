//! The interface that leads out of the node.

use headless_tests::agent::{Agent, manifests};
use headless_tests::frame::qtype;
use headless_tests::node::{Node, wait_for};

use super::{ATTACHED, NAME, UPLINK, is, is_bare, stop, web};

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

    // Neither a route to a subnet nor a default route of another table makes an uplink.
    node.ip("route add 192.0.2.0/24 via 10.244.0.11 dev veth-up");
    node.ip("route add default via 10.244.0.11 dev veth-up table 100");
    node.ip("-6 route add default dev veth-client");
    wait_for(|| is(&agent, "veth-client", UPLINK));
    assert_eq!(is(&agent, "veth-up", ATTACHED), Ok(()));
    node.ip("-6 route del default dev veth-client");
    wait_for(|| is(&agent, "veth-client", ATTACHED));
    stop(agent);

    // An agent knows the routes before it attaches anything, whichever it hears of first.
    node.ip("route add default via 10.244.0.11 dev veth-up");
    for _ in 0..6 {
        let agent = Agent::start(&node, manifests.path(), &["--hook", "xdp"]);
        assert_eq!(is(&agent, "veth-up", UPLINK), Ok(()));
        let log = agent.log();
        let attached = |line: &&str| line.contains("attached interface=\"veth-up\"");
        assert_eq!(log.lines().find(attached), None);
        stop(agent);
    }

    // A pattern names the uplink easily by mistake, so the pattern is not enough.
    for pattern in ["veth-up", "veth*", "*"] {
        let named = ["--hook", "xdp", "--interface", pattern];
        let agent = Agent::start(&node, manifests.path(), &named);
        assert_eq!(is(&agent, "veth-up", UPLINK), Ok(()));
        assert!(is_bare(&node, "veth-up"));
        let line = "so it gets no programs without --serve-uplink interface=\"veth-up\"";
        assert!(agent.log().contains(line), "{}", agent.log());
        let serve = [&named[..], &["--serve-uplink"]].concat();
        stop(agent);
        let agent = Agent::start(&node, manifests.path(), &serve);
        assert_eq!(is(&agent, "veth-up", ATTACHED), Ok(()));
        assert!(agent.log().contains("WARN"), "{}", agent.log());
        stop(agent);
    }
}
