//! The traps that [`crate::records::rules`] lists: surprising behaviour that we share
//! with CoreDNS.

use super::*;
use crate::records::fixtures::delete;
use crate::watch::Kind;

#[test]
fn t1_a_headless_service_without_ready_endpoints_does_not_exist() {
    let mut index = index(settings(), cluster());
    assert_eq!(ask(&index, "web-0.nginx.default.svc A").len(), 1);
    index.apply(slice("default/nginx-1", "nginx", &["web/tcp/8080"], &[]));
    for name in ["nginx", "web-0.nginx", "_web._tcp.nginx"] {
        assert_eq!(
            row(&index, &format!("{name}.default.svc")),
            "XXXXXXNXXXX",
            "{name}"
        );
    }
}

#[test]
fn t2_txt_of_an_empty_non_terminal_is_nxdomain() {
    let index = index(settings(), cluster());
    for name in ["@", "svc", "pod", "default.svc"] {
        assert_eq!(ask(&index, &format!("{name} TXT")), ["NXDOMAIN"]);
        assert_eq!(ask(&index, &format!("{name} A")), ["NODATA"]);
    }
}

#[test]
fn t3_soa_of_nothing_is_nodata_and_mixed_case_hides_the_name_server() {
    let index = index(settings(), cluster());
    assert_eq!(ask(&index, "no.such.name SOA"), ["NODATA"]);
    assert_eq!(ask(&index, "dns-version A"), ["NXDOMAIN"]);
    assert_eq!(ask(&index, "_tcp.nginx.default.svc A"), ["NXDOMAIN"]);
    assert_eq!(ask(&index, "Cluster.local. NS"), ["NODATA"]);
    assert_eq!(ask(&index, "ns.dns.Cluster.local. A"), ["NXDOMAIN"]);
    assert_eq!(ask(&index, "NS.dns.cluster.local. A").len(), 1);
    assert_eq!(ask(&index, "Cluster.local. SOA").len(), 1);
    // A search list makes this name. CoreDNS only looks at its beginning.
    assert_eq!(ask(&index, "ns.dns.cluster.local.default.svc A").len(), 1);
    assert_eq!(
        ask(&index, "ns.dns.cluster.local.default.svc TXT"),
        ["NXDOMAIN"]
    );
    assert_eq!(ask(&index, "ns.dns.default.svc A"), ["NXDOMAIN"]);
}

#[test]
fn t3_reverse_zones_have_the_same_names_at_their_apex() {
    let index = index(all(), cluster());
    for zone in ["in-addr.arpa.", "ip6.arpa."] {
        assert_eq!(ask(&index, &format!("{zone} A")), ["NODATA"]);
        assert_eq!(ask(&index, &format!("svc.{zone} A")), ["NODATA"]);
        assert_eq!(ask(&index, &format!("1.{zone} SOA")), ["NODATA"]);
        assert_eq!(ask(&index, &format!("dns-version.{zone} TXT")).len(), 1);
        let soa = answered(&index, &format!("{zone} SOA"));
        assert_eq!(
            shown(&soa.answers),
            [format!(
                "{zone} 30 SOA ns.dns.{zone} hostmaster.{zone} 7 7200 1800 86400 30"
            )]
        );
        let servers = answered(&index, &format!("{zone} NS"));
        assert_eq!(
            shown(&servers.answers),
            [format!("{zone} 30 NS kube-dns.kube-system.svc.{zone}")]
        );
    }
}

#[test]
fn t4_addresses_below_a_port_name() {
    let index = index(settings(), cluster());
    assert_eq!(ask(&index, "_web._tcp.nginx.default.svc A").len(), 3);
}

#[test]
fn t5_the_other_family_is_nodata_never_nxdomain() {
    let index = index(settings(), cluster());
    for name in ["nginx", "web-0.nginx", "bare", "_web._tcp.nginx"] {
        assert_eq!(ask(&index, &format!("{name}.default.svc AAAA")), ["NODATA"]);
    }
}

#[test]
fn t6_what_a_search_list_makes_is_nxdomain() {
    let index = index(settings(), cluster());
    for suffix in ["default.svc", "svc"] {
        for name in [
            "api.example.com",
            "example.com",
            "www.api.example.com",
            "host",
        ] {
            assert_eq!(
                ask(&index, &format!("{name}.{suffix} A")),
                ["NXDOMAIN"],
                "{name}.{suffix}"
            );
        }
    }
    assert_eq!(
        ask(&index, "api.example.com.cluster.local. A"),
        ["NXDOMAIN"]
    );
}

#[test]
fn t7_unknown_reverse_names_fall_through() {
    let index = index(all(), cluster());
    assert_eq!(ask(&index, "1.2.0.192.in-addr.arpa. PTR"), ["Upstream"]);
    assert_eq!(ask(&index, "8.b.d.0.1.0.0.2.ip6.arpa. NS"), ["Upstream"]);
}

#[test]
fn t9_an_address_in_two_slices_counts_twice() {
    let mut index = index(settings(), cluster());
    index.apply(slice(
        "default/nginx-2",
        "nginx",
        &["web/tcp/8080"],
        &["10.0.0.22=web-0"],
    ));
    let answer = answered(&index, "_web._tcp.nginx.default.svc SRV");
    assert_eq!((answer.answers.len(), answer.additionals.len()), (3, 3));
    assert!(
        shown(&answer.answers)
            .iter()
            .all(|line| line.contains(" SRV 0 25 8080 "))
    );
    assert_eq!(
        ask(&index, "nginx.default.svc A").len(),
        3,
        "each address once"
    );
    // A port without a number has no record but counts for the weight.
    index.apply(delete(Kind::EndpointSlice, "default/nginx-2"));
    index.apply(slice(
        "default/nginx-2",
        "nginx",
        &["web/tcp/-"],
        &["10.0.0.24=web-2"],
    ));
    let answer = answered(&index, "_web._tcp.nginx.default.svc SRV");
    assert_eq!(answer.answers.len(), 3);
    assert!(shown(&answer.answers)[0].contains(" SRV 0 25 8080 "));
    assert_eq!(ask(&index, "web-2.nginx.default.svc SRV"), ["NODATA"]);
}

#[test]
fn t10_a_hostname_hides_the_name_made_of_the_address() {
    let index = index(settings(), cluster());
    assert_eq!(ask(&index, "10-0-0-22.nginx.default.svc A"), ["NXDOMAIN"]);
    assert_eq!(ask(&index, "10-0-0-39.nginx.default.svc A").len(), 1);
}

#[test]
fn t11_the_same_address_in_two_slices_is_one_record() {
    let mut index = index(settings(), cluster());
    let second = slice(
        "default/dual-x",
        "dual",
        &["web/tcp/80"],
        &["10.0.1.1=a", "10.0.1.2=b"],
    );
    let before = ask(&index, "dual.default.svc A");
    index.apply(second);
    assert_eq!(ask(&index, "dual.default.svc A"), before);
    index.apply(delete(Kind::EndpointSlice, "default/dual-4"));
    assert_eq!(ask(&index, "dual.default.svc A"), before);
}

#[test]
fn t16_service_names_may_begin_with_a_digit() {
    let mut events = cluster();
    events.push(service(
        "default",
        "1-2-3-4",
        "10.96.0.20",
        &["http/tcp/80"],
    ));
    let index = index(settings(), events);
    assert_eq!(
        ask(&index, "1-2-3-4.default.svc A"),
        ["1-2-3-4.default.svc.cluster.local. 30 A 10.96.0.20"]
    );
    assert_eq!(
        ask(&index, "1-2-3-4.default.pod A"),
        ["1-2-3-4.default.pod.cluster.local. 30 A 1.2.3.4"]
    );
}
