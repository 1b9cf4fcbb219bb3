//! `headless-agent status`, its JSON and the metrics show how many packets were passed for
//! each reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use headless_ebpf::abi::{AnswerKind, Outcome, PassReason, Path};
use headless_ebpf::respond::Verdict;
use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::golden::{self, Broken, Case};
use headless_tests::host::Hook;
use headless_tests::node::{ClusterDns, Fate, Node, Pod, wait_for};
use headless_tests::tap::Tap;
use nix::sys::signal::Signal;

headless_tests::for_each_hook! { every_pass_is_counted_under_its_reason }

/// Number of packets by the reason's label.
type Counts = BTreeMap<&'static str, u64>;

/// The reason for which a golden frame is passed with the test's names and maps; `None` if
/// the frame is answered, or if its verdict depends on the frame's own names and maps.
fn reason(case: &Case) -> Option<PassReason> {
    let is_usual = case.broken == Broken::Nothing
        && case.zone == "cluster.local"
        && case.server == SERVER
        && case.reverse.is_empty()
        && !case.verified
        && !case.forward
        && case.left.is_empty()
        && case.left_names.is_empty();
    let needs_names = [PassReason::Changed, PassReason::TooLarge];
    match case.expected(Hook::Tc(case.mtu)) {
        Verdict::Pass(PassReason::Userspace) if !case.names.is_empty() => None,
        Verdict::Pass(PassReason::NotDns) => None,
        Verdict::Pass(reason) if is_usual && !needs_names.contains(&reason) => Some(reason),
        _ => None,
    }
}

/// The counts in `/status.json`.
fn of_json(agent: &Agent<'_>) -> Counts {
    let status = agent.status();
    let passes = status["passes"].as_object().unwrap();
    let labels = PassReason::ALL.iter().map(|reason| reason.label());
    assert_eq!(
        passes.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        labels.clone().collect()
    );
    labels
        .map(|label| (label, passes[label].as_u64().unwrap()))
        .collect()
}

/// The counts in the table of `headless-agent status`, with these options.
fn of_table(agent: &Agent<'_>, options: &[&str]) -> Counts {
    let text = agent.run(&[&["status", "--interval", "0s"], options].concat());
    let lines = text.lines().skip_while(|line| *line != "Passes").skip(2);
    let lines = lines.take_while(|line| !line.is_empty());
    let rows = lines.map(|line| {
        let [label, count, own] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("`{line}` of\n{text}");
        };
        assert_eq!(own, "0", "the agent has no responder");
        let reasons = PassReason::ALL.iter().map(|reason| reason.label());
        let label = reasons.into_iter().find(|it| *it == label);
        (label.unwrap(), count.parse().unwrap())
    });
    rows.collect()
}

/// The TCP connections of the only pod, which the JSON and the table of `status` show.
fn connections_of(agent: &Agent<'_>, pod: &Pod) -> u64 {
    let status = agent.status();
    let interfaces = status["interfaces"].as_array().unwrap();
    let own = interfaces.iter().find(|it| it["name"] == *pod.host_end);
    let index = own.unwrap()["ifindex"].to_string();
    let connections = status["connections"].as_object().unwrap();
    let count = connections[&index].as_u64().unwrap();
    let text = agent.run(&["status", "--interval", "0s"]);
    let row = text
        .lines()
        .find(|line| line.trim().starts_with(&pod.host_end));
    let last = row.and_then(|row| row.split_whitespace().last());
    assert_eq!(last, Some(count.to_string().as_str()), "{text}");
    count
}

/// The counts of one path in the metrics.
fn of_metrics(agent: &Agent<'_>, path: Path) -> Counts {
    let text = agent.metrics();
    let sample = |label: &str| {
        let path = path.label();
        let name = format!("headless_dns_passes_total{{path=\"{path}\",reason=\"{label}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .parse()
            .unwrap()
    };
    let labels = PassReason::ALL.iter().map(|reason| reason.label());
    labels.map(|label| (label, sample(label))).collect()
}

/// Asks for names that are passed: with too many addresses, while names are missing, and
/// after the lease. Returns how many queries passed for which reason.
fn passes_for_names(
    agent: &Agent<'_>,
    pod: &Pod,
    cluster_dns: &ClusterDns,
) -> [(PassReason, u64); 3] {
    let client = pod.client();
    let asked = |name: &str| Query::new(&format!("{name}.default.svc.cluster.local"), qtype::A);
    while cluster_dns.try_receive().is_some() {}
    let passes = |query: &Query| {
        let fate = client.follow(query, cluster_dns);
        assert!(matches!(fate, Fate::Passed), "{query:?}: {fate:?}");
    };
    // 200 addresses do not fit into an MTU of 1500.
    passes(&asked("many").edns(4096));
    passes(&asked("nope"));
    passes(&asked("nope"));
    agent.signal(Signal::SIGSTOP);
    wait_for(
        || match client.follow(&asked("nginx-headless"), cluster_dns) {
            Fate::Passed => Ok(()),
            Fate::Answered(_) => Err("a query passed".to_owned()),
        },
    );
    passes(&asked("nginx-headless"));
    agent.signal(Signal::SIGCONT);
    [
        (PassReason::TooLarge, 1),
        (PassReason::Incomplete, 2),
        (PassReason::AgentStale, 2),
    ]
}

fn every_pass_is_counted_under_its_reason(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let many: Vec<_> = (1..=200).map(|i| format!("10.9.0.{i}")).collect();
    let file = manifests.path().join("many.yaml");
    fs::write(&file, headless_service("many", &many)).unwrap();
    // The capacities suffice for the demo and this Service, but not for the namespaces below.
    let bound = ["--max-map-memory", "256KiB"];
    let arguments = ["--hook", hook, "--lease", "2s"];
    let mut agent = Agent::start(&node, manifests.path(), &[&arguments[..], &bound].concat());
    agent.announce("cannot write names");
    assert_eq!(agent.status()["complete"], true, "{}", agent.problems());
    // The records of namespaces cannot yield. These names are too long for the other maps.
    let medium = agent.number("/maps/names_medium/capacity");
    let namespace = |i| {
        let name = format!("extra-{i}-{}", "a".repeat(40));
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
    };
    let namespaces: Vec<_> = (0..=medium).map(namespace).collect();
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, namespaces.join("---\n")).unwrap();
    wait_for(|| match agent.status()["complete"].as_bool() {
        Some(false) => Ok(()),
        _ => Err("a name too many".to_owned()),
    });
    let mut expected: Counts = PassReason::ALL
        .iter()
        .map(|reason| (reason.label(), 0))
        .collect();
    let mut count = |reason: PassReason, more: u64| {
        *expected.get_mut(reason.label()).unwrap() += more;
    };

    let tap = Tap::of_pod(&pod);
    for case in golden::cases() {
        if let Some(reason) = reason(&case) {
            tap.send(&case.input());
            count(reason, 1);
        }
    }
    for (reason, more) in passes_for_names(&agent, &pod, &cluster_dns) {
        count(reason, more);
    }

    wait_for(|| {
        let found = of_json(&agent);
        if found == expected {
            Ok(())
        } else {
            let wrong = found
                .iter()
                .filter(|(label, count)| expected[*label] != **count);
            let wrong: Vec<_> = wrong.map(|it| (it, expected[it.0])).collect();
            Err(format!("found and expected: {wrong:?}"))
        }
    });
    assert!(expected.values().filter(|count| **count > 0).count() > 15);
    assert_eq!(of_table(&agent, &["--all"]), expected);
    let counted = expected.iter().filter(|(_, count)| **count > 0);
    let counted: Counts = counted.map(|(label, count)| (*label, *count)).collect();
    assert_eq!(of_table(&agent, &[]), counted, "zeroes are left out");
    let explained = agent.run(&["status", "--explain"]);
    assert!(explained.contains("  edns: The record behind the question"));
    assert!(explained.contains("PER SECOND"), "{explained}");
    assert_eq!(of_metrics(&agent, Path::Tc), expected);
    let connections = expected[PassReason::Tcp.label()];
    assert!(connections > 1);
    assert_eq!(connections_of(&agent, &pod), connections);
    let xdp = of_metrics(&agent, Path::Xdp);
    if hook == "xdp" {
        assert_eq!(xdp, expected, "tc gets every packet that XDP passes");
    } else {
        assert!(xdp.values().all(|count| *count == 0), "{xdp:?}");
    }
}

/// Each label belongs to one reason, and is written in a metric's usual characters.
#[test]
fn labels_are_unique_and_fit_a_metric() {
    let reasons = PassReason::ALL.iter().map(|reason| reason.label());
    let kinds = AnswerKind::ALL.iter().map(|kind| kind.label());
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.label());
    for labels in [
        reasons.collect(),
        kinds.collect(),
        outcomes.collect::<Vec<_>>(),
    ] {
        let distinct: BTreeSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len(), "{labels:?}");
        for label in labels {
            let fits = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
            assert!(!label.is_empty() && label.bytes().all(fits), "{label}");
        }
    }
    for (number, reason) in (0..).zip(PassReason::ALL) {
        assert_eq!(*reason as u32, number, "counters are indexed by reason");
    }
}
