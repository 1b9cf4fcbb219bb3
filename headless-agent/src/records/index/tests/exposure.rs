//! The objects that CoreDNS does not select.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::corefile::{Exposure, Namespaces};
use crate::selector::Selector;
use crate::watch::{Object, ServiceRef};

fn exposed(exposure: Exposure) -> Settings {
    Settings { exposure, ..all() }
}

/// The object of this event, with labels that are not selected.
fn unselected(event: Event) -> Event {
    let Event::Apply(mut object) = event else {
        panic!("{event:?}");
    };
    match &mut object {
        Object::Service(service) => service.selected = false,
        Object::EndpointSlice(slice) => slice.selected = false,
        other => panic!("{other:?}"),
    }
    Event::Apply(object)
}

fn names(index: &Index) -> BTreeSet<String> {
    index.names().map(|(name, _)| name.to_string()).collect()
}

fn led_to(index: &Index) -> Vec<String> {
    let pointers = index.pointers();
    let addresses = pointers.addresses.iter();
    addresses.map(|(address, _)| address.to_string()).collect()
}

fn served(index: &Index) -> Vec<String> {
    let dns: &ServiceRef = &index.settings().dns_service;
    let addresses: Vec<IpAddr> = index.service_addresses(dns);
    addresses.iter().map(ToString::to_string).collect()
}

/// The Service of the cluster's DNS and its slice.
fn dns() -> [Event; 2] {
    [
        service("kube-system", "kube-dns", "10.96.0.10", WEB),
        slice("kube-system/kube-dns-1", "kube-dns", WEB, &["10.0.0.53"]),
    ]
}

#[test]
fn namespaces_that_are_not_listed_have_no_names() {
    let listed = ["default", "later"].map(Box::from).into();
    let mut index = Index::new(exposed(Exposure {
        namespaces: Namespaces::Listed(listed),
        ..Exposure::default()
    }));
    index.apply_all([namespace("default"), namespace("kube-system")]);
    index.apply_all(nginx());
    index.apply_all(dns());
    index.apply(service("later", "api", "10.96.0.7", WEB));
    let own = ["default", "nginx.default", "web-0.nginx.default"];
    assert!(own.iter().all(|name| names(&index).contains(*name)));
    assert!(!names(&index).iter().any(|name| name.contains("kube")));
    assert_eq!(index.problems(), [], "CoreDNS has no such namespace");
    assert_eq!(served(&index), ["10.96.0.10", "10.0.0.53"]);
    let before = led_to(&index);
    assert!(
        !before
            .iter()
            .any(|at| at.ends_with(".53") || at.starts_with("10.96"))
    );
    // A listed namespace that comes brings its reverse names along.
    index.take_pointers();
    index.apply(namespace("later"));
    let changed = index.take_pointers().addresses;
    let address = IpAddr::from([10, 96, 0, 7]);
    assert!(
        matches!(*changed, [(at, Some(_))] if at == address),
        "{changed:?}"
    );
    assert!(led_to(&index).contains(&"10.96.0.7".to_owned()));
    index.apply(delete(Kind::Namespace, "later"));
    assert_eq!(index.take_pointers().addresses, [(address, None)]);
}

#[test]
fn services_without_endpoints_can_be_ignored() {
    let mut index = Index::new(exposed(Exposure {
        ignore_empty: true,
        ..Exposure::default()
    }));
    let mut installed = BTreeMap::new();
    let api = |endpoints: &[&str]| slice("default/api-1", "api", WEB, endpoints);
    let name = || "api.default".to_owned();
    let first = [
        namespace("default"),
        service("default", "api", "10.96.0.7", WEB),
    ];
    for (event, exists) in [
        (api(&[]), false),
        (api(&["10.0.0.1"]), true),
        (api(&["sub.example.com=a"]), true),
        (delete(Kind::EndpointSlice, "default/api-1"), false),
        (api(&["10.0.0.1"]), true),
    ] {
        let changes = index.apply_all(first.clone().into_iter().chain([event]));
        check(&index, &mut installed, &changes);
        assert_eq!(names(&index).contains(&name()), exists);
    }
    // Its reverse name exists all the same, and so does an external name.
    index.apply(api(&[]));
    assert!(led_to(&index).contains(&"10.96.0.7".to_owned()));
    index.apply(service("default", "api", "db.example.com", &[]));
    assert!(names(&index).contains(&name()));
    // An endpoint of a slice that could not be read whole may exist.
    index.apply(service("default", "api", "10.96.0.7", WEB));
    let Event::Apply(Object::EndpointSlice(mut partial)) = api(&[]) else {
        panic!("no slice");
    };
    partial.partial = true;
    index.apply(Event::Apply(Object::EndpointSlice(partial)));
    let data = index.name(b"\x03api\x07default").unwrap();
    assert!(data.flags.contains(NameFlags::PASS));
}

#[test]
fn no_endpoint_has_a_name_where_coredns_has_none() {
    let mut index = Index::new(exposed(Exposure {
        no_endpoints: true,
        ..Exposure::default()
    }));
    index.apply_all([namespace("default"), namespace("kube-system")]);
    index.apply_all(nginx());
    index.apply_all(dns());
    let expected = ["default", "kube-dns.kube-system", "kube-system"];
    assert_eq!(names(&index), expected.map(str::to_owned).into());
    assert_eq!(led_to(&index), ["10.96.0.10"]);
    assert_eq!(served(&index), ["10.96.0.10", "10.0.0.53"]);
}

#[test]
fn the_cluster_dns_is_served_whatever_its_labels() {
    let mut index = Index::new(all());
    index.apply_all([namespace("default"), namespace("kube-system")]);
    index.apply_all(dns().map(unselected));
    index.apply_all(nginx().into_iter().skip(1).map(unselected));
    let expected = ["default", "kube-system"];
    assert_eq!(names(&index), expected.map(str::to_owned).into());
    assert_eq!(led_to(&index), [""; 0]);
    assert_eq!(served(&index), ["10.96.0.10", "10.0.0.53"]);
    assert!(index.has_unselected_servers());
    // Labels change in both directions.
    index.apply_all(dns());
    assert!(names(&index).contains("kube-dns.kube-system") && !index.has_unselected_servers());
    assert_eq!(served(&index), ["10.96.0.10", "10.0.0.53"]);
    index.apply_all(dns().map(unselected));
    assert_eq!(names(&index), expected.map(str::to_owned).into());
    assert_eq!(served(&index), ["10.96.0.10", "10.0.0.53"]);
    // A list without the slice, and the deletion of the Service.
    index.apply(Event::Restart(Kind::EndpointSlice));
    index.apply(Event::Restarted(Kind::EndpointSlice));
    assert_eq!(served(&index), ["10.96.0.10"]);
    index.apply(delete(Kind::Service, "kube-system/kube-dns"));
    assert_eq!(served(&index), [""; 0]);
}

/// An index that verifies pods.
fn verified(namespaces: Namespaces) -> Index {
    Index::new(Settings {
        pods: PodsMode::Verified,
        ..exposed(Exposure {
            namespaces,
            ..Exposure::default()
        })
    })
}

/// The names of pods that a part, a walk and a full look-up of the index have.
fn pod_names(index: &Index, namespace: &str) -> BTreeSet<String> {
    let of_pods = |name: &String| name.ends_with(".pod.cluster");
    let all: BTreeSet<_> = names(index).into_iter().filter(of_pods).collect();
    let mut walk = Walk::default();
    let walked = std::iter::from_fn(|| walk.next(index, 10)).flatten();
    let walked = walked.map(|name| name.to_string());
    assert_eq!(walked.filter(of_pods).collect::<BTreeSet<_>>(), all);
    let of_namespace = index.pod_names(namespace).map(|name| name.to_string());
    assert_eq!(of_namespace.collect::<BTreeSet<_>>(), all);
    all
}

#[test]
fn pods_of_namespaces_that_are_not_listed_are_not_kept() {
    let mut index = verified(Namespaces::Listed(["default".into()].into()));
    let changes = index.apply_all([namespace("hidden"), pod("hidden", "a", "10.0.0.1")]);
    assert!(changes.is_empty() && index.namespaces.is_empty());
    index.apply_all([namespace("default"), pod("default", "a", "10.0.0.1")]);
    let name = "10-0-0-1.default.pod.cluster".to_owned();
    assert_eq!(pod_names(&index, "default"), [name].into());
}

#[test]
fn names_of_pods_come_and_go_with_their_namespace() {
    // `hidden` has other labels, or there is no such Namespace.
    for namespaces in [Namespaces::Labelled(Selector::default()), Namespaces::All] {
        let mut index = verified(namespaces);
        let mut installed = BTreeMap::new();
        let both = ["10-0-0-1", "10-0-0-2"].map(|it| format!("{it}.hidden.pod.cluster"));
        let pods = [("a", 1), ("b", 2), ("c", 2)];
        let pods = pods.map(|(name, last)| pod("hidden", name, &format!("10.0.0.{last}")));
        let changes = index.apply_all(pods.clone());
        assert_eq!(changes, []);
        assert_eq!(pod_names(&index, "hidden"), [].into());
        let changes = index.apply(namespace("hidden"));
        check(&index, &mut installed, &changes);
        assert_eq!(pod_names(&index, "hidden"), both.clone().into());
        let changes = index.apply(delete(Kind::Namespace, "hidden"));
        assert_eq!(changes.last().unwrap().name.to_string(), "hidden");
        check(&index, &mut installed, &changes);
        assert_eq!(installed, BTreeMap::new());
        assert_eq!(pod_names(&index, "hidden"), [].into());
        // A pod that goes while nobody sees it, and one that comes with the Namespace.
        assert_eq!(index.apply(delete(Kind::Pod, "hidden/a")), []);
        let events = [
            delete(Kind::Pod, "hidden/b"),
            namespace("hidden"),
            pods[0].clone(),
        ];
        let changes = index.apply_all(events);
        check(&index, &mut installed, &changes);
        assert_eq!(pod_names(&index, "hidden"), both.into());
        // Pods of a Namespace that goes and comes at once stay.
        let events = [delete(Kind::Namespace, "hidden"), namespace("hidden")];
        assert_eq!(index.apply_all(events), []);
    }
}
