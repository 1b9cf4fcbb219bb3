//! If a map is nearly full, the largest namespace yields: userspace answers for its largest
//! Services, the agent reports it, and the answers for all other names come from the kernel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::IpAddr;

use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{Fate, Node, wait_for};
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

/// The objects of a tenant: a namespace with Services.
fn tenant(services: &str, namespace: &str) -> String {
    let services = services.replace("namespace: default", &format!("namespace: {namespace}"));
    let object = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
    [services, object].join("---\n")
}

/// The problem that the agent has while namespaces yield.
const YIELDS: &str = "map that is nearly full";

fn wait_until_nothing_yields(agent: &Agent<'_>) {
    wait_for(|| {
        let problems = agent.problems();
        if problems.contains(YIELDS) {
            Err(problems)
        } else {
            Ok(())
        }
    });
}

#[test]
fn a_tenant_that_fills_the_maps_hurts_nobody_else() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &BOUND);
    let short = capacity(&agent, "names_table") + capacity(&agent, "names_short");
    let names: Vec<_> = (0..2 * short).map(|i| format!("extra-{i}")).collect();
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, tenant(&services(&names), "tenant")).unwrap();
    wait_for_problems(&agent, &[YIELDS, "tenant ("]);
    is_complete(&agent).unwrap();

    // Positive and negative answers for the others come from the kernel.
    let kernel = || agent.number("/answers/xdp") + agent.number("/answers/tc");
    let before = kernel();
    let missing = query("nope");
    assert_eq!(pod.ask(&missing).authorities.len(), 1, "NXDOMAIN");
    let nodata = Query::new("nginx-headless.default.svc.cluster.local", qtype::AAAA);
    assert_eq!(pod.ask(&nodata).authorities.len(), 1, "NODATA");
    assert_eq!(pod.ask(&query("nginx-headless")).answers.len(), 3);
    let endpoint = "web-0.nginx-headless.default.svc.cluster.local";
    assert_eq!(pod.ask(&Query::new(endpoint, qtype::A)).answers.len(), 1);
    assert_eq!((kernel(), cluster_dns.is_unasked()), (before + 4, true));

    // The tenant's own names pass if the maps do not hold them, and nothing of it is denied.
    let client = pod.client();
    let is_passed = |name: &str| {
        let query = Query::new(&format!("{name}.tenant.svc.cluster.local"), qtype::A);
        matches!(client.follow(&query, &cluster_dns), Fate::Passed)
    };
    assert!(is_passed("nope"), "a name that does not exist");
    let passed = names.iter().filter(|name| is_passed(name)).count() as u64;
    assert!(
        passed > short / 2,
        "{passed} of {} Services pass",
        names.len()
    );
    assert!(passed < 2 * short, "the tenant keeps its share");
    assert_eq!(agent.number("/passes/userspace"), 1 + passed);

    fs::remove_file(&file).unwrap();
    wait_until_nothing_yields(&agent);
    assert_eq!(pod.ask(&missing).authorities.len(), 1);
    assert!(cluster_dns.is_unasked());
}

/// Questions pass only for Services that yield. Denials go on, because all Services have
/// records.
#[test]
fn questions_pass_for_services_whose_addresses_do_not_fit() {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let agent = Agent::start(&node, manifests.path(), &BOUND);
    // A record holds five addresses. Each Service takes a chunk for its six addresses and
    // one for its ports.
    let addresses =
        |i: u64| (1..=6).map(move |host| format!("10.{}.{}.{host}", 9 + i / 250, i % 250));
    let service =
        |i: u64| headless_service(&format!("extra-{i}"), &addresses(i).collect::<Vec<_>>());
    let many: Vec<_> = (0..=capacity(&agent, "chunks") / 2).map(service).collect();
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, tenant(&many.join("---\n"), "tenant")).unwrap();
    wait_for_problems(&agent, &[YIELDS]);
    assert_eq!(agent.status()["complete"], true, "{}", agent.problems());
    let client = pod.client();
    let is_passed = |i: usize| {
        let query = Query::new(&format!("extra-{i}.tenant.svc.cluster.local"), qtype::A);
        matches!(client.follow(&query, &cluster_dns), Fate::Passed)
    };
    let count = (0..many.len()).filter(|i| is_passed(*i)).count();
    assert!(
        (1..many.len() / 2).contains(&count),
        "{count} Services are passed"
    );
    assert_eq!(agent.number("/passes/userspace"), count as u64);
    assert_eq!(pod.ask(&query("nginx-headless")).answers.len(), 3);
    for missing in ["nope.tenant", "nope.default"] {
        let query = Query::new(&format!("{missing}.svc.cluster.local"), qtype::A);
        assert_eq!(
            pod.ask(&query).authorities.len(),
            1,
            "{missing} is denied as always"
        );
    }
    fs::remove_file(&file).unwrap();
    wait_until_nothing_yields(&agent);
}

/// A pod gets the same answers from the programs and the agent together.
fn the_agent_answers_names_that_the_maps_have_no_capacity_for(hook: &str) {
    // Each map has keys of another length: up to 40 bytes, up to 104, and longer ones.
    for (map, len, namespace) in [
        ("names_short", 20, "tenant"),
        ("names_medium", 50, "tenant"),
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
    let agent = Agent::start(&node, manifests.path(), &[&arguments[..], &BOUND].concat());
    let counts = || {
        let of = |pointer: &str| agent.number(pointer);
        let kernel = of(&format!("/answers/{hook}"));
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
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, tenant(&services(&names), namespace)).unwrap();
    wait_for_problems(&agent, &[YIELDS]);
    is_complete(&agent).unwrap();

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
    // The agent knows all names of the tenant, so it denies. The programs answer and deny for
    // the others.
    deny("nope");
    deny("nope.extra");
    let headless = "nginx-headless.default.svc.cluster.local";
    find(headless, &["10.0.0.22", "10.0.0.23", "10.0.0.39"]);
    let reply = pod.ask(&query("nope"));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    let expected = (kernel + 2, by_agent + 2, passed + 2);
    assert_eq!(counts(), expected, "{map}");

    fs::remove_file(&file).unwrap();
    wait_until_nothing_yields(&agent);
    deny("nope");
    deny(&names[0]);
    let (kernel, by_agent, passed) = expected;
    assert_eq!(counts(), (kernel + 2, by_agent, passed), "{map}");
    let problems = agent.problems();
    assert!(!problems.contains("withheld"), "{problems}");
}
