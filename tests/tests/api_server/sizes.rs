//! The maps' sizes follow the cluster, also where a sample says how large it is.

use headless_tests::agent::Agent;
use headless_tests::control_plane::objects::{
    Cluster, bare_slice, headless, managed, service, service_in, slice,
};
use headless_tests::control_plane::{API, account, eventually};
use headless_tests::frame::qtype;
use headless_tests::node::Pod;
use serde_json::{Value, json};

use crate::failures::without;
use headless_tests::scene::{Scene, run};

/// More than a page of 500.
const MANY: usize = 600;

/// A log line of an agent that makes its maps a second time.
const AGAIN: &str = "the programs are loaded again";

/// The address of an endpoint of Service `i`.
fn address(i: usize, endpoint: usize) -> String {
    format!("10.{}.{}.{endpoint}", 1 + i / 256, i % 256)
}

/// Makes headless Services with slices of so many endpoints.
async fn fill(cluster: &Cluster, endpoints: usize) {
    let services = (0..MANY).map(|i| service(&format!("s{i}"), &headless()));
    cluster.create_all(services.collect()).await;
    let slices = (0..MANY).map(|i| {
        let addresses: Vec<_> = (0..endpoints).map(|e| address(i, e)).collect();
        let endpoints: Vec<_> = addresses.iter().map(|at| (at.as_str(), None)).collect();
        slice(&format!("s{i}-1"), &format!("s{i}"), &endpoints)
    });
    cluster.create_all(slices.collect()).await;
}

/// Starts an agent that has loaded its programs before it can read any list of slices:
/// the samples alone tell it how large the cluster is. The server does not count the slices that
/// `--endpoints headless` selects. Returns it when it is ready, and
/// how many regular endpoints the first maps had room for.
async fn sampled<'a>(scene: &Scene<'a>) -> (Agent<'a>, u64) {
    let lack = without("endpointslices", "watch");
    let token = account::token(&scene.cluster.0, &["base"], lack).await;
    let mut agent = scene.spawn(API, &token, &["--endpoints", "headless"]);
    let mut sampled = 0;
    eventually(async || {
        let (_, readiness) = agent.get("/readyz")?;
        let status = agent.status();
        let capacity = status.pointer(CAPACITY).and_then(Value::as_u64);
        match capacity {
            Some(capacity) if readiness.contains("not allowed to watch endpointslices") => {
                sampled = capacity;
                Ok(())
            }
            _ => Err(format!("{readiness}\n{}", agent.log())),
        }
    })
    .await;
    scene.token().await;
    agent.ready();
    (agent, sampled)
}

/// Where the status says how many regular endpoints the maps have room for.
const CAPACITY: &str = "/maps/endpoints/capacity";

/// The kernel answers for the last endpoint of a Service, and the maps hold all names.
fn answered(agent: &Agent<'_>, pod: &Pod, service: &str, address: &str) {
    let before = agent.kernel_answers();
    let name = format!("{}.{service}.svc.cluster.local", address.replace('.', "-"));
    let found = pod.addresses(&name, qtype::A);
    assert_eq!(found, [address.parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(agent.kernel_answers(), before + 1);
    let differing = agent.run(&["dump", "--differing", "--output", "json"]);
    assert_eq!(differing.trim(), "[]");
}

#[test]
fn a_page_says_how_large_the_cluster_is() {
    run(&[], async |scene| {
        let pod = scene.node.pod("veth1", 9);
        fill(&scene.cluster, 8).await;
        // The API server counts these slices, too, where no selector is given.
        let own = (0..MANY).map(|i| {
            let mut slice = bare_slice("default", &format!("x{i}"), "x", &[("10.9.9.9", None)]);
            managed(&mut slice);
            slice
        });
        scene.cluster.create_all(own.collect()).await;
        let (agent, capacity) = sampled(&scene).await;
        let log = agent.log();
        assert!(!log.contains(AGAIN), "{log}");
        assert_eq!(agent.number(CAPACITY), capacity);
        assert!(!log.contains("once the whole cluster"), "{log}");
        let twice = 2 * 8 * MANY as u64;
        let range = twice..twice * 5 / 4;
        assert!(range.contains(&capacity), "{capacity}, not {range:?}");
        answered(&agent, &pod, "s599.default", &address(599, 7));
    });
}

#[test]
fn maps_that_turn_out_too_small_are_made_again() {
    run(&[], async |scene| {
        let pod = scene.node.pod("veth1", 9);
        let cluster = &scene.cluster;
        fill(cluster, 1).await;
        // Behind the first page are slices that are a hundred times as large.
        cluster.create_namespace("zoo").await;
        cluster
            .create(&service_in("zoo", "large", &headless()))
            .await;
        let slices = (0..100).map(|i| {
            let addresses: Vec<_> = (0..100).map(|e| format!("10.100.{i}.{e}")).collect();
            let endpoints: Vec<_> = addresses.iter().map(|at| (at.as_str(), None)).collect();
            let mut slice = bare_slice("zoo", &format!("large-{i}"), "large", &endpoints);
            managed(&mut slice);
            let labels = slice.metadata.labels.get_or_insert_default();
            labels.insert("service.kubernetes.io/headless".into(), String::new());
            slice
        });
        cluster.create_all(slices.collect()).await;
        let (agent, sampled) = sampled(&scene).await;
        let (log, capacity) = (agent.log(), agent.number(CAPACITY));
        assert!(sampled < 10_000, "{sampled} are too many for this test");
        assert_eq!(log.matches(AGAIN).count(), 1, "{log}");
        let twice = 2 * (10_000 + MANY as u64);
        let range = twice..twice * 5 / 4;
        assert!(range.contains(&capacity), "{capacity}, not {range:?}");
        answered(&agent, &pod, "large.zoo", "10.100.99.99");
        answered(&agent, &pod, "s599.default", &address(599, 0));
    });
}

/// Streamed lists need the verb `watch` alone, samples need `list`.
#[test]
fn the_cluster_is_read_first_where_no_sample_can_be() {
    run(&[], async |scene| {
        let pod = scene.node.pod("veth1", 9);
        let cluster = &scene.cluster;
        let spec = json!({ "clusterIP": "None" });
        cluster.create(&service("web", &spec)).await;
        let web = slice("web-1", "web", &[("10.0.0.1", None)]);
        cluster.create(&web).await;
        let lack = |rules: &mut Value| {
            without("endpointslices", "list")(rules);
            without("endpointslices", "watch")(rules);
        };
        let token = account::token(&cluster.0, &["base"], lack).await;
        // Otherwise the agent asks for the number of slices until it may.
        let mut agent = scene.spawn(API, &token, &["--endpoints", "all"]);
        eventually(async || {
            let log = agent.log();
            let waits = log.contains("once the whole cluster has been read");
            let named = log.contains("cannot list endpointslices.discovery.k8s.io");
            (waits && named).then_some(()).ok_or(log)
        })
        .await;
        assert_eq!(agent.status().pointer(CAPACITY), None, "nothing is loaded");
        let lack = without("endpointslices", "list");
        account::token(&cluster.0, &["base"], lack).await;
        agent.ready();
        assert!(!agent.log().contains(AGAIN), "{}", agent.log());
        answered(&agent, &pod, "web.default", "10.0.0.1");
    });
}
