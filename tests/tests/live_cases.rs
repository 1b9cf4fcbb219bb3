//! Puts the questions of every folder in `cases` to the served address, from a pod of a node with
//! an agent and with CoreDNS behind that address. CoreDNS answers what the programs pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use headless_agent::records::EndpointScope;
use headless_tests::cases::{Case, Outcome, Question, Servers, objects};
use headless_tests::differential::client::Client;
use headless_tests::differential::cluster::Cluster;
use headless_tests::differential::coredns::Choices;
use headless_tests::differential::message::Decoded;
use headless_tests::node::wait_for;
use headless_tests::served_node::{self, ServedNode};

/// The Service of the cluster's DNS with CoreDNS as its endpoint, for cases without it.
const CLUSTER_DNS: &str = "
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.2], conditions: {ready: true}}]
";

/// How often a pod asks for a partial answer until it has seen every record.
const TURNS: usize = 400;

/// Checks the answer to a question; where it is partial, also that all records come in turn.
/// Returns how often it asked.
fn check(client: &Client, question: &Question, about: &str) -> u64 {
    let query = question.query();
    let reply = client.ask(&query).unwrap();
    question.expect.check(&reply, about);
    if question.expect.answers_count.is_none() {
        return 1;
    }
    let mut seen = BTreeSet::new();
    for _ in 0..TURNS {
        let reply = client.ask(&query).unwrap();
        question.expect.check(&reply, about);
        let [answers, ..] = Decoded::new(&reply).unwrap().sections;
        seen.extend(answers.into_iter().map(|record| record.rest));
    }
    assert_eq!(seen.len(), question.expect.answers.len(), "{about}");
    1 + TURNS as u64
}

/// Where the engine answers on the host, over the same cluster and in the same scope, the kernel
/// must answer the pod.
fn every_case_in(scope: EndpointScope) {
    let option = match scope {
        EndpointScope::All => "all",
        EndpointScope::Headless => "headless",
    };
    let mut answered = 0;
    for case in Case::all() {
        let mut cluster = Cluster::default();
        for object in case.objects() {
            cluster.put(object);
        }
        let mut services = cluster.services();
        if services.all(|service| service.metadata.name.as_deref() != Some("kube-dns")) {
            drop(services);
            for object in objects(CLUSTER_DNS) {
                cluster.put(object);
            }
        }
        for (agent_args, questions) in case.by_agent_args() {
            let settings = case.settings(EndpointScope::All, agent_args).records;
            let choices = Choices {
                pods: settings.pods,
                ..Choices::default()
            };
            let served = ServedNode::start(&choices, &cluster).unwrap();
            let pod = served.node.pod("veth-client", 10);
            let client = served_node::client(&pod).unwrap();
            let mut arguments = vec!["--endpoints", option];
            arguments.extend(agent_args.iter().map(String::as_str));
            let agent = served.agent(&[&pod], &arguments);
            let engine = Servers::new(&case, scope, agent_args);
            for question in questions {
                let about = format!("{} with --endpoints {option}: {question}", case.name());
                let query = question.query();
                // CoreDNS reads the cluster meanwhile.
                wait_for(|| {
                    let theirs = served.coredns().ask(&query).unwrap();
                    let got = Decoded::new(&theirs).unwrap().rcode();
                    let failure = format!("{about}: CoreDNS has RCODE {got}");
                    (got == question.expect.rcode())
                        .then_some(())
                        .ok_or(failure)
                });
                let theirs = served.coredns().ask(&query).unwrap();
                question
                    .expect
                    .check(&theirs, &format!("{about} by CoreDNS"));
                let before = agent.kernel_answers();
                let asked = check(&client, question, &about);
                let kernel = agent.kernel_answers() - before;
                let expected = match engine.by_engine(&query, 0) {
                    Outcome::Reply(_) => asked,
                    Outcome::Left => 0,
                };
                assert_eq!(kernel, expected, "{about}: by the kernel");
                answered += kernel;
            }
        }
    }
    assert!(answered > 0, "the kernel has answered nothing");
}

#[test]
fn pods_see_coredns_answers_with_endpoints_of_headless_services() {
    every_case_in(EndpointScope::Headless);
}

#[test]
fn pods_see_coredns_answers_with_all_endpoints() {
    every_case_in(EndpointScope::All);
}
