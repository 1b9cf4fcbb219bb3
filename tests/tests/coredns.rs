//! Every answer of headless beside the one of CoreDNS itself.
//!
//! `HEADLESS_SEED` repeats the random run of a seed that it has printed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use headless_agent::records::EndpointScope;
use headless_ebpf::abi::PodsMode;
use headless_tests::differential::agent::Source;
use headless_tests::differential::coredns::Choices;
use headless_tests::differential::report::Report;
use headless_tests::differential::run::{Plan, run};

/// The seed of the runs that are always the same.
const SEED: u64 = 20_250_611;

fn plan(seed: u64) -> Plan {
    Plan {
        choices: Choices::default(),
        endpoints: EndpointScope::All,
        services: 300,
        rounds: 1,
        questions: 3000,
        seed,
        agent: None,
    }
}

/// Of a thousand plain questions in the zone, so many are answered in the kernel as
/// kubeadm sets up.
const KERNEL_PERMILLE: u64 = 990;

fn check(what: &str, plan: &Plan) -> Report {
    let start = Instant::now();
    let report = run(plan).unwrap();
    println!(
        "{what}: seed {}, {:.1} s\n{report}",
        plan.seed,
        start.elapsed().as_secs_f64()
    );
    assert!(
        report.engine > 0 && report.userspace > 0,
        "nothing was compared"
    );
    assert_eq!(
        report.differing, 0,
        "{what}: repeat by HEADLESS_SEED={}",
        plan.seed
    );
    report
}

#[test]
fn as_kubeadm_sets_it_up() {
    let report = check("kubeadm", &plan(SEED));
    let share = report.engine_permille();
    assert!(share >= KERNEL_PERMILLE, "{share} of a thousand");
}

#[test]
fn with_a_random_seed() {
    let given = std::env::var("HEADLESS_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    check("random", &plan(seed));
}

#[test]
fn with_verified_pods_and_a_short_ttl() {
    let mut plan = plan(SEED + 1);
    plan.choices.pods = PodsMode::Verified;
    plan.choices.ttl = 5;
    check("pods verified, ttl 5", &plan);
}

#[test]
fn without_pods_and_with_pod_names() {
    let mut plan = plan(SEED + 2);
    plan.choices.pods = PodsMode::Disabled;
    plan.choices.pod_names = true;
    check("pods disabled, endpoint_pod_names", &plan);
}

#[test]
fn in_another_zone() {
    let mut plan = plan(SEED + 3);
    plan.choices.zone = "k8s.example.org";
    plan.choices.ttl = 600;
    check("k8s.example.org, ttl 600", &plan);
}

#[test]
fn with_endpoints_of_headless_services_alone() {
    let mut plan = plan(SEED + 4);
    plan.endpoints = EndpointScope::Headless;
    check("endpoints of headless Services", &plan);
}

#[test]
fn by_the_agent_itself() {
    let mut plan = plan(SEED + 5);
    plan.agent = Some(Source::Folder);
    plan.choices.pods = PodsMode::Verified;
    plan.choices.pod_names = true;
    check("the agent", &plan);
}

/// As operators run it: from an API server, whose slices of Services with cluster IPs it
/// does not watch.
#[test]
fn by_the_agent_itself_in_its_default_mode() {
    let mut plan = plan(SEED + 6);
    plan.agent = Some(Source::ApiServer);
    plan.endpoints = EndpointScope::Headless;
    let report = check("the agent by default", &plan);
    assert!(report.cluster_dns > 0, "nothing was left to the cluster");
}
