//! Puts the questions of every folder in `cases` to the served address, from a pod of a node with
//! an agent and with CoreDNS behind that address. CoreDNS answers what the programs pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use headless_agent::records::EndpointScope;
use headless_tests::cases::{Case, Question, objects};
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
fn check(client: &Client, question: &Question, about: &str) {
    let query = question.query();
    let reply = client.ask(&query).unwrap();
    question.expect.check(&reply, about);
    if question.expect.answers_count.is_none() {
        return;
    }
    let mut seen = BTreeSet::new();
    for _ in 0..TURNS {
        let reply = client.ask(&query).unwrap();
        question.expect.check(&reply, about);
        let [answers, ..] = Decoded::new(&reply).unwrap().sections;
        seen.extend(answers.into_iter().map(|record| record.rest));
    }
    assert_eq!(seen.len(), question.expect.answers.len(), "{about}");
}

fn every_case_in(scope: &str) {
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
            let mut arguments = vec!["--endpoints", scope];
            arguments.extend(agent_args.iter().map(String::as_str));
            let agent = served.agent(&[&pod], &arguments);
            let before = agent.kernel_answers();
            for question in questions {
                let about = format!("{} with --endpoints {scope}: {question}", case.name());
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
                check(&client, question, &about);
            }
            let kernel = agent.kernel_answers() - before;
            println!(
                "{} with --endpoints {scope}: {kernel} by the kernel",
                case.name()
            );
        }
    }
}

#[test]
fn pods_see_coredns_answers_with_endpoints_of_headless_services() {
    every_case_in("headless");
}

#[test]
fn pods_see_coredns_answers_with_all_endpoints() {
    every_case_in("all");
}
