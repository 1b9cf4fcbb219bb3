//! Policies of every shape, and a comparison with a plain evaluation in worlds where everything is
//! known.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};

use super::*;
use crate::selector::Selector;
use crate::watch::convert::network_policy;

fn policy(spec: &Value) -> NetworkPolicy {
    let object = json!({ "metadata": { "namespace": "shop", "name": "p" }, "spec": spec });
    network_policy(&serde_json::from_str(&object.to_string()).unwrap())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn dns() -> Dns {
    Dns {
        namespace: "kube-system".into(),
        namespace_labels: Some(labels(&[("kubernetes.io/metadata.name", "kube-system")])),
        labels: Some(labels(&[("k8s-app", "kube-dns")])),
        ports: [TargetPort::Number(53)].into(),
        addresses: vec!["10.96.0.10".parse().unwrap(), "10.244.0.2".parse().unwrap()],
    }
}

/// Whether a pod with the label `app=web` in the namespace `shop` may ask the cluster's DNS.
fn allowed(specs: &[Value], dns: &Dns) -> bool {
    let policies: Vec<_> = specs.iter().map(policy).collect();
    allows(
        policies.iter(),
        "shop",
        Some(&labels(&[("app", "web")])),
        dns,
    )
}

/// A policy for all pods with one rule for egress.
fn rule(rule: &Value) -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [rule] })
}

fn to_dns_pods() -> Value {
    json!([{
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
        "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
    }])
}

#[test]
fn only_policies_about_egress_that_select_the_pod_restrict_it() {
    let denied = json!([]);
    for (spec, expected) in [
        (
            json!({ "podSelector": {}, "policyTypes": ["Egress"] }),
            false,
        ),
        (
            json!({ "podSelector": {}, "policyTypes": ["Ingress"] }),
            true,
        ),
        (
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
            false,
        ),
        // Without types, rules for egress make the policy one about egress.
        (json!({ "podSelector": {} }), true),
        (json!({ "podSelector": {}, "egress": denied }), true),
        (
            json!({ "podSelector": {}, "egress": [{ "ports": [{ "port": 80, "protocol": "TCP" }] }] }),
            false,
        ),
        (
            json!({ "podSelector": { "matchLabels": { "app": "api" } }, "policyTypes": ["Egress"] }),
            true,
        ),
        (
            json!({ "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Egress"] }),
            false,
        ),
        (
            json!({ "podSelector": { "matchExpressions": [
            { "key": "app", "operator": "NotIn", "values": ["web"] }] }, "policyTypes": ["Egress"] }),
            true,
        ),
        // A selector that cannot be read may select the pod.
        (
            json!({ "podSelector": { "matchExpressions": [
            { "key": "app", "operator": "Like", "values": ["api"] }] }, "policyTypes": ["Egress"],
            "egress": [{}] }),
            false,
        ),
    ] {
        assert_eq!(
            allowed(std::slice::from_ref(&spec), &dns()),
            expected,
            "{spec}"
        );
    }
    assert!(allowed(&[], &dns()));
}

#[test]
fn a_rule_is_about_ports_of_udp() {
    for (ports, expected) in [
        (json!([]), true),
        (json!([{ "port": 53, "protocol": "UDP" }]), true),
        (json!([{ "port": 53, "protocol": "TCP" }]), false),
        (json!([{ "port": 53 }]), false),
        (json!([{ "protocol": "UDP" }]), true),
        (
            json!([{ "port": 1, "endPort": 1024, "protocol": "UDP" }]),
            true,
        ),
        (
            json!([{ "port": 54, "endPort": 1024, "protocol": "UDP" }]),
            false,
        ),
        (
            json!([{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }]),
            true,
        ),
        (json!([{ "port": "dns", "protocol": "UDP" }]), false),
        (json!([{ "port": 5353, "protocol": "UDP" }]), false),
    ] {
        let spec = rule(&json!({ "ports": ports, "to": to_dns_pods() }));
        assert_eq!(allowed(&[spec], &dns()), expected, "{ports}");
    }
    // Where the Service leads to a named port, its number is not known.
    let named = Dns {
        ports: [TargetPort::Name("dns".into())].into(),
        ..dns()
    };
    for (port, expected) in [
        (json!({ "port": "dns", "protocol": "UDP" }), true),
        (json!({ "port": "other", "protocol": "UDP" }), false),
        (json!({ "port": 53, "protocol": "UDP" }), false),
        (
            json!({ "port": 1, "endPort": 65535, "protocol": "UDP" }),
            true,
        ),
        (json!({ "protocol": "UDP" }), true),
    ] {
        assert_eq!(
            allowed(&[rule(&json!({ "ports": [port] }))], &named),
            expected,
            "{port}"
        );
    }
}

#[test]
fn a_rule_is_about_destinations() {
    let any = json!({ "podSelector": {} });
    let by_name = json!({ "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } });
    let by_app = json!({ "matchLabels": { "k8s-app": "kube-dns" } });
    let absent = json!({ "matchExpressions": [{ "key": "canary", "operator": "DoesNotExist" }] });
    for (to, expected) in [
        (json!([]), true),
        (json!([any]), false),
        (json!([{ "namespaceSelector": {} }]), true),
        (json!([{ "namespaceSelector": by_name }]), true),
        (
            json!([{ "namespaceSelector": by_name, "podSelector": by_app }]),
            true,
        ),
        (
            json!([{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "x" } } }]),
            false,
        ),
        (
            json!([{ "namespaceSelector": { "matchLabels": { "a": "b" } } }]),
            false,
        ),
        (json!([{ "podSelector": by_app }]), false),
        // The DNS pods may have the label.
        (
            json!([{ "namespaceSelector": {}, "podSelector": absent }]),
            false,
        ),
        (json!([{ "ipBlock": { "cidr": "0.0.0.0/0" } }]), true),
        (json!([{ "ipBlock": { "cidr": "10.0.0.0/8" } }]), true),
        (json!([{ "ipBlock": { "cidr": "10.96.0.10/32" } }]), false),
        (
            json!([{ "ipBlock": { "cidr": "10.96.0.0/16" } }, { "ipBlock": { "cidr": "10.244.0.0/16" } }]),
            true,
        ),
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } }]),
            false,
        ),
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.244.0.2/32"] } }]),
            false,
        ),
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["192.0.2.0/24"] } }]),
            true,
        ),
        (
            json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["x"] } }]),
            false,
        ),
        (json!([{ "ipBlock": { "cidr": "x" } }]), false),
        (json!([{}]), false),
    ] {
        assert_eq!(
            allowed(&[rule(&json!({ "to": to }))], &dns()),
            expected,
            "{to}"
        );
    }
    let own = policy(&rule(&json!({ "to": [any] })));
    let found = allows(
        [&own].into_iter(),
        "kube-system",
        Some(&labels(&[])),
        &dns(),
    );
    assert!(found, "a pod of the DNS pods' namespace");
}

#[test]
fn one_policy_that_allows_is_enough() {
    let deny = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
    let allow = rule(&json!({ "to": to_dns_pods(), "ports": [{ "port": 53, "protocol": "UDP" }] }));
    assert!(allowed(&[deny.clone(), allow.clone()], &dns()));
    assert!(!allowed(&[deny.clone(), deny.clone()], &dns()));
    let mut other = allow;
    other["podSelector"] = json!({ "matchLabels": { "app": "api" } });
    assert!(!allowed(&[deny, other], &dns()));
}

#[test]
fn what_is_not_known_is_not_allowed() {
    let to_pods = rule(&json!({ "to": to_dns_pods() }));
    let to_port = rule(&json!({ "ports": [{ "port": 53, "protocol": "UDP" }] }));
    let to_block = rule(&json!({ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }));
    let to_all = rule(&json!({}));
    let unknown = Dns {
        namespace: "kube-system".into(),
        ..Dns::default()
    };
    for spec in [&to_pods, &to_port, &to_block] {
        assert!(allowed(std::slice::from_ref(spec), &dns()));
        assert!(!allowed(std::slice::from_ref(spec), &unknown), "{spec}");
    }
    assert!(allowed(std::slice::from_ref(&to_all), &unknown));
    // A pod whose labels are not known may be selected, or not.
    let all = policy(&to_all);
    assert!(!allows([&all].into_iter(), "shop", None, &dns()));
    assert!(allows([].into_iter(), "shop", None, &dns()));
    // A policy of too many parts allows nothing.
    let many: Vec<_> = (0..200)
        .map(|i| json!({ "port": i, "protocol": "UDP" }))
        .collect();
    assert!(!allowed(&[rule(&json!({ "ports": many }))], &dns()));
}

/// A plain evaluation where the destination's address, port and labels are all known.
fn plain(policies: &[NetworkPolicy], pod: &Labels, dns: &Dns, address: IpAddr) -> bool {
    let mut restricted = false;
    for policy in policies {
        let Some(rules) = &policy.egress else {
            continue;
        };
        if !policy.pods.matches(pod) {
            continue;
        }
        restricted = true;
        for rule in rules {
            let port = rule.ports.as_ref().is_none_or(|ports| {
                ports.iter().any(|port| match port {
                    PortRule::All => true,
                    PortRule::Range(first, last) => *first <= 53 && 53 <= *last,
                    PortRule::Name(_) => false,
                })
            });
            let peer = rule.peers.as_ref().is_none_or(|peers| {
                peers.iter().any(|peer| match peer {
                    Peer::Block(block) => {
                        let except = block.except.iter().any(|it| it.contains(address));
                        block.network.contains(address) && !except
                    }
                    Peer::Pods { namespaces, pods } => {
                        let namespaces = namespaces.as_ref();
                        let of_dns = dns.namespace_labels.as_ref().unwrap();
                        namespaces.is_some_and(|it| it.matches(of_dns))
                            && pods.matches(dns.labels.as_ref().unwrap())
                    }
                    Peer::Unknown => false,
                })
            });
            if port && peer {
                return true;
            }
        }
    }
    !restricted
}

fn random_selector() -> Selector {
    let texts = ["a=1", "a=2", "!a", "b", "!b", "b!=1", "a in (1,2)"];
    if fastrand::u8(..4) == 0 {
        return Selector::default();
    }
    texts[fastrand::usize(..texts.len())].parse().unwrap()
}

fn random_labels() -> Labels {
    let mut found = Labels::new();
    for key in ["a", "b"] {
        if fastrand::bool() {
            found.insert(key.into(), fastrand::u8(1..3).to_string());
        }
    }
    found
}

fn random_peer() -> Peer {
    let network = |text: &[&str]| text[fastrand::usize(..text.len())].parse().unwrap();
    match fastrand::u8(..4) {
        0 => Peer::Block(Block {
            network: network(&["0.0.0.0/0", "10.0.0.0/8", "10.96.0.10/32"]),
            except: if fastrand::bool() {
                [network(&["10.244.0.2/32", "192.0.2.0/24"])].into()
            } else {
                [].into()
            },
        }),
        1 => Peer::Unknown,
        _ => Peer::Pods {
            namespaces: fastrand::bool().then(random_selector),
            pods: random_selector(),
        },
    }
}

fn random_policy() -> NetworkPolicy {
    let rule = || EgressRule {
        ports: fastrand::bool().then(|| {
            let ports = [
                PortRule::All,
                PortRule::Range(53, 53),
                PortRule::Range(80, 90),
            ];
            [ports[fastrand::usize(..ports.len())].clone()].into()
        }),
        peers: (fastrand::u8(..4) > 0)
            .then(|| (0..fastrand::u8(1..3)).map(|_| random_peer()).collect()),
    };
    NetworkPolicy {
        pods: random_selector(),
        egress: (fastrand::u8(..4) > 0).then(|| (0..fastrand::u8(..3)).map(|_| rule()).collect()),
    }
}

/// The DNS pods have the labels that are known of them and any others, and the CNI may compare
/// any of the addresses. What is allowed must be allowed in each of these worlds.
#[test]
fn what_is_allowed_is_allowed_in_every_world() {
    let (mut allowed, mut refused) = (0, 0);
    for round in 0..20_000 {
        fastrand::seed(round);
        let policies: Vec<_> = (0..fastrand::u8(..4)).map(|_| random_policy()).collect();
        let (pod, known) = (random_labels(), random_labels());
        let dns = Dns {
            namespace_labels: Some(random_labels()),
            labels: Some(known.clone()),
            ..dns()
        };
        if !allows(policies.iter(), "shop", Some(&pod), &dns) {
            refused += 1;
            continue;
        }
        allowed += 1;
        for _ in 0..8 {
            let mut world = random_labels();
            world.extend(known.clone());
            let world = Dns {
                labels: Some(world),
                ..dns.clone()
            };
            for address in &dns.addresses {
                let found = plain(&policies, &pod, &world, *address);
                assert!(
                    found,
                    "round {round}: {policies:?} {pod:?} {world:?} {address}"
                );
            }
        }
    }
    assert!(allowed > 2000 && refused > 2000, "{allowed} {refused}");
}
