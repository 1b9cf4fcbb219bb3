#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use headless_ebpf::abi::PodsMode;

use super::super::fixtures::{delete, index, namespace, pod, service, settings, shown, slice};
use super::*;
use crate::records::{EndpointScope, RelativeName};
use crate::watch::Reason;

mod exposure;
mod large;
mod lists;
mod names;
mod objects;
mod oversized;
mod steps;

const WEB: &[&str] = &["web/tcp/80"];

/// The flags as the numbers that [`shown`] prints.
const NONE: u16 = 0;
const PASS: u16 = NameFlags::PASS.0;
const CLUSTER_IP: u16 = NameFlags::CLUSTER_IP.0;
const UNKNOWN: u16 = NameFlags::ENDPOINTS_UNKNOWN.0;
const REPEATED: u16 = NameFlags::REPEATED.0;
const NAMESPACE: u16 = NameFlags::NO_SERVICE.0;

fn empty() -> Index {
    Index::new(settings())
}

fn all() -> Settings {
    Settings {
        endpoints: EndpointScope::All,
        ..settings()
    }
}

/// The sum of all changes so far must equal the names of the index, whichever method
/// returns them.
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
    for (_, entry) in &index.services {
        let (naming, scope) = (entry.naming(index.name_max), index.settings.endpoints);
        let lens = entry.state.names(naming, scope);
        let longest = lens.map(|(name, _)| name.as_bytes().len()).max();
        assert_eq!(entry.state.longest_name(naming, scope), longest);
    }
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
            index.namespaces.is_empty() && index.services.is_empty() && index.owners.is_empty()
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
    // The endpoint goes and comes back in one batch.
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
            format!("+other.default {NONE} 10.0.0.22 endpoints:80x1"),
            format!("+web-0.other.default {NONE} 10.0.0.22"),
            "-web-0.nginx.default".to_owned(),
            "-web-1.nginx.default".to_owned(),
            "-nginx.default".to_owned(),
        ]
    );
    check(&index, &mut installed, &changes);
    let unowned = slice("default/nginx-1", "", WEB, &["10.0.0.22=web-0"]);
    let changes = index.apply(unowned);
    check(&index, &mut installed, &changes);
    assert_eq!(installed.len(), 1, "only the namespace is left");
}
