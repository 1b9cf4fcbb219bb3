//! The agent reads everything when it starts, and everything that has changed when it
//! starts again.

use headless_tests::control_plane::objects::{
    bare_slice, headless, managed, service, service_in, slice,
};
use headless_tests::control_plane::{API, eventually};
use headless_tests::frame::{Query, qtype};
use headless_tests::node::wait_for;
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use nix::sys::signal::Signal;
use serde_json::json;

use headless_tests::scene::{
    DNS_PODS, Scene, addresses, answer, answers, behind, count, missing, refused, run,
};

/// Creates a Service of every kind in the namespace `default`.
async fn fill(Scene { cluster, .. }: &Scene<'_>) {
    cluster.create(&service("web", &headless())).await;
    let endpoints = [("10.0.0.1", Some("web-0")), ("10.0.0.2", None)];
    cluster.create(&slice("web-1", "web", &endpoints)).await;
    let endpoints = [("fd00::1", Some("web-0"))];
    cluster.create(&slice("web-2", "web", &endpoints)).await;
    let dual = json!({
        "clusterIP": "10.96.0.20",
        "clusterIPs": ["10.96.0.20", "fd00:10:96::20"],
        "ipFamilyPolicy": "RequireDualStack",
        "selector": { "app": "api" },
        "ports": [{ "name": "http", "port": 80 }],
    });
    cluster.create(&service("api", &dual)).await;
    let mut endpoints = bare_slice("default", "api-1", "api", &[("10.0.1.1", None)]);
    managed(&mut endpoints);
    cluster.create(&endpoints).await;
    let name = json!({ "type": "ExternalName", "externalName": "web.default.svc.cluster.local" });
    cluster.create(&service("alias", &name)).await;
    // The controller makes no slices for a Service without a selector.
    let by_hand = json!({ "clusterIP": "None" });
    cluster.create(&service("db", &by_hand)).await;
    let endpoints = [("10.0.2.1", None)];
    cluster
        .create(&bare_slice("default", "db-1", "db", &endpoints))
        .await;
}

#[test]
fn all_objects_are_served_by_the_programs_and_the_agent() {
    run(&[], async |scene| {
        let pod = scene.node.pod("veth1", 9);
        fill(&scene).await;
        let agent = scene.agent(&["--endpoints", "headless"]).await;
        let ok = ResponseCode::NoError;

        // The programs answer these questions.
        let asked = |name: &str, qtype| {
            pod.addresses(&[name, ".default.svc.cluster.local"].concat(), qtype)
        };
        let texts = |name: &str, qtype| -> Vec<String> {
            asked(name, qtype).iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("web", qtype::A), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(texts("web", qtype::AAAA), ["fd00::1"]);
        assert_eq!(texts("web-0.web", qtype::A), ["10.0.0.1"]);
        assert_eq!(texts("10-0-0-2.web", qtype::A), ["10.0.0.2"]);
        assert_eq!(texts("api", qtype::A), ["10.96.0.20"]);
        assert_eq!(texts("api", qtype::AAAA), ["fd00:10:96::20"]);
        assert_eq!(texts("db", qtype::A), ["10.0.2.1"]);
        let none = pod.ask(&Query::new("no.default.svc.cluster.local", qtype::A));
        assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(agent.number("/answers/xdp"), 8);
        let status = agent.status();
        let servers: Vec<_> = status["servers"].as_array().unwrap().iter().collect();
        for address in ["10.96.0.10"].iter().chain(&DNS_PODS) {
            assert!(servers.contains(&&json!(address)), "{address}: {servers:?}");
        }

        // The agent's responder answers these questions.
        let srv = answer("_http._tcp.web.default.svc.cluster.local", qtype::SRV);
        let target = "web.default.svc.cluster.local.";
        let expected = [
            format!("SRV 0 33 8080 10-0-0-2.{target}"),
            format!("SRV 0 33 8080 web-0.{target}"),
        ];
        assert_eq!(srv, (ok, expected.to_vec()));
        let srv = answer("_http._tcp.api.default.svc.cluster.local", qtype::SRV);
        let expected = "SRV 0 50 80 api.default.svc.cluster.local.";
        assert_eq!(srv, (ok, vec![expected.to_owned()]));
        // A Service with a cluster IP may have the same endpoint.
        assert!(refused("1.0.0.10.in-addr.arpa", PTR));
        let ptr = answer("20.0.96.10.in-addr.arpa", PTR);
        let expected = "PTR api.default.svc.cluster.local.";
        assert_eq!(ptr, (ok, vec![expected.to_owned()]));
        let alias = answer("alias.default.svc.cluster.local", qtype::A).1;
        assert_eq!(
            alias,
            ["A 10.0.0.1", "A 10.0.0.2", &format!("CNAME {target}")]
        );
        // The agent does not watch endpoints of Services with cluster IPs.
        assert!(refused("10-0-1-1.api.default.svc.cluster.local", qtype::A));

        assert!(!behind(&agent));
        let slices = r#"headless_watch_events_total{kind="EndpointSlice",event="apply"}"#;
        assert_eq!(count(&agent, slices), 4, "web-1, web-2, db-1, kube-dns-1");
        let measured = "headless_dns_programming_duration_seconds_count";
        assert_eq!(count(&agent, measured), 0, "the first list is not measured");
        scene.cluster.set_addresses("db-1", &["10.0.2.2"]).await;
        addresses("db.default.svc.cluster.local", &["10.0.2.2"]).await;
        eventually(async || match count(&agent, measured) {
            1 => Ok(()),
            other => Err(format!("{other} durations")),
        })
        .await;
    });
}

/// Question type PTR.
const PTR: u16 = 12;

#[test]
fn all_endpoints_have_names_with_endpoints_all() {
    run(&[], async |scene| {
        fill(&scene).await;
        let agent = scene.agent(&["--endpoints", "all"]).await;
        let ok = ResponseCode::NoError;
        let name = "10-0-1-1.api.default.svc.cluster.local";
        answers(name, qtype::A, ok, &["A 10.0.1.1"]).await;
        let target = format!("PTR {name}.");
        answers("1.1.0.10.in-addr.arpa", PTR, ok, &[&target]).await;
        addresses("db.default.svc.cluster.local", &["10.0.2.1"]).await;
        // A slice that is made while the agent runs, without the controller's label.
        let endpoints = [("10.0.2.2", None)];
        let cluster = &scene.cluster;
        cluster
            .create(&bare_slice("default", "db-2", "db", &endpoints))
            .await;
        addresses("db.default.svc.cluster.local", &["10.0.2.1", "10.0.2.2"]).await;
        let status = agent.status();
        assert!(status["servers"].to_string().contains(DNS_PODS[1]));
    });
}

/// Addresses of several Services, of pods of the cluster's DNS, and of a node that runs the API
/// server and pods with `hostNetwork`.
#[test]
fn the_number_of_slices_decides_which_endpoints_have_names() {
    run(&[], async |scene| {
        fill(&scene).await;
        let cluster = &scene.cluster;
        let endpoints = [("10.0.1.1", None)];
        cluster.create(&service("pair", &headless())).await;
        let pair = slice("pair-1", "pair", &endpoints);
        cluster.create(&pair).await;
        let endpoints = [(DNS_PODS[0], None)];
        let metrics = json!({ "clusterIP": "None", "ports": [{ "name": "m", "port": 9153 }] });
        let metrics = service_in("kube-system", "dns-metrics", &metrics);
        cluster.create(&metrics).await;
        let mut metrics = bare_slice("kube-system", "m-1", "dns-metrics", &endpoints);
        managed(&mut metrics);
        cluster.create(&metrics).await;
        // The API server has made the Service. On this node it has no address to publish.
        let endpoints = [("192.0.2.1", None)];
        let own = bare_slice("default", "kubernetes", "kubernetes", &endpoints);
        cluster.create(&own).await;
        // A pod with `hostNetwork`.
        cluster.create(&service("node-exporter", &headless())).await;
        let exporter = slice("exporter-1", "node-exporter", &endpoints);
        cluster.create(&exporter).await;

        let ok = ResponseCode::NoError;
        let agent = scene.agent(&[]).await;
        let ptr = |labels: &str| format!("PTR {labels}.svc.cluster.local.");
        let two = ["api.default", "pair.default"].map(|of| ptr(&format!("10-0-1-1.{of}")));
        let two = two.each_ref().map(String::as_str);
        answers("1.1.0.10.in-addr.arpa", PTR, ok, &two).await;
        let dns = ["dns-metrics", "kube-dns"];
        let dns = dns.map(|of| ptr(&format!("10-244-0-2.{of}.kube-system")));
        let dns = dns.each_ref().map(String::as_str);
        answers("2.0.244.10.in-addr.arpa", PTR, ok, &dns).await;
        let one = ptr("10-0-0-2.web.default");
        answers("2.0.0.10.in-addr.arpa", PTR, ok, &[&one]).await;
        let node = ["kubernetes.default", "node-exporter.default"];
        let node = node.map(|of| ptr(&format!("192-0-2-1.{of}")));
        let node = node.each_ref().map(String::as_str);
        answers("1.2.0.192.in-addr.arpa", PTR, ok, &node).await;
        let notes = agent.status()["notes"].to_string();
        assert!(!notes.contains("EndpointSlices"), "{notes}");
        drop(agent);

        // web-1, web-2, api-1, db-1, pair-1, m-1, kube-dns-1, exporter-1, kubernetes.
        let agent = scene.agent(&["--endpoints-max", "8"]).await;
        assert!(refused("1.1.0.10.in-addr.arpa", PTR));
        assert!(refused("10-0-1-1.api.default.svc.cluster.local", qtype::A));
        let said = "has 9 EndpointSlices, more than --endpoints-max 8";
        assert!(agent.log().contains(said), "{}", agent.log());
        let notes = agent.status()["notes"].to_string();
        assert!(notes.contains(said), "{notes}");
        drop(agent);

        // A cluster that grows is told, and goes on to have its names.
        let agent = scene.agent(&["--endpoints-max", "9"]).await;
        answers("1.1.0.10.in-addr.arpa", PTR, ok, &two).await;
        let endpoints = [("10.0.2.7", None)];
        cluster
            .create(&bare_slice("default", "db-2", "db", &endpoints))
            .await;
        // Until then the agent leaves the reverse name to the cluster's DNS.
        addresses("db.default.svc.cluster.local", &["10.0.2.1", "10.0.2.7"]).await;
        let name = ptr("10-0-2-7.db.default");
        answers("7.2.0.10.in-addr.arpa", PTR, ok, &[&name]).await;
        let notes = agent.status()["notes"].to_string();
        assert!(notes.contains("grown to 10 EndpointSlices"), "{notes}");
    });
}

#[test]
fn slices_made_by_hand_come_change_and_go() {
    run(&[], async |scene| {
        let agent = scene.agent(&["--endpoints", "headless"]).await;
        let cluster = &scene.cluster;
        let name = "db.default.svc.cluster.local";
        // The slice exists before its Service does.
        let endpoints = [("10.0.2.1", None)];
        cluster
            .create(&bare_slice("default", "db-1", "db", &endpoints))
            .await;
        let by_hand = json!({ "clusterIP": "None" });
        cluster.create(&service("db", &by_hand)).await;
        addresses(name, &["10.0.2.1"]).await;
        cluster
            .set_addresses("db-1", &["10.0.2.2", "10.0.2.3"])
            .await;
        addresses(name, &["10.0.2.2", "10.0.2.3"]).await;
        // The label moves the slice to another watch of the agent, and back.
        for (value, address) in [(json!(""), "10.0.2.4"), (json!(null), "10.0.2.5")] {
            let patch = json!({
                "metadata": { "labels": { "service.kubernetes.io/headless": value } },
                "endpoints": [{ "addresses": [address] }],
            });
            cluster
                .patch::<EndpointSlice>("default", "db-1", &patch)
                .await;
            addresses(name, &[address]).await;
        }
        cluster.delete::<EndpointSlice>("default", "db-1").await;
        missing(name).await;

        // The cluster's DNS moves to another pod.
        let patch = json!({ "endpoints": [{ "addresses": ["10.244.0.4"] }] });
        cluster
            .patch::<EndpointSlice>("kube-system", "kube-dns-1", &patch)
            .await;
        wait_for(|| {
            let servers = agent.status()["servers"].to_string();
            let moved = servers.contains("10.244.0.4") && !servers.contains(DNS_PODS[0]);
            moved.then_some(()).ok_or(servers)
        });
    });
}

#[test]
fn an_agent_that_starts_again_finds_what_changed_meanwhile() {
    run(&[], async |scene| {
        let pod = scene.node.pod("veth1", 9);
        fill(&scene).await;
        let token = scene.token().await;
        let mut agent = scene.spawn(API, &token, &[]);
        agent.ready();
        addresses(
            "web.default.svc.cluster.local",
            &["10.0.0.1", "10.0.0.2", "fd00::1"],
        )
        .await;
        agent.signal(Signal::SIGTERM);
        assert!(agent.wait().success());
        let cluster = &scene.cluster;
        cluster.delete::<Service>("default", "api").await;
        cluster.set_addresses("web-1", &["10.0.0.3"]).await;
        cluster.create(&service("new", &headless())).await;
        cluster
            .create(&slice("new-1", "new", &[("10.0.3.1", None)]))
            .await;
        let mut again = scene.spawn(API, &token, &[]);
        again.ready();
        addresses("web.default.svc.cluster.local", &["10.0.0.3", "fd00::1"]).await;
        addresses("new.default.svc.cluster.local", &["10.0.3.1"]).await;
        missing("api.default.svc.cluster.local").await;
        let texts = pod.addresses("new.default.svc.cluster.local", qtype::A);
        assert_eq!(texts, ["10.0.3.1".parse::<std::net::IpAddr>().unwrap()]);
        assert!(again.number("/answers/xdp") >= 1);
    });
}
