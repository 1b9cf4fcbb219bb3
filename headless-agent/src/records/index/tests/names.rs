//! The names of each kind of Service.

use super::*;

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
    let index = crate::records::fixtures::index(
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
