//! The cluster's DNS Service is missing, has another name, or is one of two.

use headless_tests::agent::Agent;
use headless_tests::control_plane::objects::{headless, service, service_in, slice};
use headless_tests::control_plane::{API, eventually};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::{ClusterDns, Fate, Pod};
use headless_tests::scene::{Scene, run};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

const NAME: &str = "web.default.svc.cluster.local";

/// An agent without the option `--listen`, as `deploy/base` starts it.
async fn agent<'a>(scene: &Scene<'a>, arguments: &[&str]) -> Agent<'a> {
    let cluster = &scene.cluster;
    cluster.create(&service("web", &headless())).await;
    let endpoints = [("10.0.0.1", None)];
    cluster.create(&slice("web-1", "web", &endpoints)).await;
    let kubeconfig = scene.plane.kubeconfig(API, &scene.token().await);
    let own = ["--kubeconfig", &kubeconfig];
    let mut agent = Agent::spawn(scene.node, &[&own[..], arguments].concat());
    agent.ready();
    agent
}

async fn problem(agent: &Agent<'_>, words: &str, shown: bool) {
    eventually(async || match agent.problems() {
        problems if problems.contains(words) == shown => Ok(()),
        problems => Err(problems),
    })
    .await;
}

/// Asks a server until the programs answer, or until they pass the query.
async fn reaches(pod: &Pod, server: &str, dns: &ClusterDns, answered: bool) {
    let client = pod.client_of(server.parse().unwrap());
    eventually(async || {
        let fate = client.follow(&Query::new(NAME, qtype::A), dns);
        match (&fate, answered) {
            (Fate::Passed, false) | (Fate::Answered(_), true) => Ok(()),
            _ => Err(format!("{server}: {fate:?}")),
        }
    })
    .await;
}

fn dns_service(name: &str, address: &str) -> Service {
    let ports = json!([{ "name": "dns", "port": 53, "protocol": "UDP" }]);
    let spec = json!({ "clusterIP": address, "ports": ports });
    service_in("kube-system", name, &spec)
}

#[test]
fn the_operator_hears_why_nothing_is_answered_without_a_dns_service() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        cluster.delete::<Service>("kube-system", "kube-dns").await;
        cluster
            .delete::<EndpointSlice>("kube-system", "kube-dns-1")
            .await;
        let (pod, dns) = (scene.node.pod("veth1", 9), scene.node.cluster_dns());
        let agent = agent(&scene, &[]).await;
        let words = "no question is answered: the Service kube-system/kube-dns does not exist";
        problem(&agent, words, true).await;
        assert_eq!(agent.get("/readyz").unwrap().0, 200);
        reaches(&pod, "10.96.0.10", &dns, false).await;
        cluster.create(&dns_service("kube-dns", "10.96.0.10")).await;
        reaches(&pod, "10.96.0.10", &dns, true).await;
        problem(&agent, words, false).await;
        cluster.delete::<Service>("kube-system", "kube-dns").await;
        reaches(&pod, "10.96.0.10", &dns, false).await;
        problem(&agent, words, true).await;
    });
}

#[test]
fn of_two_dns_services_the_named_one_is_answered() {
    run(&[], async |scene| {
        scene.node.ip("address add 10.96.0.11/32 dev lo");
        let first = scene.node.cluster_dns();
        let second = scene.node.cluster_dns_at([10, 96, 0, 11].into());
        let pod = scene.node.pod("veth1", 9);
        let other = dns_service("other-dns", "10.96.0.11");
        scene.cluster.create(&other).await;
        let named = ["--cluster-dns-service", "kube-system/other-dns"];
        for (arguments, answered) in [(&[][..], [true, false]), (&named[..], [false, true])] {
            let agent = agent(&scene, arguments).await;
            reaches(&pod, "10.96.0.10", &first, answered[0]).await;
            reaches(&pod, "10.96.0.11", &second, answered[1]).await;
            assert!(agent.number("/passes/not_served") > 0, "{}", agent.status());
            drop(agent);
            scene.cluster.delete::<Service>("default", "web").await;
            scene
                .cluster
                .delete::<EndpointSlice>("default", "web-1")
                .await;
        }
    });
}
