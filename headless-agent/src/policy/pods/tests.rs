//! Which of annotation, selector and node decides.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::policies::POLICIES_MAX;
use super::*;
use crate::selector::Labels;
use crate::watch::convert::unreadable_policy;
use crate::watch::network::{EgressRule, NetworkPolicy};
use crate::watch::{Problem, Reason};

fn reference(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn pod(mode: Option<&str>, labels: &[(&str, &str)]) -> NodePod {
    let labels = labels.iter();
    let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NodePod {
        mode: mode.map(Excerpt::from),
        labels: Some(labels.collect::<Labels>()),
        addresses: ["10.0.0.1".parse().unwrap()].into(),
        has_interface: true,
    }
}

fn put_pod(pods: &mut Objects, name: &str, pod: NodePod) {
    let object = Some(NodeObject::Pod(pod));
    pods.take(NodeEvent::Apply(
        reference(Kind::Pod, "shop", name),
        object,
        crate::watch::Problems::default(),
    ));
}

fn put_namespace(pods: &mut Objects, name: &str, mode: Option<&str>) {
    let object = Some(NodeObject::Namespace(NodeNamespace {
        mode: mode.map(Excerpt::from),
        labels: None,
    }));
    pods.take(NodeEvent::Apply(
        reference(Kind::Namespace, "", name),
        object,
        crate::watch::Problems::default(),
    ));
}

fn rules(node: Mode, selectors: &[(Mode, &str)]) -> Rules {
    let selectors = selectors.iter();
    Rules {
        node,
        selectors: selectors
            .map(|(mode, text)| (*mode, text.parse().unwrap()))
            .collect(),
        respect_policies_about: None,
    }
}

#[test]
fn the_first_that_says_something_decides() {
    use Mode::{Observe, Off, On};
    let selectors = [(Observe, "app=web"), (Off, "tier=front")];
    let front = [("app", "api"), ("tier", "front")];
    let both = [("app", "web"), ("tier", "front")];
    let none: [(&str, &str); 0] = [];
    for (pod_says, namespace_says, labels, expected) in [
        (
            Some("on"),
            Some("off"),
            &both[..],
            (On, Cause::PodAnnotation),
        ),
        (Some("off"), None, &none, (Off, Cause::PodAnnotation)),
        (None, Some("off"), &both, (Off, Cause::NamespaceAnnotation)),
        (None, Some("on"), &both, (On, Cause::NamespaceAnnotation)),
        (None, None, &both, (Observe, Cause::Selector)),
        (None, None, &front, (Off, Cause::Selector)),
        (None, None, &none, (On, Cause::Node)),
        // An annotation that names no mode counts as missing.
        (
            Some("Off"),
            Some("observe"),
            &none,
            (Observe, Cause::NamespaceAnnotation),
        ),
        (Some(""), Some("x"), &front, (Off, Cause::Selector)),
        (Some("x"), Some("x"), &none, (On, Cause::Node)),
    ] {
        let mut pods = Objects::new(rules(On, &selectors));
        put_namespace(&mut pods, "shop", namespace_says);
        put_namespace(&mut pods, "other", Some("observe"));
        put_pod(&mut pods, "a", pod(pod_says, labels));
        let decision = pods.decide();
        let [found] = &decision.pods[..] else {
            panic!("{decision:?}");
        };
        let about = format!("{pod_says:?} {namespace_says:?} {labels:?}");
        assert_eq!((found.mode, found.cause), expected, "{about}");
        assert_eq!(found.pod, "shop/a");
        let wrong = |says: Option<&str>| says.is_some_and(|it| it.parse::<Mode>().is_err());
        let problems = usize::from(wrong(pod_says)) + usize::from(wrong(namespace_says));
        assert_eq!(decision.problems.len(), problems, "{:?}", decision.problems);
    }
}

#[test]
fn the_node_decides_where_nothing_else_does() {
    for node in Mode::ALL {
        let mut pods = Objects::new(rules(node, &[]));
        put_pod(&mut pods, "a", pod(None, &[]));
        let decision = pods.decide();
        assert_eq!((decision.pods[0].mode, decision.fallback), (node, node));
    }
}

#[test]
fn a_wrong_annotation_names_its_object() {
    let mut pods = Objects::new(rules(Mode::On, &[]));
    put_namespace(&mut pods, "shop", Some("yes\u{1b}"));
    put_pod(&mut pods, "a", pod(Some("Off"), &[]));
    assert_eq!(
        pods.decide().problems,
        [
            "Pod shop/a: annotation headless.io/mode: `Off` is none of on, observe, off, and is \
             ignored",
            "Namespace shop: annotation headless.io/mode: `yes\\u{1b}` is none of on, observe, \
             off, and is ignored",
        ]
    );
    put_namespace(&mut pods, "shop", Some("on"));
    put_pod(&mut pods, "a", pod(None, &[]));
    assert_eq!(pods.decide().problems, [""; 0]);
}

#[test]
fn problems_are_bounded() {
    let mut pods = Objects::new(rules(Mode::On, &[]));
    for i in 0..1000 {
        put_namespace(&mut pods, &format!("n{i}"), Some("x"));
    }
    let problems = pods.decide().problems;
    assert_eq!(problems.len(), PROBLEMS_KEPT + 1);
    assert_eq!(
        problems[PROBLEMS_KEPT],
        "980 more pods and namespaces with problems"
    );
}

#[test]
fn pods_without_interfaces_and_pods_that_are_gone_have_no_mode() {
    let mut pods = Objects::new(rules(Mode::On, &[]));
    pods.take(NodeEvent::Restart(Kind::Pod));
    put_pod(&mut pods, "a", pod(None, &[]));
    let hosted = NodePod {
        has_interface: false,
        ..pod(Some("off"), &[])
    };
    put_pod(&mut pods, "b", hosted);
    assert_eq!(pods.decide().pods.len(), 1);
    pods.take(NodeEvent::Delete(reference(Kind::Pod, "shop", "a")));
    assert_eq!(pods.decide().pods.len(), 0);
}

#[test]
fn all_kinds_are_complete_before_the_decision_is_settled() {
    let mut pods = Objects::new(rules(Mode::On, &[]));
    for (event, settled) in [
        (NodeEvent::Restart(Kind::Pod), false),
        (NodeEvent::Restarted(Kind::Pod), false),
        (NodeEvent::Restart(Kind::Namespace), false),
        (NodeEvent::Restarted(Kind::Namespace), true),
        (NodeEvent::Restart(Kind::Pod), true),
    ] {
        pods.take(event);
        assert_eq!(pods.decide().settled, settled);
    }
}

#[test]
fn an_object_that_cannot_be_read_is_a_problem_until_it_can() {
    let mut pods = Objects::new(rules(Mode::Observe, &[]));
    let reference = reference(Kind::Pod, "shop", "a");
    let problem = Problem {
        object: reference.to_string(),
        field: "status.podIPs".into(),
        reason: Reason::InvalidField("not a list".into()),
    };
    put_pod(&mut pods, "a", pod(Some("off"), &[]));
    let broken = NodeEvent::Apply(reference.clone(), None, problem.into());
    pods.take(broken.clone());
    let decision = pods.decide();
    assert!(decision.pods.is_empty());
    let [line] = &decision.problems[..] else {
        panic!("{decision:?}");
    };
    assert!(line.starts_with("Pod shop/a: status.podIPs: "), "{line}");
    assert!(line.ends_with("; the mode observe holds"), "{line}");
    put_pod(&mut pods, "a", pod(Some("off"), &[]));
    assert!(pods.decide().problems.is_empty());
    pods.take(broken);
    pods.take(NodeEvent::Delete(reference.clone()));
    assert!(pods.decide().problems.is_empty());
    let policy = ObjectRef {
        kind: Kind::NetworkPolicy,
        ..reference
    };
    let problem = Problem {
        object: policy.to_string(),
        field: "spec".into(),
        reason: Reason::InvalidField("not a map".into()),
    };
    let object = Some(NodeObject::NetworkPolicy(unreadable_policy()));
    pods.take(NodeEvent::Apply(policy, object, problem.into()));
    let problems = pods.decide().problems;
    assert!(
        problems[0].ends_with("; the mode off holds"),
        "{problems:?}"
    );
}

#[test]
fn a_pod_whose_labels_are_not_known_has_the_mode_of_the_node() {
    let nameless = NodePod {
        labels: None,
        ..pod(None, &[])
    };
    for (selectors, problems) in [(&[][..], 0), (&[(Mode::Off, "app=web")], 1)] {
        let mut pods = Objects::new(rules(Mode::On, selectors));
        put_pod(&mut pods, "a", nameless.clone());
        let decision = pods.decide();
        assert_eq!(decision.pods[0].mode, Mode::On);
        assert_eq!(decision.problems.len(), problems, "{:?}", decision.problems);
    }
}

/// Puts a policy for every pod of a namespace, which allows everything or nothing.
fn put_policy(pods: &mut Objects, namespace: &str, allows: bool) {
    let rule = EgressRule::default();
    let egress = if allows { vec![rule] } else { Vec::new() };
    let policy = NetworkPolicy {
        pods: Selector::default(),
        egress: Some(egress.into()),
    };
    pods.take(NodeEvent::Apply(
        reference(Kind::NetworkPolicy, namespace, "p"),
        Some(NodeObject::NetworkPolicy(policy)),
        crate::watch::Problems::default(),
    ));
}

#[test]
fn a_network_policy_is_stronger_than_every_wish() {
    let rules = Rules {
        respect_policies_about: Some(ServiceRef {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        }),
        ..rules(Mode::On, &[])
    };
    assert_eq!(rules.fallback(), Mode::Off);
    let mut pods = Objects::new(rules);
    put_pod(&mut pods, "a", pod(Some("on"), &[]));
    let found = |pods: &Objects| {
        let found = &pods.decide().pods[0];
        (found.mode, found.cause)
    };
    let refused = (Mode::Off, Cause::NetworkPolicy);
    assert_eq!(found(&pods), refused, "policies are not known yet");
    for kind in Kind::ALL.into_iter().chain([Kind::NetworkPolicy]) {
        assert!(!pods.decide().settled);
        pods.take(NodeEvent::Restarted(kind));
    }
    assert!(pods.decide().settled);
    put_pod(&mut pods, "a", pod(Some("on"), &[]));
    let annotated = (Mode::On, Cause::PodAnnotation);
    assert_eq!(found(&pods), annotated);
    put_policy(&mut pods, "other", false);
    put_policy(&mut pods, "shop-2", false);
    assert_eq!(found(&pods), annotated);
    put_policy(&mut pods, "shop", false);
    assert_eq!(found(&pods), refused);
    put_pod(&mut pods, "a", pod(Some("off"), &[]));
    assert_eq!(found(&pods), (Mode::Off, Cause::PodAnnotation));
    put_pod(&mut pods, "a", pod(Some("observe"), &[]));
    put_policy(&mut pods, "shop", true);
    assert_eq!(found(&pods), (Mode::Observe, Cause::PodAnnotation));
    let policy = reference(Kind::NetworkPolicy, "shop", "p");
    put_policy(&mut pods, "shop", false);
    pods.take(NodeEvent::Delete(policy));
    assert_eq!(found(&pods), (Mode::Observe, Cause::PodAnnotation));
}

fn put_named(objects: &mut Objects, namespace: &str, name: &str, egress: Option<&[EgressRule]>) {
    let policy = NetworkPolicy {
        pods: Selector::default(),
        egress: egress.map(Into::into),
    };
    objects.take(NodeEvent::Apply(
        reference(Kind::NetworkPolicy, namespace, name),
        Some(NodeObject::NetworkPolicy(policy)),
        crate::watch::Problems::default(),
    ));
}

#[test]
fn too_many_policies_of_a_namespace_allow_nothing() {
    let about = ServiceRef {
        namespace: "kube-system".into(),
        name: "kube-dns".into(),
    };
    let mut objects = Objects::new(Rules {
        respect_policies_about: Some(about),
        ..rules(Mode::On, &[])
    });
    for kind in [
        Kind::Pod,
        Kind::Namespace,
        Kind::NetworkPolicy,
        Kind::Service,
    ] {
        objects.take(NodeEvent::Restart(kind));
        objects.take(NodeEvent::Restarted(kind));
    }
    put_pod(&mut objects, "p", pod(None, &[]));
    let mode = |objects: &Objects| objects.decide().pods[0].mode;
    // Policies that are not about egress, and those of others, do not count.
    for number in 0..2 * POLICIES_MAX {
        put_named(&mut objects, "shop", &format!("in-{number}"), None);
        put_named(&mut objects, "other", &format!("p-{number}"), Some(&[]));
    }
    assert_eq!(mode(&objects), Mode::On);
    let all = [EgressRule::default()];
    for number in 0..POLICIES_MAX {
        put_named(&mut objects, "shop", &format!("p-{number}"), Some(&all));
    }
    assert_eq!(mode(&objects), Mode::On);
    put_named(&mut objects, "shop", "p-0", Some(&all));
    assert!(objects.decide().problems.is_empty());
    put_named(&mut objects, "shop", "one-more", Some(&all));
    assert_eq!(mode(&objects), Mode::Off);
    let problems = objects.decide().problems;
    let [problem] = &problems[..] else {
        panic!("only the namespace of the node's pod is a problem: {problems:?}");
    };
    assert!(problem.starts_with("Namespace shop: 257 NetworkPolicies"));
    // One of the others goes, and the last one counts.
    objects.take(NodeEvent::Delete(reference(
        Kind::NetworkPolicy,
        "shop",
        "p-1",
    )));
    assert_eq!(mode(&objects), Mode::On);
    assert!(objects.decide().problems.is_empty());
    for number in 0..POLICIES_MAX {
        put_named(&mut objects, "shop", &format!("p-{number}"), None);
    }
    assert_eq!(mode(&objects), Mode::On, "its rule allows the pod to ask");
    put_named(&mut objects, "shop", "one-more", Some(&[]));
    assert_eq!(mode(&objects), Mode::Off);
}

#[test]
fn problems_of_objects_end_with_a_list_that_does_not_have_them() {
    let mut objects = Objects::new(rules(Mode::On, &[]));
    for (kind, name) in [(Kind::Pod, "p"), (Kind::Namespace, "n")] {
        let reference = reference(kind, "shop", name);
        let problem = Problem {
            object: reference.to_string(),
            field: "spec".into(),
            reason: Reason::InvalidField("no".into()),
        };
        objects.take(NodeEvent::Apply(reference, None, problem.into()));
    }
    assert_eq!(objects.decide().problems.len(), 2);
    objects.take(NodeEvent::Restart(Kind::Pod));
    assert_eq!(objects.decide().problems.len(), 2);
    objects.take(NodeEvent::Restarted(Kind::Pod));
    assert_eq!(
        objects.decide().problems.len(),
        1,
        "that of the namespace stays"
    );
}
