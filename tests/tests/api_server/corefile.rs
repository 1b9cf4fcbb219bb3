//! The agent follows the Corefile of the cluster's DNS, with the rights that `deploy/` grants.

use std::time::Duration;

use headless_agent::watch::ServiceRef;
use headless_agent::watch::dns_pods::{Restart, Waits};
use headless_agent::watch::kubernetes::Access;
use headless_tests::agent::Agent;
use headless_tests::control_plane::objects::object;
use headless_tests::control_plane::{API, account, eventually};
use headless_tests::scene::{Scene, run};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::failures::without;

const KUBEADM: &str = include_str!("../../corefiles/kubeadm/Corefile");
const AKS: &str = include_str!("../../corefiles/aks/Corefile");

fn config_map(name: &str, key: &str, text: &str) -> ConfigMap {
    object(json!({
        "metadata": { "name": name, "namespace": "kube-system" },
        "data": { key: text },
    }))
}

async fn leaves(agent: &Agent<'_>, parts: &[&str], reason: &str) {
    eventually(async || {
        let (status, problems) = (agent.status(), agent.problems());
        if status["left_to_coredns"] == json!(parts) && problems.contains(reason) {
            return Ok(());
        }
        Err(format!("{}\n{problems}", status["left_to_coredns"]))
    })
    .await;
}

async fn change(scene: &Scene<'_>, name: &str, data: &Value) {
    let patch = json!({ "data": data });
    let cluster = &scene.cluster;
    cluster
        .patch::<ConfigMap>("kube-system", name, &patch)
        .await;
}

#[test]
fn a_config_map_and_what_it_imports_are_followed() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        cluster
            .create(&config_map("coredns", "Corefile", AKS))
            .await;
        let agent = scene.agent(&[]).await;
        let all = ["zone", "nxdomain", "denials", "reverse"];
        // It was made just now: CoreDNS may go by the text of an earlier one with this name.
        let doubt = "the Corefile has changed, and CoreDNS may still go by the old one";
        leaves(&agent, &all, doubt).await;
        let problems = agent.problems();
        assert!(!problems.contains("line "), "{problems}");
        assert_eq!(agent.get("/readyz").unwrap().0, 200);
        // A new ConfigMap that is imported, as AKS has it.
        let custom = config_map("coredns-custom", "a.override", "dns64\n");
        cluster.create(&custom).await;
        let line = "left to CoreDNS: line 1 of a.override: dns64";
        leaves(&agent, &all, line).await;
        change(
            &scene,
            "coredns-custom",
            &json!({ "a.override": "local\n" }),
        )
        .await;
        leaves(&agent, &all, "line 1 of a.override: local").await;
        change(&scene, "coredns", &json!({ "Corefile": ". {" })).await;
        leaves(&agent, &all, "the Corefile cannot be parsed").await;
    });
}

#[test]
fn a_config_map_that_is_forbidden_leaves_everything_to_coredns() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        cluster
            .create(&config_map("coredns", "Corefile", KUBEADM))
            .await;
        let lack = without("configmaps", "watch");
        let token = account::token(&cluster.0, &["base"], lack).await;
        let mut agent = scene.spawn(API, &token, &[]);
        agent.ready();
        let all = ["zone", "nxdomain", "denials", "reverse"];
        let reason = "not allowed to watch the ConfigMap kube-system/coredns (403): the Role \
                      headless-agent-corefile";
        leaves(&agent, &all, reason).await;
    });
}

#[test]
fn without_a_config_map_the_options_alone_decide() {
    run(&[], async |scene| {
        let agent = scene.agent(&[]).await;
        leaves(&agent, &[], "").await;
        let notes = agent.status()["notes"].to_string();
        assert!(notes.contains("there is no Corefile"), "{notes}");
    });
}

#[test]
fn a_changed_corefile_without_reload_is_in_doubt_until_a_restart() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        let text = KUBEADM.replace("    reload\n", "");
        assert_ne!(text, KUBEADM);
        cluster
            .create(&config_map("coredns", "Corefile", &text))
            .await;
        let agent = scene.agent(&[]).await;
        let mended = text.replace("    cache 30", "    any\n    cache 30");
        assert_ne!(text, mended);
        change(&scene, "coredns", &json!({ "Corefile": mended })).await;
        let all = ["zone", "nxdomain", "denials", "reverse"];
        let doubt = "CoreDNS goes by the old one until its pods are restarted";
        leaves(&agent, &all, doubt).await;
    });
}

/// The wait of an agent takes two minutes, so the test has one of its own with the agent's rights.
#[test]
fn the_pods_of_the_cluster_dns_are_seen_to_be_replaced() {
    run(&[], async |scene| {
        let set_pods = async |uids: &[&str]| {
            let endpoint = |uid: &&str| {
                json!({
                    "addresses": ["10.244.0.2"],
                    "targetRef": { "kind": "Pod", "namespace": "kube-system", "uid": uid },
                })
            };
            let endpoints: Vec<_> = uids.iter().map(endpoint).collect();
            let patch = json!({ "endpoints": endpoints });
            let cluster = &scene.cluster;
            cluster
                .patch::<EndpointSlice>("kube-system", "kube-dns-1", &patch)
                .await;
        };
        set_pods(&["a", "b"]).await;
        let kubeconfig = scene.plane.kubeconfig(API, &scene.token().await);
        let access = Access {
            kubeconfig: Some(kubeconfig.into()),
            ..Access::default()
        };
        let service = ServiceRef {
            namespace: "kube-system".to_owned(),
            name: "kube-dns".to_owned(),
        };
        let waits = Waits {
            fresh: Duration::ZERO,
            look: Duration::from_millis(20),
        };
        let mut restart = Restart::new(access.client().await.unwrap(), service, waits);
        let mut waits_for = async |advice: &str| {
            eventually(async || {
                let look = timeout(Duration::from_millis(100), restart.over());
                assert!(look.await.is_err(), "over before: {advice}");
                match restart.advice() {
                    said if said.ends_with(advice) => Ok(()),
                    said => Err(said),
                }
            })
            .await;
        };
        waits_for("old pods left: 2").await;
        set_pods(&["c", "b"]).await;
        waits_for("old pods left: 1").await;
        set_pods(&[]).await;
        waits_for("old pods left: 0").await;
        set_pods(&["c", "d"]).await;
        let over = timeout(Duration::from_secs(30), restart.over());
        over.await.unwrap();
    });
}
