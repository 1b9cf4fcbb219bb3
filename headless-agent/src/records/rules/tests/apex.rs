//! The records of the zone's apex, and of its name server.

use super::*;
use crate::watch::ServiceRef;

fn in_default(name: &str) -> ServiceRef {
    ServiceRef {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

#[test]
fn the_soa_and_its_ttl() {
    for (ttl, negative) in [(5, 5), (300, 300), (3600, 300)] {
        let index = index(Settings { ttl, ..settings() }, cluster());
        let soa = format!(
            "{ZONE} {negative} SOA ns.dns.{ZONE} hostmaster.{ZONE} 7 7200 1800 86400 {ttl}"
        );
        assert_eq!(ask(&index, "@ SOA"), std::slice::from_ref(&soa));
        assert_eq!(shown(&answered(&index, "nosuch A").authorities), [soa]);
        assert_eq!(
            ask(&index, "bare.default.svc A"),
            [format!("bare.{SUFFIX} {ttl} A 10.96.0.8")]
        );
        assert_eq!(
            ask(&index, "dns-version TXT"),
            [format!("dns-version.{ZONE} 28800 TXT 1.1.0")]
        );
    }
}

#[test]
fn name_servers_are_the_cluster_dns_service() {
    let index = index(settings(), cluster());
    let name = "kube-dns.kube-system.svc.cluster.local.";
    let answer = answered(&index, "@ NS");
    assert_eq!(shown(&answer.answers), [format!("{ZONE} 30 NS {name}")]);
    assert_eq!(
        shown(&answer.additionals),
        [
            format!("{name} 30 A 10.96.0.10"),
            format!("{name} 30 AAAA fd00:96::a")
        ]
    );
    assert_eq!(
        ask(&index, "ns.dns A"),
        [format!("ns.dns.{ZONE} 30 A 10.96.0.10")]
    );
    assert_eq!(
        ask(&index, "ns.dns AAAA"),
        [format!("ns.dns.{ZONE} 30 AAAA fd00:96::a")]
    );

    let elsewhere = Settings {
        dns_service: in_default("nginx"),
        ..settings()
    };
    let index = super::index(elsewhere, cluster());
    let answer = answered(&index, "@ NS");
    assert_eq!((answer.answers.len(), answer.additionals.len()), (3, 3));
    assert_eq!(
        shown(&answer.answers)[1],
        format!("{ZONE} 30 NS web-0.nginx.{SUFFIX}")
    );

    let nowhere = Settings {
        dns_service: in_default("nosuch"),
        dns_addresses: vec!["169.254.20.10".parse().unwrap()],
        ..settings()
    };
    let index = super::index(nowhere, cluster());
    let answer = answered(&index, "@ NS");
    assert_eq!(
        shown(&answer.answers),
        [format!("{ZONE} 30 NS ns.dns.{ZONE}")]
    );
    assert_eq!(
        shown(&answer.additionals),
        [format!("ns.dns.{ZONE} 30 A 169.254.20.10")]
    );
    assert_eq!(
        ask(&index, "ns.dns A"),
        [format!("ns.dns.{ZONE} 30 A 169.254.20.10")]
    );
}
