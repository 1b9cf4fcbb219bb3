#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use headless_ebpf::abi::PodsMode;

use super::super::fixtures::{delete, index, namespace, pod, service, settings, shown, slice};
use super::*;
use crate::records::EndpointScope;
use crate::watch::Reason;

mod objects;

const WEB: &[&str] = &["web/tcp/80"];

/// The flags by the numbers that [`shown`] prints.
const NONE: u16 = 0;
const PASS: u8 = NameFlags::PASS.0;
const CLUSTER_IP: u8 = NameFlags::CLUSTER_IP.0;
const UNKNOWN: u8 = NameFlags::ENDPOINTS_UNKNOWN.0;
const REPEATED: u8 = NameFlags::REPEATED.0;
const NAMESPACE: u8 = NameFlags::NO_SERVICE.0;

fn empty() -> Index {
    Index::new(settings())
}

fn all() -> Settings {
    Settings {
        endpoints: EndpointScope::All,
        ..settings()
    }
}

/// What the changes so far add up to must be what the index says, by every way
/// of asking.
fn check(index: &Index, installed: &mut BTreeMap<RelativeName, NameData>, changes: &[NameChange]) {
    for NameChange { name, data } in changes {
        match data {
            Some(data) => {
                let before = installed.insert(name.clone(), data.clone());
                assert_ne!(before.as_ref(), Some(data), "{name} did not change");
            }
            None => assert!(installed.remove(name).is_some(), "{name} was not there"),
        }
    }
    let names: BTreeMap<_, _> = index.names().collect();
    assert!(names.keys().eq(installed.keys()));
    for (name, data) in installed {
        let wire = name.as_bytes();
        assert_eq!(index.detailed(wire).as_ref(), Some(&*data), "{name}");
        let plain = NameData {
            details: None,
            ..data.clone()
        };
        assert_eq!(index.name(wire).as_ref(), Some(&plain), "{name}");
        assert_eq!(names[name], plain, "{name}");
    }
}

fn nginx() -> [Event; 3] {
    [
        namespace("default"),
        service("default", "nginx", "None", WEB),
        slice(
            "default/nginx-1",
            "nginx",
            WEB,
            &["10.0.0.22=web-0", "10.0.0.23=web-1"],
        ),
    ]
}

#[test]
fn headless_service_in_every_order_of_arrival() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut index = empty();
        let mut installed = BTreeMap::new();
        let events = nginx();
        for event in order {
            let changes = index.apply(events[event].clone());
            check(&index, &mut installed, &changes);
        }
        let names: Vec<_> = installed.keys().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "nginx.default",
                "web-0.nginx.default",
                "web-1.nginx.default",
                "default"
            ]
        );
        for event in ["Namespace", "Service", "EndpointSlice"] {
            let gone = match event {
                "Namespace" => delete(Kind::Namespace, "default"),
                "Service" => delete(Kind::Service, "default/nginx"),
                _ => delete(Kind::EndpointSlice, "default/nginx-1"),
            };
            let changes = index.apply(gone);
            check(&index, &mut installed, &changes);
        }
        assert!(installed.is_empty());
        assert!(
            index.namespaces.is_empty() && index.services.is_empty() && index.reverse.is_empty()
        );
    }
}

#[test]
fn changes_say_what_names_hold() {
    let mut index = empty();
    assert_eq!(
        shown(&index.apply(namespace("default"))),
        [format!("+default {NAMESPACE}")]
    );
    assert!(
        index
            .apply(service("default", "nginx", "None", WEB))
            .is_empty(),
        "trap T1"
    );
    let [_, _, endpoints] = nginx();
    assert_eq!(
        shown(&index.apply(endpoints.clone())),
        [
            format!("+nginx.default {NONE} 10.0.0.22 10.0.0.23 endpoints:80x2"),
            format!("+web-0.nginx.default {NONE} 10.0.0.22"),
            format!("+web-1.nginx.default {NONE} 10.0.0.23"),
        ]
    );
    assert!(index.apply(endpoints).is_empty(), "nothing changed");
}

#[test]
fn one_endpoint_of_many_costs_two_names() {
    let mut index = empty();
    index.apply_all(nginx());
    let fewer = slice("default/nginx-1", "nginx", WEB, &["10.0.0.22=web-0"]);
    assert_eq!(
        shown(&index.apply(fewer)),
        [
            format!("+nginx.default {NONE} 10.0.0.22 endpoints:80x1"),
            "-web-1.nginx.default".to_owned(),
        ]
    );
    let moved = slice(
        "default/nginx-1",
        "nginx",
        WEB,
        &["10.0.0.22=web-0", "10.0.0.39=web-2"],
    );
    assert_eq!(
        shown(&index.apply(moved)),
        [
            format!("+nginx.default {NONE} 10.0.0.22 10.0.0.39 endpoints:80x2"),
            format!("+web-2.nginx.default {NONE} 10.0.0.39"),
        ]
    );
}

#[test]
fn additions_come_before_removals() {
    let mut index = empty();
    index.apply_all(nginx());
    let replaced = slice(
        "default/nginx-1",
        "nginx",
        WEB,
        &["10.0.0.30=a-0", "10.0.0.31=z-9"],
    );
    assert_eq!(
        shown(&index.apply(replaced)),
        [
            format!("+nginx.default {NONE} 10.0.0.30 10.0.0.31 endpoints:80x2"),
            format!("+a-0.nginx.default {NONE} 10.0.0.30"),
            format!("+z-9.nginx.default {NONE} 10.0.0.31"),
            "-web-0.nginx.default".to_owned(),
            "-web-1.nginx.default".to_owned(),
        ]
    );
}

#[test]
fn an_endpoint_that_moves_between_slices_never_goes() {
    let mut index = empty();
    index.apply_all(nginx());
    let second = slice("default/nginx-2", "nginx", WEB, &["10.0.0.23=web-1"]);
    let both = shown(&index.apply(second.clone()));
    assert_eq!(
        both,
        [
            format!("+nginx.default {NONE} 10.0.0.22 10.0.0.23 endpoints:80x2"),
            format!("+web-1.nginx.default {REPEATED} 10.0.0.23"),
        ],
        "it counts twice for a while"
    );
    let first = slice("default/nginx-1", "nginx", WEB, &["10.0.0.22=web-0"]);
    let changes = index.apply(first.clone());
    assert!(changes.iter().all(|change| change.data.is_some()));
    // Taken away first, but in one batch with its return.
    let mut index = empty();
    index.apply_all(nginx());
    assert!(index.apply_all([first, second]).is_empty());
}

#[test]
fn slices_that_change_their_service_move() {
    let mut index = empty();
    let mut installed = BTreeMap::new();
    let changes = index.apply_all(nginx());
    check(&index, &mut installed, &changes);
    let other = [
        service("default", "other", "None", WEB),
        slice("default/nginx-1", "other", WEB, &["10.0.0.22=web-0"]),
    ];
    let changes = index.apply_all(other);
    assert_eq!(
        shown(&changes),
        [
            "-nginx.default".to_owned(),
            "-web-0.nginx.default".to_owned(),
            "-web-1.nginx.default".to_owned(),
            format!("+other.default {NONE} 10.0.0.22 endpoints:80x1"),
            format!("+web-0.other.default {NONE} 10.0.0.22"),
        ]
    );
    check(&index, &mut installed, &changes);
    let unowned = slice("default/nginx-1", "", WEB, &["10.0.0.22=web-0"]);
    let changes = index.apply(unowned);
    check(&index, &mut installed, &changes);
    assert_eq!(installed.len(), 1, "only the namespace is left");
}

#[test]
fn cluster_ip_services_always_exist() {
    let service = |ports: &[&str]| service("default", "api", "10.96.0.7,fd00::7", ports);
    let mut index = empty();
    index.apply(namespace("default"));
    assert_eq!(
        shown(&index.apply(service(WEB))),
        [format!(
            "+api.default {} 10.96.0.7 fd00::7 own:80x1",
            CLUSTER_IP | UNKNOWN
        )]
    );
    assert_eq!(
        shown(&index.apply(service(&[]))),
        [format!(
            "+api.default {} 10.96.0.7 fd00::7 own:-x1",
            CLUSTER_IP | UNKNOWN
        )],
        "no port"
    );
    let endpoints = slice("default/api-1", "api", WEB, &["10.0.0.9"]);
    assert!(index.apply(endpoints.clone()).is_empty());

    let mut index = Index::new(all());
    let changes = index.apply_all([namespace("default"), service(WEB), endpoints]);
    assert_eq!(
        shown(&changes),
        [
            format!("+default {NAMESPACE}"),
            format!("+api.default {CLUSTER_IP} 10.96.0.7 fd00::7 own:80x1 endpoints:80x1"),
            format!("+10-0-0-9.api.default {NONE} 10.0.0.9"),
        ]
    );
}

#[test]
fn kinds_change_in_place() {
    let mut index = empty();
    let mut installed = BTreeMap::new();
    for kind in [
        "None",
        "10.96.0.7",
        "db.example.com",
        "None",
        "-",
        "10.96.0.7",
        "None",
    ] {
        let [namespace, _, endpoints] = nginx();
        let events = [namespace, service("default", "nginx", kind, WEB), endpoints];
        let changes = index.apply_all(events);
        check(&index, &mut installed, &changes);
        let names = if kind == "None" {
            4
        } else {
            1 + usize::from(kind != "-")
        };
        assert_eq!(installed.len(), names, "{kind}");
    }
    let changes = index.apply(service("default", "nginx", "db.example.com", WEB));
    assert_eq!(
        shown(&changes),
        [
            format!("+nginx.default {PASS}"),
            "-web-0.nginx.default".to_owned(),
            "-web-1.nginx.default".to_owned(),
        ]
    );
}

#[test]
fn endpoint_names_are_shared_merged_and_made_of_addresses() {
    let mut index = empty();
    let changes = index.apply_all([
        namespace("default"),
        service("default", "db", "None", &[]),
        slice(
            "default/db-a",
            "db",
            WEB,
            &["10.0.0.1=a", "10.0.0.2=a", "10.0.0.3"],
        ),
        slice(
            "default/db-b",
            "db",
            &[],
            &["fd00::1=a", "fd00::", "10.0.0.2=a"],
        ),
    ]);
    assert_eq!(
        shown(&changes),
        [
            format!("+default {NAMESPACE}"),
            format!(
                "+db.default {NONE} 10.0.0.1 10.0.0.2 10.0.0.3 fd00:: fd00::1 endpoints:-,80x5"
            ),
            format!("+10-0-0-3.db.default {NONE} 10.0.0.3"),
            format!("+a.db.default {REPEATED} 10.0.0.1 10.0.0.2 fd00::1"),
            format!("+fd00--0.db.default {NONE} fd00::"),
        ]
    );
    assert_eq!(
        index.name(b"\x0810-0-0-1\x02db\x07default"),
        None,
        "trap T10"
    );
}

#[test]
fn names_with_dots_or_without_room_are_not_names() {
    let mut index = empty();
    index.apply_all([
        namespace("default"),
        service("default", "db", "None", WEB),
        slice("default/db-a", "db", WEB, &["10.0.0.1=pod.with.dots"]),
    ]);
    assert_eq!(index.names().count(), 2);
    assert_eq!(index.name(b"\x0dpod.with.dots\x02db\x07default"), None);

    let zone = ["a".repeat(63), "b".repeat(63), "c".repeat(50)].join(".");
    let narrow = Settings::new(zone.parse().unwrap());
    let long = "n".repeat(60);
    let index = super::super::fixtures::index(
        narrow,
        vec![
            namespace("default"),
            service("default", "db", "None", WEB),
            slice(
                "default/db-a",
                "db",
                WEB,
                &[&format!("10.0.0.1={long}"), "10.0.0.2=ok"],
            ),
        ],
    );
    let mut names: Vec<_> = index.names().map(|(name, _)| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["db.default", "default", "ok.db.default"]);
    let reasons: Vec<_> = index
        .problems()
        .into_iter()
        .map(|problem| problem.reason)
        .collect();
    // 60 + 2 + 7 + 3 + 178 bytes and four dots.
    assert_eq!(reasons, [Reason::NameTooLong(254)]);
}

#[test]
fn a_relist_is_a_difference() {
    let mut index = empty();
    assert!(!index.synced());
    assert_eq!(
        index.missing(),
        ["namespaces", "services", "endpointslices"]
    );
    index.apply_all(nginx());
    index.apply(service("default", "old", "10.96.0.1", WEB));
    index.apply_all(Kind::ALL.map(Event::Restarted));
    assert!(index.synced());

    // A list that breaks off deletes nothing.
    assert!(index.apply(Event::Restart(Kind::Service)).is_empty());
    assert!(
        index
            .apply(service("default", "old", "10.96.0.1", WEB))
            .is_empty()
    );
    assert!(index.synced(), "what was known stays known");
    // The next one counts alone.
    let changes = index.apply_all([
        Event::Restart(Kind::Service),
        service("default", "nginx", "None", WEB),
        service("default", "new", "10.96.0.2", WEB),
        Event::Restarted(Kind::Service),
    ]);
    let mut shown = shown(&changes);
    shown.sort();
    assert_eq!(
        shown,
        [
            format!("+new.default {} 10.96.0.2 own:80x1", CLUSTER_IP | UNKNOWN),
            "-old.default".to_owned()
        ]
    );

    for (kind, left) in [(Kind::EndpointSlice, 2), (Kind::Namespace, 0)] {
        index.apply_all([Event::Restart(kind), Event::Restarted(kind)]);
        assert_eq!(index.names().count(), left, "{kind:?}");
    }
}

#[test]
fn a_namespace_that_goes_takes_its_services_along() {
    let mut index = empty();
    let mut installed = BTreeMap::new();
    let changes = index.apply_all(nginx());
    check(&index, &mut installed, &changes);
    let changes = index.apply_all([namespace("other"), service("other", "x", "10.96.0.1", WEB)]);
    check(&index, &mut installed, &changes);
    let changes = index.apply(delete(Kind::Namespace, "default"));
    check(&index, &mut installed, &changes);
    assert_eq!(changes.last().unwrap().name.to_string(), "default");
    assert_eq!(installed.len(), 2);
    let changes = index.apply(namespace("default"));
    check(&index, &mut installed, &changes);
    assert_eq!(changes.first().unwrap().name.to_string(), "default");
    assert_eq!(installed.len(), 6);
}
