//! Objects of every kind are created, changed and deleted, and the answers follow.

use headless_tests::control_plane::objects::{headless, pod, service, service_in, slice};
use headless_tests::control_plane::{API, account};
use headless_tests::frame::qtype;
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use headless_tests::scene::{addresses, answer, answers, missing, run};

const OK: ResponseCode = ResponseCode::NoError;

#[test]
fn namespaces_come_and_go() {
    run(&[], async |scene| {
        let _agent = scene.agent(&[]).await;
        let cluster = &scene.cluster;
        missing("shop.svc.cluster.local").await;
        cluster.create_namespace("shop").await;
        answers("shop.svc.cluster.local", qtype::A, OK, &[]).await;
        let spec = json!({ "clusterIP": "10.96.0.30", "ports": [{ "port": 80 }] });
        cluster.create(&service_in("shop", "cart", &spec)).await;
        addresses("cart.shop.svc.cluster.local", &["10.96.0.30"]).await;
        answers(
            "10-1-2-3.shop.pod.cluster.local",
            qtype::A,
            OK,
            &["A 10.1.2.3"],
        )
        .await;
        cluster.delete::<Service>("shop", "cart").await;
        cluster.delete_namespace("shop").await;
        missing("shop.svc.cluster.local").await;
        missing("cart.shop.svc.cluster.local").await;
        missing("10-1-2-3.shop.pod.cluster.local").await;
    });
}

#[test]
fn services_of_every_kind_come_change_and_go() {
    run(&[], async |scene| {
        let _agent = scene.agent(&[]).await;
        let cluster = &scene.cluster;
        let name = "shop.default.svc.cluster.local";
        let ports = json!([{ "name": "http", "port": 80 }]);
        for kind in ["ClusterIP", "NodePort", "LoadBalancer"] {
            let spec = json!({ "type": kind, "clusterIP": "10.96.0.40", "ports": ports });
            cluster.create(&service("shop", &spec)).await;
            addresses(name, &["10.96.0.40"]).await;
            let port = "_http._tcp.shop.default.svc.cluster.local";
            let expected = |port| format!("SRV 0 100 {port} {name}.");
            answers(port, qtype::SRV, OK, &[&expected(80)]).await;
            let patch = json!({ "spec": { "ports": [{ "name": "http", "port": 81 }] } });
            cluster.patch::<Service>("default", "shop", &patch).await;
            answers(port, qtype::SRV, OK, &[&expected(81)]).await;
            cluster.delete::<Service>("default", "shop").await;
            missing(name).await;
        }

        let spec = json!({ "type": "ExternalName", "externalName": "kubernetes.default.svc.cluster.local" });
        cluster.create(&service("shop", &spec)).await;
        let address = answer("kubernetes.default.svc.cluster.local", qtype::A).1;
        assert_eq!(address, ["A 10.96.0.1"], "the API server's own Service");
        let chain = ["A 10.96.0.1", "CNAME kubernetes.default.svc.cluster.local."];
        answers(name, qtype::A, OK, &chain).await;
        // The Service becomes headless and then gets an endpoint.
        let patch =
            json!({ "spec": { "type": "ClusterIP", "externalName": null, "clusterIP": "None" } });
        cluster.patch::<Service>("default", "shop", &patch).await;
        missing(name).await;
        cluster
            .create(&slice("shop-1", "shop", &[("10.0.4.1", None)]))
            .await;
        addresses(name, &["10.0.4.1"]).await;
        cluster.delete::<Service>("default", "shop").await;
        missing(name).await;
        cluster.create(&service("shop", &headless())).await;
        addresses(name, &["10.0.4.1"]).await;
    });
}

#[test]
fn slices_come_change_and_go() {
    run(&[], async |scene| {
        let _agent = scene.agent(&[]).await;
        let cluster = &scene.cluster;
        let name = "web.default.svc.cluster.local";
        cluster.create(&service("web", &headless())).await;
        missing(name).await;
        cluster
            .create(&slice("web-1", "web", &[("10.0.0.1", Some("web-0"))]))
            .await;
        addresses(name, &["10.0.0.1"]).await;
        addresses("web-0.web.default.svc.cluster.local", &["10.0.0.1"]).await;
        // An address in two slices gives one record.
        let endpoints = [("10.0.0.1", None), ("10.0.0.2", None)];
        cluster.create(&slice("web-2", "web", &endpoints)).await;
        addresses(name, &["10.0.0.1", "10.0.0.2"]).await;
        // The endpoint web-0 becomes unready, so its name is gone. Its address stays,
        // because web-2 has it too.
        let patch = json!({ "endpoints": [
            { "addresses": ["10.0.0.1"], "hostname": "web-0", "conditions": { "ready": false } },
            { "addresses": ["10.0.0.3"], "hostname": "web-1", "conditions": { "ready": true } },
        ]});
        cluster
            .patch::<EndpointSlice>("default", "web-1", &patch)
            .await;
        missing("web-0.web.default.svc.cluster.local").await;
        addresses(name, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]).await;
        cluster.delete::<EndpointSlice>("default", "web-2").await;
        addresses(name, &["10.0.0.3"]).await;
        cluster.delete::<EndpointSlice>("default", "web-1").await;
        missing(name).await;
        missing("web-1.web.default.svc.cluster.local").await;
    });
}

#[test]
fn verified_pods_come_change_and_go() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        let folders = ["base", "components/pods-verified"];
        let token = account::token(&cluster.0, &folders, |_| {}).await;
        let first = |address: &str| json!({ "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] });
        cluster.create(&pod("early")).await;
        cluster.set_status("early", &first("10.244.1.1")).await;
        cluster.create(&pod("done")).await;
        let mut over = first("10.244.1.2");
        over["phase"] = json!("Succeeded");
        cluster.set_status("done", &over).await;

        let mut agent = scene.spawn(API, &token, &["--pods", "verified"]);
        agent.ready();
        let name = |text: &str| format!("{text}.default.pod.cluster.local");
        addresses(&name("10-244-1-1"), &["10.244.1.1"]).await;
        missing(&name("10-244-1-2")).await;
        missing(&name("10-244-1-3")).await;
        cluster.create(&pod("late")).await;
        cluster.set_status("late", &first("10.244.1.3")).await;
        addresses(&name("10-244-1-3"), &["10.244.1.3"]).await;
        cluster
            .set_status("late", &json!({ "phase": "Failed" }))
            .await;
        missing(&name("10-244-1-3")).await;
        cluster.delete::<Pod>("default", "early").await;
        missing(&name("10-244-1-1")).await;
    });
}
