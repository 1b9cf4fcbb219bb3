//! The agent under clients, objects and signals that would hurt it: its admin socket, its log,
//! and its end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dump;
mod log;
mod socket;

use std::fmt::Write as _;

use headless_tests::agent::Agent;
use nix::sys::signal::Signal;

/// Stops an agent, and returns the lines that it logged meanwhile.
fn stop(mut agent: Agent<'_>) -> Vec<String> {
    let before = agent.log().len();
    agent.signal(Signal::SIGTERM);
    assert!(agent.wait().success(), "{}", agent.log());
    agent.log()[before..].lines().map(str::to_owned).collect()
}

/// The number in the first line of `text` that starts with `name`.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Manifests of an `EndpointSlice` with these addresses.
fn slice(namespace: &str, name: &str, addresses: impl Iterator<Item = String>) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  \
         namespace: {namespace}\n  labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: IPv4\nendpoints:\n"
    );
    for address in addresses {
        let address = serde_json::to_string(&address).unwrap();
        writeln!(text, "- addresses: [{address}]").unwrap();
    }
    text
}
