//! Compares the answers of headless with CoreDNS's, in random clusters.
//!
//! The test with a random seed prints its seed. `HEADLESS_SEED=<seed>` repeats it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use headless_agent::corefile::Parts;
use headless_agent::records::EndpointScope;
use headless_ebpf::abi::{PassReason, PodsMode};
use headless_tests::differential::agent::Source;
use headless_tests::differential::coredns::Choices;
use headless_tests::differential::corefiles;
use headless_tests::differential::report::Report;
use headless_tests::differential::run::{Plan, run};

/// The seed of the tests that always make the same cluster. Each adds a number of its own.
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

/// With kubeadm's options the programs must answer at least this share of the plain
/// questions, in thousandths.
const KERNEL_PERMILLE: u64 = 990;

/// The same share with the Corefiles of distributions, some of which leave reverse names to
/// CoreDNS.
const DISTRIBUTION_PERMILLE: u64 = 980;

/// The same share where only some objects have names.
const SELECTED_PERMILLE: u64 = 980;

/// The same share beside names that the Corefile names. The questions ask for these often.
const NAMED_PERMILLE: u64 = 950;

/// Carries out a plan, prints the report, and panics if there is a difference that is not
/// allowed.
fn check(title: &str, plan: &Plan) -> Report {
    let start = Instant::now();
    let report = run(plan).unwrap();
    println!(
        "{title}: seed {}, {:.1} s\n{report}",
        plan.seed,
        start.elapsed().as_secs_f64()
    );
    let by_rules = report.resolver > 0 || plan.choices.distribution.is_some();
    assert!(report.engine > 0 && by_rules, "no reply was compared");
    assert_eq!(
        report.differing, 0,
        "{title}: differences with the seed {}",
        plan.seed
    );
    report
}

#[test]
fn answers_agree_with_kubeadms_options() {
    let report = check("kubeadm", &plan(SEED));
    let share = report.engine_permille();
    assert!(share >= KERNEL_PERMILLE, "the programs answer {share} ‰");
}

#[test]
fn answers_agree_with_a_random_seed() {
    let given = std::env::var("HEADLESS_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    check("random", &plan(seed));
}

#[test]
fn answers_agree_with_verified_pods_and_a_short_ttl() {
    let mut plan = plan(SEED + 1);
    plan.choices.pods = PodsMode::Verified;
    plan.choices.ttl = 5;
    check("pods verified, ttl 5", &plan);
}

#[test]
fn answers_agree_without_pods_and_with_pod_names() {
    let mut plan = plan(SEED + 2);
    plan.choices.pods = PodsMode::Disabled;
    plan.choices.pod_names = true;
    check("pods disabled, endpoint_pod_names", &plan);
}

/// CoreDNS runs the Corefile of each distribution, and headless takes its options over and leaves
/// to CoreDNS what it says. A pod that asks gets the programs' answer or CoreDNS's own.
#[test]
fn the_programs_agree_with_each_distributions_corefile() {
    let distributions = [
        "aks",
        "eks",
        "k3s",
        "kind",
        "kubeadm",
        "minikube",
        "openshift",
        "rke2",
    ];
    for (name, seed) in distributions.into_iter().zip(SEED + 100..) {
        let mut plan = plan(seed);
        plan.choices.distribution = Some(name);
        plan.questions = 1500;
        let report = check(name, &plan);
        let leaves = !corefiles::rules(name).left().is_empty();
        let left = report.passed.contains_key(PassReason::Corefile.label());
        assert_eq!(left, leaves, "{name}: questions are left to CoreDNS");
        let share = report.engine_permille();
        assert!(
            share >= DISTRIBUTION_PERMILLE,
            "{name}: the programs answer {share} ‰"
        );
    }
}

/// The rules of this Corefile name single names of the zone, which exist or not. Only their
/// questions are left to CoreDNS.
#[test]
fn the_programs_agree_beside_names_that_the_corefile_names() {
    let left = corefiles::rules("named").left();
    assert_eq!((left.names.len(), left.parts), (6, Parts::NONE));
    let mut plan = plan(SEED + 120);
    plan.choices.distribution = Some("named");
    let report = check("named", &plan);
    let passed = report.passed[PassReason::Corefile.label()];
    assert!(passed >= 10, "{passed} questions are left to CoreDNS");
    let share = report.engine_permille();
    assert!(share >= NAMED_PERMILLE, "the programs answer {share} ‰");
}

#[test]
fn answers_agree_in_another_zone() {
    let mut plan = plan(SEED + 3);
    plan.choices.zone = "k8s.example.org";
    plan.choices.ttl = 600;
    check("k8s.example.org, ttl 600", &plan);
}

#[test]
fn answers_agree_with_endpoints_of_headless_services_only() {
    let mut plan = plan(SEED + 4);
    plan.endpoints = EndpointScope::Headless;
    check("endpoints of headless Services", &plan);
}

#[test]
fn the_agents_answers_agree() {
    let mut plan = plan(SEED + 5);
    plan.agent = Some(Source::Folder);
    plan.choices.pods = PodsMode::Verified;
    plan.choices.pod_names = true;
    check("the agent", &plan);
}

/// Without upstream resolvers, as the agent itself, CoreDNS answers a CNAME that leads out of the
/// zone alone.
#[test]
fn the_agents_answers_agree_without_upstream_resolvers() {
    let mut plan = plan(SEED + 7);
    plan.agent = Some(Source::Folder);
    plan.choices.upstream = false;
    let report = check("the agent without upstream resolvers", &plan);
    assert!(report.chased > 0, "no CNAME has led out of the zone");
    assert!(report.refused_classes > 0, "no class was refused");
}

/// By default the agent follows an API server and does not watch EndpointSlices of Services
/// with cluster IPs.
#[test]
fn the_agents_answers_agree_with_default_options() {
    let mut plan = plan(SEED + 6);
    plan.agent = Some(Source::ApiServer);
    // The cluster is small, so by default the agent watches the endpoints of all Services.
    plan.endpoints = EndpointScope::All;
    check("the agent by default", &plan);
}

/// With each option of `kubernetes` that says which objects have names, and with some together.
/// The labels of namespaces and Services change meanwhile.
#[test]
fn the_programs_agree_about_the_objects_that_have_names() {
    let namespaces = "namespaces default prod com ghost nowhere sentinel-1 sentinel-2 sentinel-3";
    let combined = "namespace_labels team in (a,b)\nlabels team notin (c)\n\
                    ignore empty_service";
    for (options, seed) in [
        namespaces,
        "namespace_labels team=a",
        "labels team in (a, b)",
        "labels team,x notin (y)",
        "noendpoints",
        "ignore empty_service",
        combined,
    ]
    .into_iter()
    .zip(SEED + 200..)
    {
        let mut plan = plan(seed);
        plan.choices.options = options;
        plan.rounds = 2;
        plan.questions = 1500;
        let report = check(options, &plan);
        let share = report.engine_permille();
        assert!(
            share >= SELECTED_PERMILLE,
            "{options}: the programs answer {share} ‰"
        );
    }
}

/// The agent watches objects by the options of its Corefile, from an API server and from a folder.
#[test]
fn the_agents_answers_agree_about_the_objects_that_have_names() {
    let labelled = "namespace_labels team in (a,b)\nlabels team notin (c)";
    let listed =
        "namespaces default com sentinel-1 sentinel-2\nlabels team=a\nignore empty_service";
    for (options, source, seed) in [
        (labelled, Source::ApiServer, 0),
        (listed, Source::Folder, 1),
        ("noendpoints", Source::ApiServer, 2),
    ] {
        let mut plan = plan(SEED + 300 + seed);
        plan.choices.options = options;
        plan.agent = Some(source);
        let report = check(options, &plan);
        assert!(report.agent > 0, "the agent has answered nothing");
    }
}
