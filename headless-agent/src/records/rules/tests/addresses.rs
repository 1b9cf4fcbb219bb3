//! Addresses of Services and endpoints, and the case of names in replies.

use super::*;

#[test]
fn addresses_of_headless_services() {
    let index = index(settings(), cluster());
    let addresses = |kind: &str, list: &[&str]| {
        let line = |address: &&str| format!("dual.{SUFFIX} 30 {kind} {address}");
        list.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        ask(&index, "dual.default.svc A"),
        addresses("A", &["10.0.1.1", "10.0.1.2"])
    );
    assert_eq!(
        ask(&index, "dual.default.svc AAAA"),
        addresses("AAAA", &["5678:abcd::1", "fd00::1"])
    );
    for (question, expected) in [
        ("a.dual.default.svc A", "10.0.1.1"),
        ("a.dual.default.svc AAAA", "fd00::1"),
        ("5678-abcd--1.dual.default.svc AAAA", "5678:abcd::1"),
        ("10-0-0-39.nginx.default.svc A", "10.0.0.39"),
    ] {
        let (name, kind) = question.split_once(' ').unwrap();
        assert_eq!(
            ask(&index, question),
            [format!("{name}.cluster.local. 30 {kind} {expected}")]
        );
    }
}

#[test]
fn addresses_of_cluster_ip_services() {
    let index = index(settings(), cluster());
    assert_eq!(
        ask(&index, "api.default.svc A"),
        [format!("api.{SUFFIX} 30 A 10.96.0.7")]
    );
    assert_eq!(
        ask(&index, "api.default.svc AAAA"),
        [format!("api.{SUFFIX} 30 AAAA fd00:96::7")]
    );
    assert_eq!(
        ask(&index, "_http._tcp.api.default.svc A"),
        [format!("_http._tcp.api.{SUFFIX} 30 A 10.96.0.7")]
    );
}

#[test]
fn the_zone_and_the_owner_keep_the_case_of_the_question() {
    let index = index(settings(), cluster());
    let answer = answered(&index, "_Web._tcp.Nginx.DEFAULT.svc.cLuStEr.LoCaL. SRV");
    assert_eq!(
        shown(&answer.answers)[0],
        "_Web._tcp.Nginx.DEFAULT.svc.cLuStEr.LoCaL. 30 SRV 0 33 8080 10-0-0-39.nginx.default.svc.cLuStEr.LoCaL."
    );
    assert_eq!(
        shown(&answer.additionals)[0],
        "10-0-0-39.nginx.default.svc.cLuStEr.LoCaL. 30 A 10.0.0.39"
    );
    let negative = answered(&index, "NoSuch.svc.cLuStEr.LoCaL. A");
    assert_eq!(
        shown(&negative.authorities),
        [
            "cLuStEr.LoCaL. 30 SOA ns.dns.cLuStEr.LoCaL. hostmaster.cLuStEr.LoCaL. 7 7200 1800 86400 30"
        ]
    );
}
