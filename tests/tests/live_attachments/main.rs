//! The programs stay on the pods' interfaces, and on no others, whatever happens to the
//! interfaces, to the programs and to the routes meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod end;
mod interfaces;
mod removals;
mod uplink;

use std::net::IpAddr;

use headless_tests::agent::Agent;
use headless_tests::bpf_link::BpfLink;
use headless_tests::node::Node;
use nix::net::if_::if_nametoindex;
use nix::sys::signal::Signal;

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
    let text = agent.metrics();
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

fn rename(node: &Node, from: &str, to: &str) {
    node.ip(&format!("link set {from} down"));
    node.ip(&format!("link set {from} name {to}"));
    node.ip(&format!("link set {to} up"));
}
