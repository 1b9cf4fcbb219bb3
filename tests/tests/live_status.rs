//! What became of packets, as `headless-agent status`, its JSON and the metrics say
//! it: every reason, with its number.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use headless_ebpf::abi::{AnswerKind, Outcome, PassReason, Path};
use headless_ebpf::respond::Verdict;
use headless_tests::agent::{Agent, headless_service, manifests};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::golden::{self, Broken, Case};
use headless_tests::host::Home;
use headless_tests::node::{Fate, Node, wait_for};
use headless_tests::tap::Tap;
use nix::sys::signal::Signal;

headless_tests::for_each_hook! { every_reason_is_shown }

/// Packets by label of the reason.
type Counts = BTreeMap<&'static str, u64>;

/// What a golden frame is passed for, wherever names do not matter.
fn reason(case: &Case) -> Option<PassReason> {
    let is_usual = case.broken == Broken::Nothing
        && case.zone == "cluster.local"
        && case.server == SERVER
        && case.reverse.is_empty()
        && !case.verified;
    let needs_names = [PassReason::Changed, PassReason::TooLarge];
    match case.expected(Home::Tc(case.mtu)) {
        Verdict::Pass(PassReason::Userspace) if !case.names.is_empty() => None,
        Verdict::Pass(PassReason::NotDns) => None,
        Verdict::Pass(reason) if is_usual && !needs_names.contains(&reason) => Some(reason),
        _ => None,
    }
}

/// What the JSON has.
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

/// What the table has.
fn of_table(agent: &Agent<'_>) -> Counts {
    let text = agent.run(&["status"]);
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

/// What the metrics have of a path.
fn of_metrics(agent: &Agent<'_>, path: Path) -> Counts {
    let (status, text) = agent.get("/metrics").unwrap();
    assert_eq!(status, 200);
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

fn every_reason_is_shown(hook: &str) {
    let node = Node::new();
    let pod = node.pod("veth-client", 10);
    // What it would say of itself has extension headers.
    pod.within(|| Ok(fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?))
        .unwrap();
    let cluster_dns = node.cluster_dns();
    let manifests = manifests();
    let many: Vec<_> = (1..=200).map(|i| format!("10.9.0.{i}")).collect();
    let file = manifests.path().join("many.yaml");
    fs::write(&file, headless_service("many", &many)).unwrap();
    // Room for the demo's 8 names, and for this Service's; then there is one more.
    let arguments = ["--hook", hook, "--lease", "2s"];
    let room = ["--names-table", "1", "--names-short", "208"];
    let agent = Agent::start(&node, manifests.path(), &[&arguments[..], &room].concat());
    assert_eq!(agent.number("/maps/names_short/entries"), 208);
    let file = manifests.path().join("extra.yaml");
    fs::write(&file, headless_service("extra", &many[..1])).unwrap();
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
    let client = pod.client();
    let asked = |name: &str| Query::new(&format!("{name}.default.svc.cluster.local"), qtype::A);
    while cluster_dns.try_receive().is_some() {}
    let passes = |query: &Query| {
        let fate = client.follow(query, &cluster_dns);
        assert!(matches!(fate, Fate::Passed), "{query:?}: {fate:?}");
    };
    // 200 addresses are more than an MTU of 1500 has room for.
    passes(&asked("many").edns(4096));
    count(PassReason::TooLarge, 1);
    passes(&asked("nope"));
    passes(&asked("nope"));
    count(PassReason::Incomplete, 2);
    agent.signal(Signal::SIGSTOP);
    wait_for(
        || match client.follow(&asked("nginx-headless"), &cluster_dns) {
            Fate::Passed => Ok(()),
            Fate::Answered(_) => Err("a query passed".to_owned()),
        },
    );
    passes(&asked("nginx-headless"));
    count(PassReason::AgentStale, 2);
    agent.signal(Signal::SIGCONT);

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
    assert_eq!(of_table(&agent), expected);
    assert_eq!(of_metrics(&agent, Path::Tc), expected);
    let xdp = of_metrics(&agent, Path::Xdp);
    if hook == "xdp" {
        assert_eq!(xdp, expected, "what XDP passes, tc sees");
    } else {
        assert!(xdp.values().all(|count| *count == 0), "{xdp:?}");
    }
}

/// Labels tell reasons apart, and are ones that a metric can have.
#[test]
fn labels() {
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
        assert_eq!(*reason as u32, number, "in order, without a gap");
    }
}
