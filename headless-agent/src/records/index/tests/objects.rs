//! Problems between objects, pods, the addresses of the cluster's DNS, and the revision.

use super::*;

#[test]
fn problems_of_several_objects() {
    let index = index(
        settings(),
        vec![
            service("gone", "a", "10.96.0.1", WEB),
            slice("gone/b-1", "b", WEB, &["10.0.0.1"]),
        ],
    );
    let problems: Vec<_> = index.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "EndpointSlice gone/b-1: Service gone/b does not exist",
            "Service gone/a: Namespace gone does not exist",
        ]
    );
}

#[test]
fn pods_have_names_where_they_are_verified() {
    let verified = Settings {
        pods: PodsMode::Verified,
        ..settings()
    };
    let mut index = Index::new(verified);
    let mut installed = BTreeMap::new();
    let mut steps = vec![
        (namespace("default"), vec!["+default 16"]),
        (
            pod("default", "a", "10.0.0.1"),
            vec!["+10-0-0-1.default.pod.cluster 16 10.0.0.1"],
        ),
        (
            pod("default", "b", "10.0.0.1"),
            vec!["+10-0-0-1.default.pod.cluster 144 10.0.0.1"],
        ),
        (pod("default", "c", "10.0.0.1"), vec![]),
        (delete(Kind::Pod, "default/c"), vec![]),
        (
            delete(Kind::Pod, "default/b"),
            vec!["+10-0-0-1.default.pod.cluster 16 10.0.0.1"],
        ),
        (
            pod("default", "a", "fd00::1"),
            vec![
                "+fd00--1.default.pod.cluster 16 fd00::1",
                "-10-0-0-1.default.pod.cluster",
            ],
        ),
        (
            delete(Kind::Pod, "default/a"),
            vec!["-fd00--1.default.pod.cluster"],
        ),
    ];
    for (event, expected) in steps.drain(..) {
        let changes = index.apply(event);
        let mut found = shown(&changes);
        found.sort();
        assert_eq!(found, expected);
        check(&index, &mut installed, &changes);
    }
    let mut index = empty();
    assert!(
        index.apply(pod("default", "a", "10.0.0.1")).is_empty(),
        "insecure"
    );
}

#[test]
fn pods_are_counted_by_address() {
    let verified = Settings {
        pods: PodsMode::Verified,
        ..settings()
    };
    let mut index = Index::new(verified);
    assert_eq!(index.missing().last(), Some(&"pods"));
    let address = "10.0.0.1".parse().unwrap();
    index.apply_all([
        namespace("default"),
        pod("default", "a", "10.0.0.1"),
        pod("default", "b", "10.0.0.1"),
    ]);
    index.apply(pod("default", "b", "10.0.0.1"));
    assert_eq!(index.pods("default", address), 2);
    index.apply(pod("default", "a", "10.0.0.2"));
    assert_eq!(index.pods("default", address), 1);
    index.apply_all([
        Event::Restart(Kind::Pod),
        pod("default", "a", "10.0.0.2"),
        Event::Restarted(Kind::Pod),
    ]);
    assert_eq!(index.pods("default", address), 0);
    index.apply(delete(Kind::Pod, "default/a"));
    index.apply(delete(Kind::Namespace, "default"));
    assert!(index.namespaces.is_empty());
}

#[test]
fn the_cluster_dns_has_its_own_addresses_and_its_endpoints() {
    let mut index = empty();
    let dns = settings().dns_service;
    assert!(index.service_addresses(&dns).is_empty());
    index.apply_all([
        service("kube-system", "kube-dns", "10.96.0.10", &["dns/udp/53"]),
        slice(
            "kube-system/kube-dns-1",
            "kube-dns",
            &["dns/udp/53"],
            &["10.244.0.3", "10.244.0.2"],
        ),
    ]);
    let shown: Vec<_> = index
        .service_addresses(&dns)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["10.96.0.10", "10.244.0.2", "10.244.0.3"]);
}

#[test]
fn the_revision_follows_objects_not_lists() {
    let mut index = empty();
    index.apply_all(nginx());
    let revision = index.revision();
    index.apply_all([
        Event::Restart(Kind::Service),
        service("default", "nginx", "None", WEB),
    ]);
    assert_eq!(index.revision(), revision);
    // The number of a port is in the SRV record only.
    let changes = index.apply(slice(
        "default/nginx-1",
        "nginx",
        &["web/tcp/81"],
        &["10.0.0.22=web-0", "10.0.0.23=web-1"],
    ));
    assert_eq!(
        shown(&changes),
        [format!(
            "+nginx.default {NONE} 10.0.0.22 10.0.0.23 endpoints:81x2"
        )]
    );
    assert!(index.revision() > revision);
}

/// The index keeps nothing of objects that a new list lacks.
#[test]
fn objects_that_vanish_in_a_new_list_are_forgotten() {
    let mut index = index(
        Settings {
            pods: PodsMode::Verified,
            endpoints: EndpointScope::All,
            ..settings()
        },
        vec![
            namespace("default"),
            service("default", "api", "10.96.0.1", WEB),
            slice("default/api-1", "api", WEB, &["10.0.0.1", "fd00::1"]),
            // Objects without their Service and without their Namespace.
            slice("lost/web-1", "web", WEB, &["10.0.0.1=a"]),
            service("nowhere", "web", "None", WEB),
            pod("default", "a", "10.0.0.1"),
        ],
    );
    assert_eq!(index.problems().len(), 2);
    assert!(!index.pointers().addresses.is_empty());
    index.apply_all(Kind::ALL.map(Event::Restart));
    index.apply_all(Kind::ALL.map(Event::Restarted));
    assert_eq!(index.names().count(), 0);
    assert_eq!(index.problems(), []);
    assert_eq!(index.pointers().addresses, []);
    assert!(index.namespaces.is_empty(), "{:?}", index.namespaces);
    assert!(index.services.is_empty());
    assert!(index.owners.is_empty() && index.holders.is_empty());
}
