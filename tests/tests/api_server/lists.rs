//! A watch that breaks off may lead to a relist. After it no stale name is left, and
//! before it every known name is answered.

use headless_tests::agent::Agent;
use headless_tests::control_plane::line::Line;
use headless_tests::control_plane::objects::{
    Cluster, bare_slice, headless, service, service_in, slice,
};
use headless_tests::control_plane::{API, SECOND_API, eventually};
use headless_tests::frame::{Query, qtype};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use headless_tests::scene::{addresses, answer, answers, behind, count, missing, run};

/// Port of the proxy in front of the API server.
const LINE: u16 = 6445;

const OK: ResponseCode = ResponseCode::NoError;

const KEPT: &str = "kept.default.svc.cluster.local";

/// Creates the objects that exist before the agent loses the API server.
async fn before(cluster: &Cluster) {
    cluster.create_namespace("old").await;
    let spec = json!({ "clusterIP": "10.96.0.50", "ports": [{ "port": 80 }] });
    cluster.create(&service_in("old", "cart", &spec)).await;
    for name in ["kept", "gone", "bare"] {
        cluster.create(&service(name, &headless())).await;
    }
    for (name, address) in [("kept", "10.0.0.1"), ("gone", "10.0.0.2")] {
        let endpoints = [(address, Some(name))];
        cluster
            .create(&slice(&format!("{name}-1"), name, &endpoints))
            .await;
    }
    let endpoints = [("10.0.0.3", None)];
    cluster
        .create(&bare_slice("default", "bare-1", "bare", &endpoints))
        .await;
}

/// Waits until the agent answers from all objects that [`before`] created.
async fn seen() {
    addresses(KEPT, &["10.0.0.1"]).await;
    addresses("gone.default.svc.cluster.local", &["10.0.0.2"]).await;
    addresses("bare.default.svc.cluster.local", &["10.0.0.3"]).await;
    addresses("cart.old.svc.cluster.local", &["10.96.0.50"]).await;
}

/// Deletes, changes and creates objects of every kind and of every watch.
async fn change(cluster: &Cluster) {
    cluster.delete::<Service>("old", "cart").await;
    cluster.delete_namespace("old").await;
    cluster.delete::<Service>("default", "gone").await;
    cluster.delete::<EndpointSlice>("default", "gone-1").await;
    cluster.delete::<EndpointSlice>("default", "bare-1").await;
    cluster.set_addresses("kept-1", &["10.0.0.4"]).await;
    cluster.create_namespace("new").await;
    let spec = json!({ "clusterIP": "10.96.0.51", "ports": [{ "port": 80 }] });
    cluster.create(&service_in("new", "cart", &spec)).await;
}

/// Waits until the agent answers from the objects after [`change`], and has forgotten the
/// deleted ones.
async fn changed() {
    addresses(KEPT, &["10.0.0.4"]).await;
    missing("kept.kept.default.svc.cluster.local").await;
    missing("gone.default.svc.cluster.local").await;
    missing("gone.gone.default.svc.cluster.local").await;
    missing("bare.default.svc.cluster.local").await;
    missing("cart.old.svc.cluster.local").await;
    missing("old.svc.cluster.local").await;
    addresses("cart.new.svc.cluster.local", &["10.96.0.51"]).await;
    answers("new.svc.cluster.local", qtype::A, OK, &[]).await;
}

/// Number of lists, and of watches that failed because their version was too old (410
/// Gone), over all kinds.
fn lists(agent: &Agent<'_>) -> (u64, u64) {
    let sum = |name: &str, labels: &str| -> u64 {
        let sample = |kind| format!("{name}{{kind=\"{kind}\",{labels}}}");
        let kinds = ["Namespace", "Service", "EndpointSlice"];
        kinds.iter().map(|kind| count(agent, &sample(kind))).sum()
    };
    (
        sum("headless_watch_events_total", r#"event="list""#),
        sum("headless_watch_errors_total", r#"reason="gone""#),
    )
}

/// Waits until the agent's objects are current.
async fn current(agent: &Agent<'_>) {
    eventually(async || {
        if behind(agent) {
            Err("the agent is behind".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
}

#[test]
fn a_relist_after_a_compacted_version_leaves_nothing_stale() {
    // Without its watch cache the API server watches etcd, which has forgotten the
    // versions before the compaction.
    run(&["--watch-cache=false"], async |scene| {
        let line = Line::new(LINE, API);
        before(&scene.cluster).await;
        let mut agent = scene.spawn(LINE, &scene.token().await, &[]);
        agent.ready();
        seen().await;
        let (listed, gone) = lists(&agent);
        assert_eq!(gone, 0);

        line.cut();
        change(&scene.cluster).await;
        scene.plane.compact().await;
        // The agent does not know of the change, and answers from the objects it knows.
        seen().await;
        line.restore();
        changed().await;
        current(&agent).await;
        let (again, gone) = lists(&agent);
        assert!(gone >= 3, "{gone} versions were too old");
        assert!(again > listed, "lists: {listed}, then {again}");
    });
}

#[test]
fn a_watch_continues_after_a_cut_connection_without_a_relist() {
    run(&[], async |scene| {
        let line = Line::new(LINE, API);
        before(&scene.cluster).await;
        let mut agent = scene.spawn(LINE, &scene.token().await, &[]);
        agent.ready();
        seen().await;
        let before = lists(&agent);
        line.cut();
        change(&scene.cluster).await;
        line.restore();
        changed().await;
        assert_eq!(lists(&agent), before, "the versions were still known");
    });
}

#[test]
fn the_agent_catches_up_after_an_outage_of_the_api_server() {
    run(&[], async |mut scene| {
        let pod = scene.node.pod("veth1", 9);
        before(&scene.cluster).await;
        let agent = scene.agent(&[]).await;
        seen().await;
        scene.plane.start_second().await;
        scene.plane.stop_server();
        change(&Cluster(scene.plane.client(SECOND_API).await)).await;
        eventually(async || {
            if behind(&agent) {
                Ok(())
            } else {
                Err("the agent has not noticed the outage".to_owned())
            }
        })
        .await;
        // The agent and the programs answer from the objects of before the outage.
        seen().await;
        let kernel = agent.number("/answers/xdp");
        let reply = pod.ask(&Query::new(KEPT, qtype::A));
        assert_eq!(reply.answers.len(), 1);
        let reply = pod.ask(&Query::new("no.default.svc.cluster.local", qtype::A));
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(agent.number("/answers/xdp"), kernel + 2);
        assert_eq!(agent.get("/readyz").unwrap().0, 200);
        // Each watch notices the outage at a moment of its own.
        let watching = "cannot watch services";
        let stale = "the Corefile may have changed since: cannot read the ConfigMap";
        eventually(async || {
            let problems = agent.problems();
            let are_told = problems.contains(watching) && problems.contains(stale);
            are_told.then_some(()).ok_or(problems)
        })
        .await;
        eventually(async || {
            let (_, ready) = agent.get("/readyz").unwrap();
            ready.contains(stale).then_some(()).ok_or(ready)
        })
        .await;
        let errors = r#"headless_watch_errors_total{kind="ConfigMap",reason="unreachable"}"#;
        let metrics = agent.metrics();
        let count = metrics.lines().find_map(|line| line.strip_prefix(errors));
        assert_ne!(count, Some(" 0"), "{metrics}");
        assert!(count.is_some(), "{metrics}");

        scene.plane.start_server().await;
        changed().await;
        current(&agent).await;
        let problems = agent.problems();
        assert!(!problems.contains("cannot watch"), "{problems}");
        eventually(async || {
            let problems = agent.problems();
            let is_over = !problems.contains(stale);
            is_over.then_some(()).ok_or(problems)
        })
        .await;
    });
}

#[test]
fn lists_are_read_in_pages_if_the_server_does_not_stream_them() {
    run(&["--feature-gates=WatchList=false"], async |scene| {
        let cluster = &scene.cluster;
        // A page has 500 objects.
        let services = (0..520).map(|i| service(&format!("s{i}"), &headless()));
        cluster.create_all(services.collect()).await;
        let slices = (0..520).map(|i| {
            let address = format!("10.1.{}.{}", i / 256, i % 256);
            slice(&format!("s{i}-1"), &format!("s{i}"), &[(&address, None)])
        });
        cluster.create_all(slices.collect()).await;
        let agent = scene.agent(&[]).await;
        assert!(
            agent.log().contains("does not stream lists"),
            "{}",
            agent.log()
        );
        for i in 0..520 {
            let address = format!("A 10.1.{}.{}", i / 256, i % 256);
            let name = format!("s{i}.default.svc.cluster.local");
            assert_eq!(answer(&name, qtype::A), (OK, vec![address]));
        }
        cluster.set_addresses("s7-1", &["10.9.9.9"]).await;
        addresses("s7.default.svc.cluster.local", &["10.9.9.9"]).await;
    });
}

#[test]
fn two_thousand_changes_at_once_end_in_the_right_state() {
    run(&[], async |scene| {
        let pod = scene.node.pod("veth1", 9);
        let cluster = &scene.cluster;
        let agent = scene.agent(&[]).await;
        let services = (0..500).map(|i| service(&format!("s{i}"), &headless()));
        let made = (0..500).map(|i| {
            let address = format!("10.1.{}.{}", i / 256, i % 256);
            slice(&format!("s{i}-1"), &format!("s{i}"), &[(&address, None)])
        });
        // 1,000 objects are created, Services and slices at the same time.
        tokio::join!(
            cluster.create_all(services.collect()),
            cluster.create_all(made.collect())
        );
        // 1,000 changes follow. Every slice changes. Then every fifth is deleted with its
        // Service, and the others change once more.
        let names: Vec<_> = (0..500).collect();
        let change = async |i: i32| {
            let name = format!("s{i}-1");
            let address = format!("10.2.{}.{}", i / 256, i % 256);
            cluster.set_addresses(&name, &[&address]).await;
            if i % 5 == 0 {
                cluster.delete::<EndpointSlice>("default", &name).await;
                cluster.delete::<Service>("default", &format!("s{i}")).await;
            } else {
                let address = format!("10.3.{}.{}", i / 256, i % 256);
                cluster.set_addresses(&name, &[&address]).await;
            }
        };
        let names = futures::stream::iter(names);
        futures::StreamExt::for_each_concurrent(names, 24, change).await;
        addresses("s499.default.svc.cluster.local", &["10.3.1.243"]).await;
        for i in 0..500 {
            let name = format!("s{i}.default.svc.cluster.local");
            if i % 5 == 0 {
                missing(&name).await;
            } else {
                let address = format!("10.3.{}.{}", i / 256, i % 256);
                addresses(&name, &[&address]).await;
                // The programs give the agent's answer.
                let kernel = pod.addresses(&name, qtype::A);
                assert_eq!(kernel, [address.parse::<std::net::IpAddr>().unwrap()]);
            }
        }
        assert!(agent.number("/answers/xdp") >= 400);
        let differing = agent.run(&["dump", "--differing", "--output", "json"]);
        assert_eq!(differing.trim(), "[]");
    });
}
