//! The records of the zone's apex, and of its name server.

use headless_ebpf::abi::Ttls;

use super::*;
use crate::corefile::{Exposure, Namespaces};
use crate::watch::{Kind, Object, ServiceRef};

fn in_default(name: &str) -> ServiceRef {
    ServiceRef {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

#[test]
fn the_soa_and_its_ttl() {
    for (ttl, negative) in [(5, 5), (300, 300), (3600, 300)] {
        let index = index(
            Settings {
                ttls: Ttls::of(ttl),
                ..settings()
            },
            cluster(),
        );
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

/// [`cluster`] with these slices of `kube-dns` instead of its own, and more objects.
fn with_dns(slices: &[&[&str]], more: Vec<Event>) -> Vec<Event> {
    let mut events = cluster();
    for (number, endpoints) in slices.iter().enumerate() {
        let path = format!("kube-system/kube-dns-{number}");
        events.push(slice(&path, "kube-dns", &[], endpoints));
    }
    events.extend(more);
    events
}

const DNS: &str = "kube-dns.kube-system.svc.cluster.local.";

#[test]
fn name_servers_are_the_services_over_the_cluster_dns() {
    let index = index(
        all(),
        with_dns(&[&["10.244.0.2", "10.244.0.3"]], Vec::new()),
    );
    let answer = answered(&index, "@ NS");
    assert_eq!(shown(&answer.answers), [format!("{ZONE} 30 NS {DNS}")]);
    let glue = [
        format!("{DNS} 30 A 10.96.0.10"),
        format!("{DNS} 30 AAAA fd00:96::a"),
    ];
    assert_eq!(shown(&answer.additionals), glue);
    let name = format!("ns.dns.{ZONE}");
    assert_eq!(ask(&index, "ns.dns A"), [format!("{name} 30 A 10.96.0.10")]);
    assert_eq!(
        ask(&index, "ns.dns AAAA"),
        [format!("{name} 30 AAAA fd00:96::a")]
    );

    // A headless Service over the same servers names each endpoint.
    let over = vec![
        service("default", "over", "None", &[]),
        slice(
            "default/over-1",
            "over",
            &[],
            &["10.244.0.3", "10.244.0.2", "10.9.9.9=x"],
        ),
        service("default", "beside", "10.96.0.77", &[]),
        slice("default/beside-1", "beside", &[], &["10.9.9.9"]),
    ];
    let index = super::index(all(), with_dns(&[&["10.244.0.2", "10.244.0.3"]], over));
    let answer = answered(&index, "@ NS");
    let over = |label| format!("{ZONE} 30 NS {label}.over.{SUFFIX}");
    let mut servers = vec![format!("{ZONE} 30 NS {DNS}")];
    servers.extend(["10-244-0-2", "10-244-0-3", "x"].map(over));
    servers.sort();
    assert_eq!(shown(&answer.answers), servers);
    assert_eq!(answer.additionals.len(), 5);
    assert_eq!(ask(&index, "ns.dns A").len(), 4);
}

/// CoreDNS does not leave out an address that it finds by two of its own addresses.
#[test]
fn a_server_of_both_families_has_its_addresses_twice() {
    let index = index(
        all(),
        with_dns(&[&["10.244.0.2"], &["fd00::2"]], Vec::new()),
    );
    let answer = answered(&index, "@ NS");
    assert_eq!((answer.answers.len(), answer.additionals.len()), (1, 4));
    assert_eq!(ask(&index, "ns.dns A").len(), 1);
}

/// Where the name servers are not known, the cluster's DNS answers.
#[test]
fn unknown_name_servers_are_not_guessed() {
    let unequal = vec![
        service("default", "one", "10.96.0.77", &[]),
        slice("default/one-1", "one", &[], &["10.244.0.2"]),
    ];
    let outside = vec![
        service("default", "away", "db.example.com", &[]),
        slice("default/away-1", "away", &[], &["10.244.0.2", "10.244.0.3"]),
    ];
    let elsewhere = Settings {
        dns_service: in_default("nosuch"),
        ..all()
    };
    let two: &[&[&str]] = &[&["10.244.0.2", "10.244.0.3"]];
    for (settings, events) in [
        (settings(), with_dns(two, Vec::new())),
        (all(), with_dns(two, unequal)),
        (all(), with_dns(two, outside)),
        (all(), with_dns(&[two[0], &["fd00::2"]], Vec::new())),
        (all(), with_dns(&[&[]], Vec::new())),
        (elsewhere, with_dns(two, Vec::new())),
    ] {
        let index = index(settings, events);
        for question in ["@ NS", "ns.dns A", "ns.dns AAAA"] {
            assert_eq!(ask(&index, question), ["ClusterDns"], "{question}");
        }
        for question in ["ns.dns HTTPS", "ns.dns SRV", "ns.dns MX"] {
            assert_eq!(ask(&index, question), ["NODATA"], "{question}");
        }
    }
}

/// A CoreDNS whose endpoint is not selected names itself. One with an endpoint, whose Services are
/// not selected, names nobody. A namespace that is not listed changes nothing.
#[test]
fn name_servers_are_services_that_are_selected() {
    let unselected = |mut event: Event, kind: Kind| {
        match &mut event {
            Event::Apply(Object::Service(it))
                if kind == Kind::Service && &*it.name == "kube-dns" =>
            {
                it.selected = false;
            }
            Event::Apply(Object::EndpointSlice(it)) if kind == Kind::EndpointSlice => {
                it.selected &= &*it.name != "kube-dns-0";
            }
            _ => {}
        }
        event
    };
    let events = with_dns(&[&["10.244.0.2"], &["10.244.0.3"]], Vec::new());
    let without = |kind| {
        let events = events.iter().cloned();
        index(all(), events.map(|event| unselected(event, kind)).collect())
    };
    for question in ["@ NS", "ns.dns A"] {
        assert_eq!(ask(&without(Kind::EndpointSlice), question), ["ClusterDns"]);
        assert_eq!(ask(&without(Kind::Service), question), ["NODATA"]);
    }
    let listed = Exposure {
        namespaces: Namespaces::Listed(["default".into()].into()),
        ..Exposure::default()
    };
    let settings = Settings {
        exposure: listed,
        ..all()
    };
    let index = index(settings, events.clone());
    assert_eq!(ask(&index, "@ NS"), [format!("{ZONE} 30 NS {DNS}")]);
    assert_eq!(ask(&index, "kube-dns.kube-system.svc A"), ["NXDOMAIN"]);
}

/// A tenant's Service over the cluster's DNS may have any number of endpoints beside it.
#[test]
fn more_name_servers_than_a_message_holds_are_not_collected() {
    let beside = |dns: &[&str], count: usize| {
        let mut endpoints: Vec<String> = dns.iter().map(|at| (*at).to_owned()).collect();
        endpoints.extend((dns.len()..count).map(|i| format!("10.9.{}.{}", i / 256, i % 256)));
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let over = vec![
            service("default", "over", "None", &[]),
            slice("default/over-1", "over", &[], &endpoints),
        ];
        index(all(), with_dns(&[dns], over))
    };
    let two = &["10.244.0.2", "10.244.0.3"];
    // The two addresses of `kube-dns` are servers, too. The servers are found once for each
    // address of the cluster's DNS.
    for (dns, fits) in [(&two[..1], RECORDS_MAX - 2), (two, RECORDS_MAX / 2 - 2)] {
        let index = beside(dns, fits);
        assert_eq!(answered(&index, "@ NS").answers.len(), fits + 1);
        assert_eq!(ask(&index, "ns.dns A").len(), fits + 1);
        let index = beside(dns, fits + 1);
        for question in ["@ NS", "ns.dns A", "ns.dns AAAA"] {
            assert_eq!(ask(&index, question), ["ClusterDns"], "{question}");
        }
    }
}
