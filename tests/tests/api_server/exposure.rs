//! The agent makes names of the objects that CoreDNS selects by its Corefile.

use headless_tests::agent::Agent;
use headless_tests::control_plane::eventually;
use headless_tests::control_plane::objects::{headless, service, slice};
use headless_tests::scene::{DNS_PODS, Scene, addresses, answers, count, missing, run};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

const WEB: &str = "web.default.svc.cluster.local";
const API: &str = "api.default.svc.cluster.local";

/// Question type PTR.
const PTR: u16 = 12;

/// An agent whose Corefile has these options of `kubernetes`.
async fn agent<'a>(scene: &Scene<'a>, options: &str, arguments: &[&str]) -> Agent<'a> {
    let text = format!(
        ".:53 {{\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n {options}\n }}\n reload\n}}\n"
    );
    let path = scene.plane.file("Corefile", &text);
    let own = ["--corefile-file", &path];
    scene.agent(&[&own[..], arguments].concat()).await
}

/// Sets the labels of a Namespace. Null takes a label away.
async fn label_namespace(scene: &Scene<'_>, name: &str, labels: &Value) {
    let patch = json!({ "metadata": { "labels": labels } });
    let namespaces = kube::Api::<Namespace>::all(scene.cluster.0.clone());
    let patch = kube::api::Patch::Merge(&patch);
    let parameters = kube::api::PatchParams::default();
    namespaces.patch(name, &parameters, &patch).await.unwrap();
}

/// Waits until the addresses of the cluster's DNS are served.
async fn serves_the_cluster_dns(agent: &Agent<'_>) {
    eventually(async || {
        let servers = agent.status()["servers"].to_string();
        let all = ["10.96.0.10", DNS_PODS[0], DNS_PODS[1]];
        let served = all.iter().all(|address| servers.contains(address));
        served.then_some(()).ok_or(servers)
    })
    .await;
}

/// `web` is headless and has two endpoints, `api` has a cluster IP and no endpoint.
async fn fill(scene: &Scene<'_>) {
    let cluster = &scene.cluster;
    cluster.create(&service("web", &headless())).await;
    let endpoints = [("10.0.0.1", None), ("10.0.0.2", None)];
    cluster.create(&slice("web-1", "web", &endpoints)).await;
    let api = json!({ "clusterIP": "10.96.0.77", "ports": [{ "port": 80 }] });
    cluster.create(&service("api", &api)).await;
}

#[test]
fn objects_whose_labels_change_come_and_go() {
    run(&[], async |scene| {
        fill(&scene).await;
        let cluster = &scene.cluster;
        let team = |value| json!({ "metadata": { "labels": { "team": value } } });
        let options = "namespace_labels dns in (on, yes)\n labels team notin (b)";
        let agent = agent(&scene, options, &[]).await;
        // The cluster's DNS is in a namespace without a name.
        serves_the_cluster_dns(&agent).await;
        missing("kube-dns.kube-system.svc.cluster.local").await;
        missing(WEB).await;
        label_namespace(&scene, "default", &json!({ "dns": "yes" })).await;
        addresses(WEB, &["10.0.0.1", "10.0.0.2"]).await;
        addresses(API, &["10.96.0.77"]).await;

        cluster.patch::<Service>("default", "web", &team("b")).await;
        missing(WEB).await;
        cluster.patch::<Service>("default", "web", &team("a")).await;
        addresses(WEB, &["10.0.0.1", "10.0.0.2"]).await;
        cluster
            .patch::<EndpointSlice>("default", "web-1", &team("b"))
            .await;
        missing(WEB).await;
        let dns = ("kube-system", "kube-dns");
        cluster.patch::<Service>(dns.0, dns.1, &team("b")).await;
        cluster
            .patch::<EndpointSlice>(dns.0, "kube-dns-1", &team("b"))
            .await;
        // Events of one kind come in order.
        cluster
            .patch::<EndpointSlice>("default", "web-1", &team("a"))
            .await;
        addresses(WEB, &["10.0.0.1", "10.0.0.2"]).await;
        cluster.patch::<Service>("default", "api", &team("b")).await;
        missing(API).await;
        cluster.patch::<Service>("default", "api", &team("a")).await;
        addresses(API, &["10.96.0.77"]).await;
        serves_the_cluster_dns(&agent).await;

        label_namespace(&scene, "default", &json!({ "dns": "off" })).await;
        missing(WEB).await;
        missing(API).await;
        // Reverse names do not depend on the labels of namespaces.
        let name = format!("PTR {API}.");
        let ok = ResponseCode::NoError;
        answers("77.0.96.10.in-addr.arpa", PTR, ok, &[&name]).await;
        label_namespace(&scene, "default", &json!({ "dns": null })).await;
        missing(API).await;
        assert_eq!(agent.status()["left_to_coredns"], json!([]));
        assert_eq!(agent.status()["reported"], json!([]), "nothing is wrong");
    });
}

#[test]
fn endpoints_decide_as_in_coredns() {
    run(&[], async |scene| {
        fill(&scene).await;
        let without = agent(&scene, "noendpoints", &["--endpoints", "headless"]).await;
        serves_the_cluster_dns(&without).await;
        missing(WEB).await;
        missing("10-0-0-9.api.default.svc.cluster.local").await;
        addresses(API, &["10.96.0.77"]).await;
        let slices = r#"headless_watch_events_total{kind="EndpointSlice",event="apply"}"#;
        assert_eq!(count(&without, slices), 1, "kube-dns-1 alone is watched");
        drop(without);

        let headless = agent(&scene, "ignore empty_service", &["--endpoints", "headless"]).await;
        eventually(async || {
            let problems = headless.problems();
            let told = problems.contains("It answers with --endpoints all");
            let left = &headless.status()["left_to_coredns"];
            let is_left = *left == json!(["zone"]);
            (told && is_left).then_some(()).ok_or(problems)
        })
        .await;
        drop(headless);

        // The cluster is small, so the agent watches the endpoints of all Services.
        let auto = agent(&scene, "ignore empty_service", &[]).await;
        eventually(async || {
            let left = auto.status()["left_to_coredns"].clone();
            (left == json!([])).then_some(()).ok_or(left.to_string())
        })
        .await;
        missing(API).await;
        addresses(WEB, &["10.0.0.1", "10.0.0.2"]).await;
        let endpoints = slice("api-1", "api", &[("10.0.0.9", None)]);
        scene.cluster.create(&endpoints).await;
        addresses(API, &["10.96.0.77"]).await;
        let empty = json!({ "endpoints": [] });
        scene
            .cluster
            .patch::<EndpointSlice>("default", "api-1", &empty)
            .await;
        missing(API).await;
    });
}
