//! Policies of the network and of DNS decide which pods are answered.

use headless_tests::control_plane::objects::object;
use headless_tests::control_plane::{API, account, eventually};
use headless_tests::scene::run;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;

use super::modes::{NODE, has, running_pod};

/// A policy of the namespace `default` that lets the pods with this label send to DNS, or nothing.
fn policy(app: &str, to_dns: bool) -> NetworkPolicy {
    let rule = json!({
        "to": [{
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
            "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
        }],
        "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }],
    });
    object(json!({
        "metadata": { "namespace": "default", "name": app },
        "spec": {
            "podSelector": { "matchLabels": { "app": app } },
            "policyTypes": ["Egress"],
            "egress": if to_dns { json!([rule]) } else { json!([]) },
        },
    }))
}

#[test]
fn pods_that_may_not_ask_the_dns_are_left_alone() {
    run(&[], async |scene| {
        let cluster = &scene.cluster;
        let _pods = [
            running_pod(&scene, "a", 9, None).await,
            running_pod(&scene, "b", 10, Some("on")).await,
            running_pod(&scene, "c", 11, None).await,
        ];
        cluster.create(&policy("b", false)).await;
        cluster.create(&policy("c", true)).await;
        // Without the right to see policies nobody is answered, and the missing rule is named.
        let token = scene.token().await;
        let arguments = [
            "--node-name",
            NODE,
            "--hook",
            "xdp",
            "--respect-network-policies",
        ];
        let mut agent = scene.spawn(API, &token, &arguments);
        agent.ready();
        // Nobody looks for the pods while none is answered.
        has(&scene, &agent, "veth-a", "off", "unknown_pod").await;
        let problems = agent.problems();
        assert!(
            problems.contains("networkpolicies.networking.k8s.io (403)"),
            "{problems}"
        );

        let folders = ["base", "components/network-policies"];
        account::token(&cluster.0, &folders, |_| {}).await;
        has(&scene, &agent, "veth-a", "on", "node").await;
        has(&scene, &agent, "veth-b", "off", "network_policy").await;
        has(&scene, &agent, "veth-c", "on", "node").await;
        // An interface of no known pod may be that of a pod with policies.
        let _unknown = scene.node.pod("veth-d", 12);
        has(&scene, &agent, "veth-d", "off", "unknown_pod").await;
        cluster.create(&policy("a", false)).await;
        has(&scene, &agent, "veth-a", "off", "network_policy").await;
        let patch =
            json!({ "spec": { "egress": [{ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }] } });
        cluster.patch::<NetworkPolicy>("default", "a", &patch).await;
        has(&scene, &agent, "veth-a", "on", "node").await;
        cluster.delete::<NetworkPolicy>("default", "b").await;
        has(&scene, &agent, "veth-b", "on", "pod_annotation").await;
    });
}

#[test]
fn objects_that_make_policy_by_names_are_noticed() {
    run(&[], async |scene| {
        let agent = scene.agent(&[]).await;
        assert_eq!(agent.status()["policy"]["dns_policies"], json!([]));
        drop(agent);
        let crd = |group: &str, plural: &str, kind: &str| {
            json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("{plural}.{group}") },
                "spec": {
                    "group": group, "scope": "Namespaced",
                    "names": { "plural": plural, "kind": kind },
                    "versions": [{
                        "name": "v2", "served": true, "storage": true,
                        "schema": { "openAPIV3Schema": { "type": "object" } },
                    }],
                },
            })
        };
        // The group alone makes no policy.
        for manifest in [
            crd("cilium.io", "ciliumendpoints", "CiliumEndpoint"),
            crd(
                "example.com",
                "ciliumnetworkpolicies",
                "CiliumNetworkPolicy",
            ),
        ] {
            account::apply(&scene.cluster.0, &manifest, false)
                .await
                .unwrap();
        }
        let agent = scene.agent(&[]).await;
        assert_eq!(agent.status()["policy"]["dns_policies"], json!([]));
        drop(agent);
        let manifest = crd("cilium.io", "ciliumnetworkpolicies", "CiliumNetworkPolicy");
        account::apply(&scene.cluster.0, &manifest, false)
            .await
            .unwrap();
        eventually(async || {
            let agent = scene.agent(&[]).await;
            let expected = json!(["ciliumnetworkpolicies.cilium.io"]);
            let found = agent.status()["policy"]["dns_policies"].clone();
            if found != expected {
                return Err(found.to_string());
            }
            let notes = agent.status()["notes"].to_string();
            assert!(notes.contains("stay with the CNI's DNS proxy"), "{notes}");
            Ok(())
        })
        .await;
    });
}
