#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod addresses;
mod aliases;
mod apex;
mod external;
mod names;
mod pods;
mod ptr;
mod srv;
mod traps;

use headless_ebpf::abi::PodsMode;

use super::*;
use crate::records::Settings;
use crate::records::fixtures::{index, namespace, pod, service, settings, slice};
use crate::watch::Event;

const ZONE: &str = "cluster.local.";
const SUFFIX: &str = "default.svc.cluster.local.";

/// A cluster with every kind of Service.
fn cluster() -> Vec<Event> {
    vec![
        namespace("default"),
        namespace("kube-system"),
        namespace("empty"),
        service("default", "nginx", "None", &["web/tcp/80"]),
        slice(
            "default/nginx-1",
            "nginx",
            &["web/tcp/8080", "metrics/tcp/9090"],
            &["10.0.0.22=web-0", "10.0.0.23=web-1", "10.0.0.39"],
        ),
        service("default", "unready", "None", &["web/tcp/80"]),
        slice("default/unready-1", "unready", &["web/tcp/80"], &[]),
        service("default", "dual", "None", &["web/tcp/80"]),
        slice(
            "default/dual-4",
            "dual",
            &["web/tcp/80"],
            &["10.0.1.1=a", "10.0.1.2=b"],
        ),
        slice(
            "default/dual-6",
            "dual",
            &["web/tcp/80"],
            &["fd00::1=a", "5678:abcd::1"],
        ),
        service(
            "default",
            "api",
            "10.96.0.7,fd00:96::7",
            &["http/tcp/80", "/udp/53"],
        ),
        slice("default/api-1", "api", &["http/tcp/8080"], &["10.0.2.1"]),
        service("default", "bare", "10.96.0.8", &[]),
        service("default", "portless", "None", &[]),
        slice("default/portless-1", "portless", &[], &["10.0.3.1=only"]),
        service("default", "db", "db.Example.com", &[]),
        service("default", "alias", "nginx.default.svc.cluster.local", &[]),
        service("default", "alias6", "alias.default.svc.cluster.local", &[]),
        service(
            "default",
            "broken",
            "nowhere.default.svc.cluster.local",
            &[],
        ),
        service("default", "literal", "-", &[]),
        service("default", "loop", "loop.default.svc.cluster.local", &[]),
        service("default", "ping", "pong.default.svc.cluster.local", &[]),
        service("default", "pong", "ping.default.svc.cluster.local", &[]),
        service("default", "via", "db.default.svc.cluster.local", &[]),
        service("lost", "lost", "10.96.0.9", &["http/tcp/80"]),
        service(
            "kube-system",
            "kube-dns",
            "10.96.0.10,fd00:96::a",
            &["dns/udp/53", "dns-tcp/tcp/53", "metrics/tcp/9153"],
        ),
        slice("kube-system/kube-dns-0", "kube-dns", &[], &["10.244.0.2"]),
        pod("default", "x", "10.0.9.1"),
        pod("default", "y", "10.0.9.1"),
        pod("default", "z", "fd00:9::1"),
    ]
}

/// Settings by which every endpoint has a name, as in CoreDNS.
fn all() -> Settings {
    Settings {
        endpoints: EndpointScope::All,
        ..settings()
    }
}

/// Resolves `name type`. A name without a final dot is relative to the zone; `@` is the apex.
fn resolved(index: &Index, question: &str) -> Resolution {
    let (name, qtype) = question.rsplit_once(' ').unwrap();
    let name = match name {
        "@" => ZONE.to_owned(),
        name if name.ends_with('.') => name.to_owned(),
        name => format!("{name}.{ZONE}"),
    };
    let labels = name.split('.').filter(|label| !label.is_empty());
    let qtype = match qtype.strip_prefix("TYPE") {
        Some(number) => number.parse().unwrap(),
        None => qtype.parse::<RecordType>().unwrap().into(),
    };
    let question = Question {
        name: Name::from_labels(labels.map(str::as_bytes)).unwrap(),
        qtype,
        qclass: 1,
    };
    resolve(index, &question)
}

fn answered(index: &Index, question: &str) -> Answer {
    match resolved(index, question) {
        Resolution::Answer(answer) => answer,
        Resolution::Forward(to) => panic!("{question} goes to {to:?}"),
    }
}

/// The records as text without class, sorted because their order means nothing.
fn shown(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<_> = records
        .iter()
        .map(|record| {
            let Record {
                name, ttl, data, ..
            } = record;
            format!("{name} {ttl} {} {data}", record.record_type())
        })
        .collect();
    lines.sort();
    lines
}

/// The answer section as text. Without answers, the RCODE or the server that is asked next.
#[track_caller]
fn ask(index: &Index, question: &str) -> Vec<String> {
    let answer = match resolved(index, question) {
        Resolution::Answer(answer) => answer,
        Resolution::Forward(to) => return vec![format!("{to:?}")],
    };
    if !answer.answers.is_empty() {
        assert_eq!(answer.rcode, ResponseCode::NoError);
        assert!(answer.authorities.is_empty() && answer.authoritative);
        return shown(&answer.answers);
    }
    if answer.rcode == ResponseCode::Refused {
        assert!(answer.authorities.is_empty() && !answer.authoritative);
    } else {
        assert_eq!(answer.authorities.len(), 1, "{question}");
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
        assert!(answer.authoritative);
    }
    assert!(answer.additionals.is_empty());
    vec![match answer.rcode {
        ResponseCode::NoError => "NODATA".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        other => format!("{other:?}"),
    }]
}

/// One letter for each type: D (records), N (NODATA), X (NXDOMAIN), F (forwarded).
fn row(index: &Index, name: &str) -> String {
    const TYPES: [&str; 11] = [
        "A",
        "AAAA",
        "SRV",
        "TXT",
        "CNAME",
        "PTR",
        "SOA",
        "NS",
        "MX",
        "HTTPS",
        "TYPE65280",
    ];
    TYPES
        .map(
            |kind| match ask(index, &format!("{name} {kind}"))[0].as_str() {
                "NODATA" => 'N',
                "NXDOMAIN" => 'X',
                "Upstream" | "ClusterDns" => 'F',
                _ => 'D',
            },
        )
        .iter()
        .collect()
}
