//! Which names exist (CoreDNS, `parse.go` and `handler.go` in `plugin/kubernetes`).

use super::*;
use crate::watch::{Kind, Object, Service, ServiceKind};

/// Columns: A AAAA SRV TXT CNAME PTR SOA NS MX HTTPS and an unassigned type.
#[test]
fn existence_by_type() {
    let index = index(all(), cluster());
    for (name, expected) in [
        ("@", "NNNXNNDDNNN"),
        ("svc", "NNNXNNNNNNN"),
        ("pod", "NNNXNNNNNNN"),
        ("empty.svc", "NNNXNNNNNNN"),
        ("empty.pod", "NNNXNNNNNNN"),
        ("default.svc", "NNNXNNNNNNN"),
        ("nosuch.svc", "XXXXXXNXXXX"),
        ("nosuch.pod", "XXXXXXNXXXX"),
        // ClusterIP.
        ("api.default.svc", "DDDNNNNNNNN"),
        ("bare.default.svc", "DNNNNNNNNNN"),
        ("10-0-2-1.api.default.svc", "DNDNNNNNNNN"),
        ("10-0-2-2.api.default.svc", "XXXXXXNXXXX"),
        ("_http._tcp.api.default.svc", "DDDNNNNNNNN"),
        ("_http._udp.api.default.svc", "XXXXXXNXXXX"),
        ("_tcp.api.default.svc", "XXXXXXNXXXX"),
        // Headless.
        ("nginx.default.svc", "DNDNNNNNNNN"),
        ("dual.default.svc", "DDDNNNNNNNN"),
        ("web-0.nginx.default.svc", "DNDNNNNNNNN"),
        ("web-9.nginx.default.svc", "XXXXXXNXXXX"),
        ("_web._tcp.nginx.default.svc", "DNDNNNNNNNN"),
        ("_http._tcp.nginx.default.svc", "XXXXXXNXXXX"),
        ("portless.default.svc", "DNNNNNNNNNN"),
        ("only.portless.default.svc", "DNNNNNNNNNN"),
        ("_web._tcp.portless.default.svc", "XXXXXXNXXXX"),
        ("unready.default.svc", "XXXXXXNXXXX"),
        ("nosuch.default.svc", "XXXXXXNXXXX"),
        ("lost.lost.svc", "XXXXXXNXXXX"),
        // ExternalName.
        ("db.default.svc", "DDNNDNNNNNN"),
        ("alias.default.svc", "DNNNDNNNNNN"),
        ("x.db.default.svc", "XXXXXXNXXXX"),
        ("_web._tcp.db.default.svc", "XXXXXXNXXXX"),
        ("_._.db.default.svc", "DDNNDNNNNNN"),
        ("literal.default.svc", "XXXXXXNXXXX"),
        // Names that the zone has of itself.
        ("dns-version", "XXXDXXNXXXX"),
        ("x.dns-version", "XXXXXXNXXXX"),
        ("ns.dns", "DDNXNXNNNNN"),
        ("dns", "XXXXXXNXXXX"),
        ("foo", "XXXXXXNXXXX"),
        // Names with too many labels.
        ("a.b.c.nginx.default.svc", "XXXXXXNXXXX"),
        ("a.b.c.d.nginx.default.svc", "XXXXXXNXXXX"),
        ("a._web._tcp.nginx.default.svc", "XXXXXXNXXXX"),
        ("svc.svc", "XXXXXXNXXXX"),
        ("nginx.default", "XXXXXXNXXXX"),
    ] {
        assert_eq!(row(&index, name), expected, "{name}");
    }
}

#[test]
fn transfers_are_refused() {
    let index = index(settings(), cluster());
    for question in ["@ AXFR", "@ TYPE251", "nosuch AXFR"] {
        assert_eq!(ask(&index, question), ["Refused"]);
    }
}

#[test]
fn names_outside_are_forwarded() {
    let index = index(settings(), cluster());
    for question in [
        "example.com. A",
        ". NS",
        "local. SOA",
        "xcluster.local. A",
        "nginx.default.svc.cluster. A",
    ] {
        assert_eq!(ask(&index, question), ["Upstream"], "{question}");
    }
}

#[test]
fn names_below_a_cluster_ip_may_be_unknown() {
    let index = index(settings(), cluster());
    let name = "10-0-2-1.api.default.svc";
    assert_eq!(row(&index, name), "FFFFFFNFFFF");
    assert_eq!(row(&index, "10-9-9-9.api.default.svc"), "FFFFFFNFFFF");
    assert_eq!(ask(&index, &format!("{name} A")), ["ClusterDns"]);
    // Names with a port follow from the Service alone.
    assert_eq!(row(&index, "_http._tcp.api.default.svc"), "DDDNNNNNNNN");
    assert_eq!(row(&index, "_x._tcp.api.default.svc"), "XXXXXXNXXXX");
}

#[test]
fn ports_match_with_or_without_underscore_in_any_case() {
    let index = index(settings(), cluster());
    let expected = [
        "_web._tcp.nginx",
        "web.tcp.nginx",
        "_WEB._Tcp.nginx",
        "_web._.nginx",
        "_web.tcp.nginx",
    ]
    .map(|name| ask(&index, &format!("{name}.default.svc A")).len());
    assert_eq!(expected, [3; 5]);
    let any = answered(&index, "_._tcp.nginx.default.svc SRV");
    assert_eq!(any.answers.len(), 6, "three endpoints, two ports");
    let none = ask(&index, "__web._tcp.nginx.default.svc SRV");
    assert_eq!(none, ["NXDOMAIN"], "one underscore is taken off");
}

#[test]
fn odd_bytes_equal_nothing() {
    let index = index(
        settings(),
        vec![
            namespace("default"),
            service("default", "db", "None", &["web/tcp/80"]),
            slice(
                "default/db-1",
                "db",
                &["web/tcp/80"],
                &["10.0.0.1=pod.with.dots"],
            ),
        ],
    );
    for label in [&b"pod.with.dots"[..], b"\\", b"\xff", b"d\0b"] {
        let labels = [label, b"db", b"default", b"svc", b"cluster", b"local"];
        let question = Question {
            name: Name::from_labels(labels).unwrap(),
            qtype: 1,
            qclass: 1,
        };
        let Resolution::Answer(answer) = resolve(&index, &question) else {
            panic!("forwarded");
        };
        assert_eq!(answer.rcode, ResponseCode::NXDomain);
    }
    // The label with dots is an SRV target all the same.
    assert_eq!(
        ask(&index, "db.default.svc SRV"),
        [
            "db.default.svc.cluster.local. 30 SRV 0 100 80 pod.with.dots.db.default.svc.cluster.local."
        ]
    );
}

/// Before the first lists are complete, CoreDNS answers with the records it has, and
/// SERVFAIL for a name that it does not find.
#[test]
fn before_the_first_lists() {
    let mut index = Index::new(settings());
    index.apply_all(cluster());
    assert_eq!(ask(&index, "nosuch.default.svc A"), ["ServFail"]);
    assert_eq!(ask(&index, "nginx.default.svc A").len(), 3);
    assert_eq!(ask(&index, "svc A"), ["NODATA"]);
    assert_eq!(ask(&index, "9.9.9.10.in-addr.arpa. PTR"), ["ClusterDns"]);
    index.apply_all([Kind::Namespace, Kind::Service].map(Event::Restarted));
    assert_eq!(ask(&index, "nosuch.default.svc A"), ["ServFail"]);
    index.apply(Event::Restarted(Kind::EndpointSlice));
    assert_eq!(ask(&index, "nosuch.default.svc A"), ["NXDOMAIN"]);
}

#[test]
fn any_zone() {
    for zone in ["k8s.example.com", "c"] {
        let index = index(Settings::new(zone.parse().unwrap()), cluster());
        assert_eq!(
            ask(&index, &format!("web-0.nginx.default.svc.{zone}. A")),
            [format!("web-0.nginx.default.svc.{zone}. 30 A 10.0.0.22")]
        );
        assert_eq!(ask(&index, "nginx.default.svc A"), ["Upstream"]);
    }
    // The longest zone wins, reverse or not.
    let index = index(Settings::new("k.in-addr.arpa".parse().unwrap()), cluster());
    assert_eq!(ask(&index, "nginx.default.svc.k.in-addr.arpa. A").len(), 3);
}

/// An API server refuses such a Service, but a manifest can hold it.
#[test]
fn a_service_without_an_address_exists() {
    let service = Service {
        namespace: "default".into(),
        name: "waiting".into(),
        kind: ServiceKind::ClusterIp(Box::default()),
        ports: Box::default(),
        selector: true,
        partial: false,
        selected: true,
    };
    let objects = vec![namespace("default"), Event::Apply(Object::Service(service))];
    let index = index(all(), objects);
    assert_eq!(row(&index, "waiting.default.svc"), "NNNNNNNNNNN");
}
