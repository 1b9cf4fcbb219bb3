//! What names hold: dns-rules 1.1, 1.4 and 1.5 (CoreDNS, `backend_lookup.go`).

use super::*;

const SUFFIX: &str = "default.svc.cluster.local.";

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
fn servers_of_headless_services() {
    let index = index(settings(), cluster());
    let answer = answered(&index, "_web._tcp.nginx.default.svc SRV");
    let owner = format!("_web._tcp.nginx.{SUFFIX}");
    // The port is the target port of the slice.
    let target = |label: &str| format!("{owner} 30 SRV 0 33 8080 {label}.nginx.{SUFFIX}");
    assert_eq!(
        shown(&answer.answers),
        ["10-0-0-39", "web-0", "web-1"].map(target)
    );
    assert_eq!(
        shown(&answer.additionals),
        [
            format!("10-0-0-39.nginx.{SUFFIX} 30 A 10.0.0.39"),
            format!("web-0.nginx.{SUFFIX} 30 A 10.0.0.22"),
            format!("web-1.nginx.{SUFFIX} 30 A 10.0.0.23"),
        ]
    );
    let every = answered(&index, "nginx.default.svc SRV");
    assert_eq!((every.answers.len(), every.additionals.len()), (6, 3));
    assert!(shown(&every.answers)[0].contains(" SRV 0 16 "));
    let one = answered(&index, "web-1.nginx.default.svc SRV");
    assert_eq!(
        shown(&one.answers),
        ["8080", "9090"].map(|port| {
            format!("web-1.nginx.{SUFFIX} 30 SRV 0 50 {port} web-1.nginx.{SUFFIX}")
        })
    );
}

#[test]
fn servers_of_cluster_ip_services() {
    let index = index(settings(), cluster());
    // Two families count twice; the record is one.
    let answer = answered(&index, "_http._tcp.api.default.svc SRV");
    let target = format!("api.{SUFFIX}");
    assert_eq!(
        shown(&answer.answers),
        [format!("_http._tcp.api.{SUFFIX} 30 SRV 0 50 80 {target}")]
    );
    assert_eq!(
        shown(&answer.additionals),
        [
            format!("{target} 30 A 10.96.0.7"),
            format!("{target} 30 AAAA fd00:96::7")
        ]
    );
    // A port without a name is found where no name is asked for.
    let every = answered(&index, "api.default.svc SRV");
    assert_eq!(
        shown(&every.answers),
        ["53", "80"].map(|port| format!("{target} 30 SRV 0 25 {port} {target}"))
    );
    let dns = answered(&index, "kube-dns.kube-system.svc SRV");
    assert_eq!(dns.answers.len(), 2, "TCP and UDP have one port");
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
        dns_service: ("default".into(), "nginx".into()),
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
        dns_service: ("default".into(), "nosuch".into()),
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

#[test]
fn external_names_lead_out_of_the_zone() {
    let index = index(settings(), cluster());
    let alias = format!("db.{SUFFIX} 30 CNAME db.Example.com.");
    let answer = answered(&index, "db.default.svc A");
    assert_eq!(shown(&answer.answers), std::slice::from_ref(&alias));
    let chase = answer.chase.clone().unwrap();
    assert_eq!(
        (chase.target.to_ascii(), chase.qtype),
        ("db.Example.com.".to_owned(), 1)
    );
    assert_eq!(
        ask(&index, "db.default.svc CNAME"),
        std::slice::from_ref(&alias)
    );
    let plain = answered(&index, "db.default.svc CNAME");
    assert_eq!(plain.chase, None);

    let name: Name = format!("db.{SUFFIX}").parse().unwrap();
    let address = RData::A("192.0.2.1".parse().unwrap());
    let found = Record::from_rdata(chase.target, 60, address);
    let chased = answer.clone().chased(&index, &name, Some(vec![found]));
    assert_eq!(
        shown(&chased.answers),
        ["db.Example.com. 60 A 192.0.2.1".to_owned(), alias]
    );
    assert_eq!(chased.chase, None);
    let failed = answer.chased(&index, &name, None);
    assert!(failed.answers.is_empty() && failed.authorities.len() == 1);
    assert_eq!(failed.rcode, ResponseCode::NoError);

    let chain = answered(&index, "via.default.svc AAAA");
    assert_eq!(
        shown(&chain.answers),
        [
            format!("db.{SUFFIX} 30 CNAME db.Example.com."),
            format!("via.{SUFFIX} 30 CNAME db.{SUFFIX}"),
        ]
    );
    assert_eq!(chain.chase.unwrap().qtype, 28);
}

#[test]
fn external_names_within_the_zone_are_followed() {
    let index = index(settings(), cluster());
    let answer = ask(&index, "alias6.default.svc A");
    assert_eq!(answer.len(), 5, "two CNAMEs, three addresses: {answer:?}");
    assert!(answer.contains(&format!("alias6.{SUFFIX} 30 CNAME alias.{SUFFIX}")));
    assert!(answer.contains(&format!("alias.{SUFFIX} 30 CNAME nginx.{SUFFIX}")));
    assert!(answer.contains(&format!("nginx.{SUFFIX} 30 A 10.0.0.22")));
    // No record of the type at the end, no CNAME either.
    for name in ["alias6 AAAA", "broken A", "loop A", "ping A"] {
        let (name, kind) = name.split_once(' ').unwrap();
        assert_eq!(
            ask(&index, &format!("{name}.default.svc {kind}")),
            ["NODATA"],
            "{name}"
        );
    }
    assert_eq!(ask(&index, "broken.default.svc CNAME").len(), 1);
}

#[test]
fn chains_are_followed_so_far() {
    // hop-0 leads to the addresses; hop-n takes n + 1 CNAMEs.
    let mut events = cluster();
    for hop in 0..14u32 {
        let target = match hop {
            0 => "nginx".to_owned(),
            _ => format!("hop-{}", hop - 1),
        };
        let target = format!("{target}.default.svc.cluster.local");
        events.push(service("default", &format!("hop-{hop}"), &target, &[]));
    }
    let index = index(settings(), events);
    assert_eq!(ask(&index, "hop-10.default.svc A").len(), 11 + 3);
    assert_eq!(ask(&index, "hop-11.default.svc A"), ["NODATA"]);
}

/// dns-rules 1.5, "PTR" (CoreDNS, `reverse.go`).
#[test]
fn pointers() {
    for settings in [settings(), all()] {
        let unknown = match settings.endpoints {
            EndpointScope::All => "Upstream",
            EndpointScope::Headless => "ClusterDns",
        };
        let endpoints_named = settings.endpoints == EndpointScope::All;
        let index = index(settings, cluster());
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
        // Labels left of the 32 nibbles are not looked at.
        let more = format!("x.{nibbles}");
        for (owner, target, is_endpoint) in [
            ("7.0.96.10.in-addr.arpa.", "api.default", false),
            // The Namespace object need not exist.
            ("9.0.96.10.in-addr.arpa.", "lost.lost", false),
            ("22.0.0.10.In-Addr.arpa.", "web-0.nginx.default", true),
            ("39.0.0.10.in-addr.arpa.", "10-0-0-39.nginx.default", true),
            (nibbles, "a.dual.default", true),
            (&more, "a.dual.default", true),
        ] {
            let pointer = format!("{owner} 30 PTR {target}.svc.cluster.local.");
            let expected = if is_endpoint && !endpoints_named {
                // The same address may be an endpoint's of a Service with a cluster IP.
                unknown.to_owned()
            } else {
                pointer
            };
            assert_eq!(ask(&index, &format!("{owner} PTR")), [expected]);
        }
        for question in [
            "9.9.9.9.in-addr.arpa. PTR",
            "9.9.9.in-addr.arpa. PTR",
            "1.22.0.0.10.in-addr.arpa. PTR",
            "022.0.0.10.in-addr.arpa. PTR",
            "1.0.0.0.ip6.arpa. PTR",
            "22.0.0.10.in-addr.arpa. A",
            "22.0.0.10.in-addr.arpa. TXT",
            "nginx.default.svc.in-addr.arpa. A",
        ] {
            assert_eq!(ask(&index, question), [unknown], "{question}");
        }
    }
}

#[test]
fn pointers_to_endpoints_of_cluster_ip_services() {
    let question = "1.2.0.10.in-addr.arpa. PTR";
    let index = index(all(), cluster());
    assert_eq!(
        ask(&index, question),
        [format!(
            "1.2.0.10.in-addr.arpa. 30 PTR 10-0-2-1.api.{SUFFIX}"
        )]
    );
    let index = super::index(settings(), cluster());
    assert_eq!(ask(&index, question), ["ClusterDns"]);
}

#[test]
fn one_pointer_for_each_service_and_name() {
    let mut events = cluster();
    events.extend([
        service("default", "twin", "None", &[]),
        slice(
            "default/twin-1",
            "twin",
            &[],
            &["10.0.0.22=web-0", "10.0.0.22=other"],
        ),
        slice("default/twin-2", "twin", &[], &["10.0.0.22=web-0"]),
        // A slice needs no Service to be pointed at.
        slice("default/orphan-1", "orphan", &[], &["10.0.0.22"]),
    ]);
    let index = index(all(), events);
    let owner = "22.0.0.10.in-addr.arpa.";
    let target = |name: &str| format!("{owner} 30 PTR {name}.{SUFFIX}");
    assert_eq!(
        ask(&index, &format!("{owner} PTR")),
        [
            "10-0-0-22.orphan",
            "other.twin",
            "web-0.nginx",
            "web-0.twin"
        ]
        .map(target)
    );
}

#[test]
fn capitals_of_an_address_show_in_targets_alone() {
    let slice = slice(
        "default/c",
        "capitals",
        &["web/tcp/80"],
        &["fd00::6=FD00--6"],
    );
    let objects = vec![
        namespace("default"),
        service("default", "capitals", "None", &[]),
        slice,
    ];
    let index = index(settings(), objects);
    let question = "fd00--6.capitals.default.svc";
    let answer = answered(&index, &format!("{question} SRV"));
    assert_eq!(
        answer.answers[0].data.to_string(),
        "0 100 80 FD00--6.capitals.default.svc.cluster.local."
    );
    assert_eq!(
        ask(&index, &format!("{question} AAAA")),
        [format!("{question}.cluster.local. 30 AAAA fd00::6")]
    );
    assert!(index.name(b"\x07fd00--6\x08capitals\x07default").is_some());
}
