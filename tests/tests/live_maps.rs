//! If a map is full, the agent reports it, nothing is denied, and the names in the maps are
//! answered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::IpAddr;

use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Node, wait_for};
use hickory_proto::op::ResponseCode;

headless_tests::for_each_hook! { the_agent_answers_names_that_the_maps_have_no_capacity_for }

/// A bound of the maps' memory that is little more than the demo's names need.
const BOUND: [&str; 2] = ["--max-map-memory", "60KiB"];

fn query(service: &str) -> Query {
    Query::new(&format!("{service}.default.svc.cluster.local"), qtype::A)
}

/// Fails unless the agent is complete, so that denials are given.
fn is_complete(agent: &Agent<'_>) -> Result<(), String> {
    let status = agent.status();
    if status["complete"] == true {
        Ok(())
    } else {
        Err(format!("{status:#}"))
    }
}

/// Waits until the agent has these problems.
fn wait_for_problems(agent: &Agent<'_>, expected: &[&str]) {
    wait_for(|| {
        let problems = agent.problems();
        let said = expected.iter().all(|text| problems.contains(text));
        if said { Ok(()) } else { Err(problems) }
    });
}

/// The capacity of a map, in entries.
fn capacity(agent: &Agent<'_>, map: &str) -> u64 {
    agent.number(&format!("/maps/{map}/capacity"))
}

/// Manifests of Services with these names, each with one endpoint.
fn services(names: &[String]) -> String {
    let service = |(number, name): (usize, &String)| {
        let address = format!("10.9.{}.{}", number / 250, 1 + number % 250);
        headless_service(name, &[address])
    };
    let services: Vec<_> = names.iter().enumerate().map(service).collect();
    services.join("---\n")
}

#[test]
fn nothing_is_denied_while_the_maps_are_full_of_names() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let mut agent = Agent::start(&node, manifests.path(), &BOUND);
    agent.announce("cannot write the name");
    let missing = query("nope");
    assert_eq!(
        pod.ask(&missing).authorities.len(),
        1,
        "NXDOMAIN while all names are in the maps"
    );

    let short = capacity(&agent, "names_table") + capacity(&agent, "names_short");
    let names: Vec<_> = (0..short).map(|i| format!("extra-{i}")).collect();
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, services(&names)).unwrap();
    wait_for_problems(
        &agent,
        &["names_short is full", "negative answers are withheld"],
    );
    let status = agent.status();
    assert_eq!(status["complete"], false, "{status:#}");
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

/// Questions pass only for Services whose addresses do not fit. Denials go on, because
/// all names are in the maps.
#[test]
fn questions_pass_for_a_service_whose_addresses_do_not_fit() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let mut agent = Agent::start(&node, manifests.path(), &BOUND);
    agent.announce("cannot write the name");
    // A record holds five addresses. Each Service takes a chunk for its six addresses and
    // one for its ports.
    let addresses =
        |i: u64| (1..=6).map(move |host| format!("10.{}.{}.{host}", 9 + i / 250, i % 250));
    let service =
        |i: u64| headless_service(&format!("extra-{i}"), &addresses(i).collect::<Vec<_>>());
    let many: Vec<_> = (0..=capacity(&agent, "chunks") / 2).map(service).collect();
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, many.join("---\n")).unwrap();
    wait_for_problems(&agent, &["names find no room"]);
    assert_eq!(agent.status()["complete"], true, "{}", agent.problems());
    let client = pod.client();
    let is_passed = |i: usize| {
        let query = query(&format!("extra-{i}"));
        client.send(&query);
        client.receive().is_none() && cluster_dns.receive() == query.message()
    };
    let count = (0..many.len()).filter(|i| is_passed(*i)).count();
    assert!((1..4).contains(&count), "{count} Services are passed");
    assert_eq!(agent.number("/passes/userspace"), count as u64);
    assert_eq!(pod.ask(&query("nginx-headless")).answers.len(), 3);
    assert_eq!(
        pod.ask(&query("nope")).authorities.len(),
        1,
        "denied as always"
    );

    fs::write(&file, many[4..].join("---\n")).unwrap();
    wait_for(|| {
        let problems = agent.problems();
        let said = problems.contains("find no room");
        if said { Err(problems) } else { Ok(()) }
    });
    assert!((4..many.len()).all(|i| !is_passed(i)));
}

/// A pod gets the same answers from the programs and the agent together.
fn the_agent_answers_names_that_the_maps_have_no_capacity_for(hook: &str) {
    // Each map has keys of another length: up to 40 bytes, up to 104, and longer ones.
    for (map, len, namespace) in [
        ("names_short", 20, "default"),
        ("names_medium", 50, "default"),
        (
            "names_long",
            63,
            "a-namespace-whose-name-has-more-than-forty-letters",
        ),
    ] {
        check_full_map(hook, map, len, namespace);
    }
}

fn check_full_map(hook: &str, map: &str, len: usize, namespace: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let manifests = manifests();
    let arguments = ["--hook", hook, "--listen", "10.96.0.10"];
    let mut agent = Agent::start(&node, manifests.path(), &[&arguments[..], &BOUND].concat());
    agent.announce("cannot write the name");
    let counts = || {
        let of = |pointer: &str| agent.number(pointer);
        let kernel = of(&format!("/answers/{hook}"));
        // Questions for a Service whose addresses do not fit pass to userspace.
        let passed = of("/passes/incomplete") + of("/passes/userspace");
        (kernel, of("/answers/agent"), passed)
    };
    let full = |name: &str| format!("{name}.{namespace}.svc.cluster.local");
    let deny = |name: &str| {
        let reply = pod.ask(&Query::new(&full(name), qtype::A));
        let code = reply.metadata.response_code;
        assert_eq!(code, ResponseCode::NXDomain, "{name}");
    };
    deny("nope");
    assert_eq!(counts(), (1, 0, 0), "{map}");

    let mut entries = capacity(&agent, map);
    if map == "names_short" {
        entries += capacity(&agent, "names_table");
    }
    let names: Vec<String> = (0..entries + 2).map(|i| format!("{i:0len$}")).collect();
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("s{}", &name[1..]))
        .collect();
    let text = services(&names).replace("namespace: default", &format!("namespace: {namespace}"));
    let object = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, [text, object].join("---\n")).unwrap();
    let is_full = format!("{map} is full");
    let withheld = "could not be written: negative answers are withheld";
    wait_for_problems(&agent, &[&is_full, withheld]);
    assert_eq!(agent.status()["complete"], false);

    let find = |name: &str, expected: &[&str]| {
        let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(pod.addresses(name, qtype::A), expected, "{name}");
    };
    // The order in which the names are read decides which of them find no capacity.
    for (number, name) in names.iter().enumerate() {
        let address = format!("10.9.{}.{}", number / 250, 1 + number % 250);
        let endpoint = format!("{}.{name}", address.replace('.', "-"));
        find(&full(name), &[&address]);
        find(&full(&endpoint), &[&address]);
    }
    let (kernel, by_agent, passed) = counts();
    let asked = 1 + 2 * names.len() as u64;
    assert_eq!((kernel + by_agent, passed), (asked, by_agent), "{map}");
    assert!(by_agent > 0, "every name has a place");
    // The agent knows all names, so it denies. The programs answer the names in the maps.
    deny("nope");
    deny("nope.extra");
    let headless = "nginx-headless.default.svc.cluster.local";
    find(headless, &["10.0.0.22", "10.0.0.23", "10.0.0.39"]);
    let expected = (kernel + 1, by_agent + 2, passed + 2);
    assert_eq!(counts(), expected, "{map}");

    fs::remove_file(&file).unwrap();
    wait_for(|| is_complete(&agent));
    deny("nope");
    deny(&names[0]);
    let (kernel, by_agent, passed) = expected;
    assert_eq!(counts(), (kernel + 2, by_agent, passed), "{map}");
    let problems = agent.problems();
    assert!(!problems.contains("withheld"), "{problems}");
}
