//! Services.

use super::*;
use crate::watch::Protocol;

fn service_with(spec: &Value) -> (Service, Vec<String>) {
    let metadata = json!({"name": "web", "namespace": "shop"});
    let (slim, problems) = convert(json!({"metadata": metadata, "spec": spec}), service);
    (slim.unwrap(), problems)
}

fn kind(spec: &Value) -> (ServiceKind, Vec<String>) {
    let (slim, problems) = service_with(spec);
    (slim.kind, problems)
}

#[test]
fn service_kinds() {
    let addresses = |texts: &[&str]| {
        ServiceKind::ClusterIp(texts.iter().map(|text| text.parse().unwrap()).collect())
    };
    let none: Vec<String> = Vec::new();
    let both = json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]});
    assert_eq!(
        kind(&both),
        (addresses(&["10.96.0.1", "fd00::1"]), none.clone())
    );
    let single = json!({"clusterIP": "10.96.0.1", "type": "NodePort"});
    assert_eq!(kind(&single), (addresses(&["10.96.0.1"]), none.clone()));
    for headless in [
        json!({"clusterIP": "None"}),
        json!({"clusterIPs": ["None"]}),
    ] {
        assert_eq!(kind(&headless), (ServiceKind::Headless, none.clone()));
    }
    let external =
        json!({"type": "ExternalName", "externalName": "db.example.com.", "clusterIP": "None"});
    assert_eq!(
        kind(&external),
        (ServiceKind::ExternalName("db.example.com".into()), none)
    );
}

#[test]
fn services_without_a_usable_address_are_reported() {
    assert_eq!(
        kind(&json!({})),
        (
            ServiceKind::ClusterIp(Box::default()),
            vec!["Service shop/web: spec.clusterIPs: no cluster IP".to_owned()]
        )
    );
    assert_eq!(
        kind(&json!({"clusterIPs": ["10.96.0.256", "fd00::1"]})),
        (
            ServiceKind::ClusterIp(Box::new(["fd00::1".parse().unwrap()])),
            vec![
                "Service shop/web: spec.clusterIPs[0]: `10.96.0.256` is not an IP address"
                    .to_owned()
            ]
        )
    );
    let address = json!({"type": "ExternalName", "externalName": "192.0.2.1"});
    let (slim, problems) = service_with(&address);
    assert_eq!(slim.kind, ServiceKind::Unserved);
    assert!(!slim.partial, "CoreDNS denies it, too");
    assert_eq!(
        problems,
        ["Service shop/web: spec.externalName: `192.0.2.1` is an address, not a name"]
    );
    for (name, reason) in [
        ("", "missing"),
        ("a..b", "`a..b` is not a DNS label"),
        (&"a".repeat(64), "label of 64 bytes, which is more than 63"),
        (
            &["a".repeat(60).as_str(); 5].join("."),
            "name of 304 characters, which is more than 253",
        ),
    ] {
        let (slim, problems) = service_with(&json!({"type": "ExternalName", "externalName": name}));
        assert_eq!(slim.kind, ServiceKind::Unserved);
        assert!(slim.partial, "CoreDNS does not deny it: {name}");
        let problem = format!("Service shop/web: spec.externalName: {reason}");
        assert_eq!(problems, [problem]);
    }
}

/// Leaving out a part that could change an answer makes the Service partial.
#[test]
fn services_are_partial_where_something_is_left_out() {
    let partial = |spec: &Value| service_with(spec).0.partial;
    let icmp = json!([{"port": 1, "protocol": "ICMP"}]);
    assert!(!partial(&json!({"clusterIP": "10.96.0.1"})));
    assert!(partial(&json!({"clusterIP": "10.96.0.1", "ports": icmp})));
    assert!(partial(&json!({"clusterIPs": ["10.96.0.1", "fd00:::1"]})));
    let unused = json!({"clusterIP": "None", "ports": icmp});
    assert!(!partial(&unused), "its ports are those of its slices");
}

#[test]
fn service_ports() {
    let (slim, problems) = service_with(&json!({
        "clusterIP": "None",
        "selector": {"app": "web"},
        "ports": [
            {"port": 53, "protocol": "UDP", "name": "dns"},
            {"port": 53, "name": "dns-tcp"},
            {"port": 0, "name": "zero"},
            {"port": 65536, "name": "many"},
            {"port": 1, "name": "odd", "protocol": "ICMP"},
            {"port": 53, "protocol": "SCTP", "name": "dns-sctp"},
            {"port": 53, "name": "again"},
        ],
    }));
    let shown: Vec<_> = slim
        .ports
        .iter()
        .map(|port| (&*port.name, port.protocol, port.number))
        .collect();
    assert_eq!(
        shown,
        [
            ("dns", Protocol::Udp, Some(53)),
            ("dns-tcp", Protocol::Tcp, Some(53)),
            ("zero", Protocol::Tcp, Some(0)),
            ("many", Protocol::Tcp, Some(0)),
            ("dns-sctp", Protocol::Sctp, Some(53)),
            ("again", Protocol::Tcp, Some(53)),
        ]
    );
    assert!(slim.selector);
    assert_eq!(
        problems,
        [
            "Service shop/web: spec.ports[2].port: 0 is not a port number",
            "Service shop/web: spec.ports[3].port: 65536 is not a port number",
            "Service shop/web: spec.ports[4].protocol: unknown protocol `ICMP`",
            "Service shop/web: spec.ports[3]: port many appears twice",
            "Service shop/web: spec.ports[6]: port again appears twice",
        ]
    );
}

#[test]
fn names_that_the_api_refuses_are_served_where_coredns_finds_them() {
    let long = "a".repeat(64);
    for (name, reason, found) in [
        ("", "missing", false),
        (&long, "label of 64 bytes, which is more than 63", false),
        ("Web", "`Web` is not a DNS label", false),
        ("a.b", "`a.b` is not a DNS label", false),
        ("a;b", "`a;b` is not a DNS label", false),
        ("-a", "`-a` is not a DNS label", true),
        ("a_b", "`a_b` is not a DNS label", true),
    ] {
        let (slim, problems) = convert(json!({"metadata": {"name": name}}), namespace);
        assert_eq!(slim.is_some(), found, "{name}");
        let problem = format!("Namespace {name}: metadata.name: {reason}");
        assert_eq!(problems, [problem]);
        let object = json!({"metadata": {"name": name}, "spec": {"clusterIP": "None"}});
        let (slim, problems) = convert(object, service);
        assert_eq!(slim.is_some(), found, "{name}");
        let problem = format!("Service default/{name}: metadata.name: {reason}");
        assert_eq!(problems, [problem]);
    }
    // Since Kubernetes 1.34 the name of a Service may begin with a digit.
    let (slim, problems) = convert(json!({"metadata": {"name": "1-2-3-4"}}), service);
    assert!(slim.is_some());
    assert_eq!(problems.len(), 1, "the missing address: {problems:?}");
}
