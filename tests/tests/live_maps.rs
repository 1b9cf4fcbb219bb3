//! Maps that are full: the error is counted and said, nothing is denied, and
//! what is there is answered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::IpAddr;

use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, wait_for};
use hickory_proto::op::ResponseCode;

headless_tests::for_each_hook! { what_has_no_room_the_agent_answers }

fn query(service: &str) -> Query {
    Query::new(&format!("{service}.default.svc.cluster.local"), qtype::A)
}

/// Whether negative answers are given.
fn is_complete(agent: &Agent<'_>) -> Result<(), String> {
    let status = agent.status();
    if status["complete"] == true {
        Ok(())
    } else {
        Err(format!("{status:#}"))
    }
}

#[test]
fn full_of_names() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    // The demo's names are 2 namespaces, 3 Services and 3 endpoints.
    let agent = Agent::start(
        &node,
        manifests.path(),
        &["--names-table", "1", "--names-short", "7"],
    );
    let missing = query("nope");
    assert_eq!(
        pod.ask(&missing).authorities.len(),
        1,
        "NXDOMAIN while there is room"
    );

    let file = manifests.path().join("extra.yaml");
    fs::write(&file, headless_service("extra", &["10.9.0.1".into()])).unwrap();
    wait_for(|| {
        let problems = agent.problems();
        let said = problems.contains("names_short is full")
            && problems.contains("negative answers are withheld");
        if said { Ok(()) } else { Err(problems) }
    });
    let status = agent.status();
    assert_eq!(status["complete"], false, "{status:#}");
    // The new name may be the one that is missing, or its endpoint.
    let client = pod.client();
    client.send(&missing);
    assert_eq!(cluster_dns.receive(), missing.message(), "not denied");
    let nodata = Query::new("nginx-headless.default.svc.cluster.local", qtype::AAAA);
    client.send(&nodata);
    assert_eq!(cluster_dns.receive(), nodata.message(), "not denied");
    assert_eq!(agent.number("/passes/incomplete"), 2);
    assert_eq!(
        pod.ask(&query("nginx-headless")).answers.len(),
        3,
        "still answered"
    );

    fs::remove_file(&file).unwrap();
    wait_for(|| is_complete(&agent));
    assert_eq!(pod.ask(&missing).authorities.len(), 1, "NXDOMAIN again");
    assert!(cluster_dns.is_unasked());
}

#[test]
fn full_of_addresses() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let many: Vec<String> = (1..=250).map(|i| format!("10.9.0.{i}")).collect();
    let file = manifests.path().join("extra.yaml");
    // Room for 40 addresses and all that belongs to them.
    fs::write(&file, headless_service("extra", &many[..40])).unwrap();
    let agent = Agent::start(&node, manifests.path(), &[]);
    let room = agent.number("/maps/chunks/entries").to_string();
    drop(agent);
    fs::write(&file, headless_service("extra", &many)).unwrap();
    let agent = Agent::start(&node, manifests.path(), &["--chunks", &room]);
    let client = pod.client();
    client.send(&query("extra"));
    assert_eq!(cluster_dns.receive(), query("extra").message());
    assert_eq!(agent.number("/passes/incomplete"), 1);
    assert_eq!(pod.ask(&query("nginx-headless")).answers.len(), 3);

    fs::write(&file, headless_service("extra", &many[..40])).unwrap();
    wait_for(|| is_complete(&agent));
    let reply = pod.ask(&query("extra"));
    assert!(reply.metadata.truncation && reply.answers.len() > 20);
}

/// A pod gets the same answers as always, from whoever can give them.
fn what_has_no_room_the_agent_answers(hook: &str) {
    let medium = "m".repeat(45);
    let long = "l".repeat(63);
    // Each class of names with room for less than a Service and its two endpoints.
    for (room, service) in [
        (&["--names-table", "1", "--names-short", "8"][..], "extra"),
        (&["--names-medium", "2"], &medium),
        (&["--names-long", "1"], &long),
    ] {
        check_no_room(hook, room, service);
    }
}

fn check_no_room(hook: &str, room: &[&str], service: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let arguments = ["--hook", hook, "--listen", "10.96.0.10"];
    let agent = Agent::start(&node, manifests.path(), &[&arguments, room].concat());
    let counts = || {
        let of = |pointer: &str| agent.number(pointer);
        let kernel = of(&format!("/answers/{hook}"));
        (kernel, of("/answers/agent"), of("/passes/incomplete"))
    };
    let deny = |name: &str| {
        let reply = pod.ask(&query(name));
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
    };
    deny("nope");
    assert_eq!(counts(), (1, 0, 0), "{room:?}");

    // Endpoints whose names are of the same class as the Service's, or longer.
    let hosts = ["a", "b"].map(|letter| letter.repeat(service.len()));
    let addresses = ["10.9.0.1", "10.9.0.2"];
    let mut text = headless_service(service, &addresses.map(String::from));
    for (host, address) in hosts.iter().zip(addresses) {
        let named = format!("[\"{address}\"]\n    hostname: {host}");
        text = text.replace(&format!("[\"{address}\"]"), &named);
    }
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, text).unwrap();
    let map = room[room.len() - 2]
        .trim_start_matches('-')
        .replace('-', "_");
    wait_for(|| {
        let problems = agent.problems();
        let said = problems.contains(&format!("{map} is full"))
            && problems.contains("could not be written: negative answers are withheld");
        if said { Ok(()) } else { Err(problems) }
    });
    assert_eq!(agent.status()["complete"], false);

    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let find = |name: &str, expected: &[&str]| {
        let name = format!("{name}.default.svc.cluster.local");
        let expected: Vec<_> = expected.iter().map(|text| address(text)).collect();
        assert_eq!(pod.addresses(&name, qtype::A), expected, "{name}");
    };
    find(service, &addresses);
    for (host, address) in hosts.iter().zip(addresses) {
        find(&format!("{host}.{service}"), &[address]);
    }
    let (kernel, by_agent, passed) = counts();
    assert_eq!((kernel + by_agent, passed), (1 + 3, by_agent), "{room:?}");
    assert!(by_agent > 0, "something has no room");
    // What is not there is denied by who knows it all, what is there is not its concern.
    deny("nope");
    deny("nope.extra");
    find("nginx-headless", &["10.0.0.22", "10.0.0.23", "10.0.0.39"]);
    let expected = (kernel + 1, by_agent + 2, passed + 2);
    assert_eq!(counts(), expected, "{room:?}");

    fs::remove_file(&file).unwrap();
    wait_for(|| is_complete(&agent));
    deny("nope");
    deny(service);
    let (kernel, by_agent, passed) = expected;
    assert_eq!(counts(), (kernel + 2, by_agent, passed), "{room:?}");
    let problems = agent.problems();
    assert!(!problems.contains("withheld"), "{problems}");
}
