//! Objects as large as the API server accepts them, in another tenant's namespace.

use std::pin::pin;
use std::time::Duration;

use headless_tests::agent::Agent;
use headless_tests::control_plane::eventually;
use headless_tests::control_plane::objects::{
    Cluster, headless, object, service, service_in, slice,
};
use headless_tests::frame::qtype;
use headless_tests::node::Pod;
use headless_tests::scene::{refused, run};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// Most memory that the agent may take at any time, in kB.
const PEAK_MAX: u64 = 256 << 10;

/// The slice `n` of a Service in the namespace `evil`. It belongs to the first watch of slices.
fn evil(service: &str, n: usize, endpoints: &[Value], ports: usize) -> EndpointSlice {
    let port = |i: usize| json!({ "name": format!("p{i}"), "port": i + 1, "protocol": "TCP" });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{n}"), "namespace": "evil",
            "labels": {
                "kubernetes.io/service-name": service,
                "service.kubernetes.io/headless": "",
            },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": (0..ports).map(port).collect::<Vec<_>>(),
    });
    object(slice)
}

/// A thousand endpoints of `each` addresses, no two alike.
fn endpoints(n: usize, each: usize, hostname: Option<&str>) -> Vec<Value> {
    let address = |e: usize, a: usize| {
        let number = e * each + a;
        let (block, rest) = (number / 62_500, number % 62_500);
        format!("10.{}.{}.{}", 100 + 2 * n + block, rest / 250, rest % 250)
    };
    let endpoint = |e: usize| {
        let addresses: Vec<_> = (0..each).map(|a| address(e, a)).collect();
        match hostname {
            Some(hostname) => json!({ "addresses": addresses, "hostname": hostname }),
            None => json!({ "addresses": addresses }),
        }
    };
    (0..1000).map(endpoint).collect()
}

/// Makes the worst objects, or changes them.
async fn attack(cluster: &Cluster, round: usize) {
    let wide = evil("wide", round, &endpoints(0, 4, None), 20_000);
    cluster.create(&wide).await;
    for n in 0..2 {
        let same = endpoints(10 + n, 100, Some("same"));
        cluster
            .create(&evil("same", 10 * round + n, &same, 1))
            .await;
    }
    for n in 0..4 {
        let many = endpoints(20 + n, 100, None);
        cluster
            .create(&evil("many", 10 * round + n, &many, 1))
            .await;
    }
}

/// Most memory that the agent has taken, in kB.
fn peak(agent: &Agent<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// The age of the last heartbeat, in seconds.
fn heartbeat_age(agent: &Agent<'_>) -> f64 {
    let (_, metrics) = agent.get("/metrics").unwrap();
    let mut lines = metrics.lines();
    let age = lines.find_map(|line| line.strip_prefix("headless_heartbeat_age_seconds "));
    age.unwrap().parse().unwrap()
}

/// The kernel answers and denies for the other tenant, and the agent is alive.
fn unharmed(agent: &Agent<'_>, pod: &Pod, address: &str) {
    let before = agent.kernel_answers();
    let name = "web.default.svc.cluster.local";
    let found = pod.addresses(name, qtype::A);
    assert_eq!(found, [address.parse::<std::net::IpAddr>().unwrap()]);
    assert!(pod.addresses(&format!("no.{name}"), qtype::A).is_empty());
    assert_eq!(agent.kernel_answers(), before + 2, "{}", agent.problems());
    let (status, text) = agent.get("/livez").unwrap();
    assert_eq!(status, 200, "{text}");
}

#[test]
fn objects_of_any_size_harm_no_other_tenant() {
    run(&[], async |scene| {
        let (pod, cluster) = (scene.node.pod("veth1", 9), &scene.cluster);
        cluster.create(&service("web", &headless())).await;
        let web = slice("web-1", "web", &[("10.0.0.1", None)]);
        cluster.create(&web).await;
        cluster.create_namespace("evil").await;
        for name in ["wide", "same", "many"] {
            cluster.create(&service_in("evil", name, &headless())).await;
        }
        // The objects come before the agent, and again while it runs.
        attack(cluster, 0).await;
        let agent = scene.agent(&["--endpoints", "all"]).await;
        unharmed(&agent, &pod, "10.0.0.1");
        let (mut ended, mut oldest) = (false, 0.0);
        let attacking = async {
            attack(cluster, 1).await;
            // The agent may be some way behind.
            sleep(Duration::from_secs(2)).await;
        };
        let mut attacking = pin!(attacking);
        while !ended {
            ended = timeout(Duration::from_millis(100), attacking.as_mut())
                .await
                .is_ok();
            oldest = heartbeat_age(&agent).max(oldest);
        }
        println!("oldest heartbeat: {oldest} s");
        // `/livez` fails after three seconds.
        assert!(oldest < 3.0, "{oldest}");
        cluster.set_addresses("web-1", &["10.0.0.2"]).await;
        eventually(async || {
            let found = pod.addresses("web.default.svc.cluster.local", qtype::A);
            let wanted: std::net::IpAddr = "10.0.0.2".parse().unwrap();
            (found == [wanted])
                .then_some(())
                .ok_or(format!("{found:?}"))
        })
        .await;
        unharmed(&agent, &pod, "10.0.0.2");
        for name in ["wide", "same", "many", "same.same"] {
            assert!(
                refused(&format!("{name}.evil.svc.cluster.local"), qtype::A),
                "{name}"
            );
        }
        let problems = agent.problems();
        assert!(problems.contains("which is too many"), "{problems}");
        let peak = peak(&agent);
        println!("peak: {peak} kB");
        assert!(peak < PEAK_MAX, "{peak} kB");
    });
}
