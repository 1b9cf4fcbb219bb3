#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};

use super::*;
use crate::watch::objects::dashed_address;
use crate::watch::{Alias, Keep, Protocol};

/// Converts and returns the problems as text beside the object.
fn convert<T, U>(
    value: Value,
    convert: impl FnOnce(&T, &mut Vec<Problem>) -> Option<U>,
) -> (Option<U>, Vec<String>)
where
    T: serde::de::DeserializeOwned,
{
    let mut problems = Vec::new();
    let object = serde_json::from_value(value).unwrap();
    let slim = convert(&object, &mut problems);
    (slim, problems.iter().map(ToString::to_string).collect())
}

fn service_with(spec: &Value) -> (Service, Vec<String>) {
    let metadata = json!({"name": "web", "namespace": "shop"});
    let (slim, problems) = convert(json!({"metadata": metadata, "spec": spec}), service);
    (slim.unwrap(), problems)
}

fn kind(spec: &Value) -> (ServiceKind, Vec<String>) {
    let (slim, problems) = service_with(spec);
    (slim.kind, problems)
}

fn slice_with(keep: Keep, fields: &Value) -> (EndpointSlice, Vec<String>) {
    let mut object = json!({
        "metadata": {
            "name": "web-abc",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
    });
    for (name, value) in fields.as_object().unwrap() {
        object[name] = value.clone();
    }
    let (slim, problems) = convert(object, |object, problems| {
        endpoint_slice(object, keep, problems)
    });
    (slim.unwrap(), problems)
}

/// Address and name of each endpoint.
fn endpoints_of(slice: &EndpointSlice) -> Vec<(String, Option<&str>)> {
    slice
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address.to_string(), endpoint.name.as_deref()))
        .collect()
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

/// What is left out and could change an answer of the Service marks it.
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
    // Relaxed since Kubernetes 1.34: a Service may begin with a digit.
    let (slim, problems) = convert(json!({"metadata": {"name": "1-2-3-4"}}), service);
    assert!(slim.is_some());
    assert_eq!(problems.len(), 1, "the missing address: {problems:?}");
}

#[test]
fn endpoints_that_are_ready() {
    let (slice, problems) = slice_with(
        Keep::default(),
        &json!({
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true, "terminating": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"serving": false}},
                {"addresses": ["10.0.0.4", "10.0.0.5"], "hostname": "web-4"},
            ],
        }),
    );
    assert!(problems.is_empty());
    assert_eq!((&*slice.namespace, &*slice.service), ("default", "web"));
    assert_eq!(
        endpoints_of(&slice),
        [
            ("10.0.0.1".to_owned(), None),
            ("10.0.0.3".to_owned(), None),
            ("10.0.0.4".to_owned(), Some("web-4")),
            ("10.0.0.5".to_owned(), Some("web-4")),
        ]
    );
}

#[test]
fn endpoint_names() {
    let pod = |name: &str| json!({"kind": "Pod", "name": name});
    let long = "p".repeat(64);
    let fields = json!({
        "addressType": "IPv6",
        "endpoints": [
            {"addresses": ["fd00::1"], "targetRef": pod("web-5d4f")},
            {"addresses": ["fd00::2"], "targetRef": pod("web-5d4f"), "hostname": "web-0"},
            {"addresses": ["fd00::3"], "targetRef": pod(&long)},
            {"addresses": ["fd00::4"], "hostname": "Web_4"},
            {"addresses": ["FD00:0::5"]},
            {"addresses": ["FD00::6"]},
            {"addresses": ["::ffff:10.0.0.7"]},
        ],
    });
    let (slice, problems) = slice_with(Keep::default(), &fields);
    let hostname =
        "EndpointSlice default/web-abc: endpoints[3].hostname: `Web_4` is not a DNS label";
    assert_eq!(problems, [hostname]);
    let names: Vec<_> = slice
        .endpoints
        .iter()
        .map(|at| at.name.as_deref())
        .collect();
    let [spelled, capitals] = [Some("FD00-0--5"), Some("FD00--6")];
    // CoreDNS replaces the dots alone where there are any.
    let mapped = Some("::ffff:10-0-0-7");
    let odd = Some("Web_4");
    assert_eq!(
        names,
        [None, Some("web-0"), None, odd, spelled, capitals, mapped]
    );
    assert!(!slice.partial);
    assert_eq!(slice.endpoints[6].address.to_string(), "10.0.0.7");

    let (slice, _) = slice_with(Keep { pod_names: true }, &fields);
    let names: Vec<_> = slice
        .endpoints
        .iter()
        .map(|at| at.name.as_deref())
        .collect();
    assert_eq!(names[..3], [Some("web-5d4f"), Some("web-0"), None]);
}

#[test]
fn names_made_of_addresses() {
    for (address, name) in [
        ("10.0.0.22", "10-0-0-22"),
        ("5678:abcd::1", "5678-abcd--1"),
        ("1:2:3:4:5:6:7:8", "1-2-3-4-5-6-7-8"),
        (
            "1111:2222:3333:4444:5555:6666::",
            "1111-2222-3333-4444-5555-6666--0",
        ),
        ("::", "--0"),
    ] {
        assert_eq!(dashed_address(address.parse().unwrap()), name);
    }
}

#[test]
fn addresses_are_what_they_look_like() {
    let (slice, problems) = slice_with(
        Keep::default(),
        &json!({
            "endpoints": [
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.2", "fd00::1e525", "web.example.com"]},
            ],
            "ports": [
                {"name": "web", "port": 80},
                {"name": "web", "port": 81},
                {"name": "any"},
                {"name": "none", "port": -1},
                {"name": "low", "port": 65616},
            ],
        }),
    );
    assert_eq!(slice.endpoints.len(), 2);
    let aliases = slice
        .aliases
        .iter()
        .map(|alias| (&*alias.target, &*alias.name));
    assert_eq!(
        aliases.collect::<Vec<_>>(),
        [
            ("fd00::1e525", "fd00--1e525"),
            ("web.example.com", "web-example-com")
        ]
    );
    assert!(!slice.partial);
    let numbers: Vec<_> = slice.ports.iter().map(|port| port.number).collect();
    assert_eq!(numbers, [Some(80), Some(81), None, None, Some(80)]);
    assert_eq!(
        problems,
        [
            "endpoints[1].addresses[1]: `fd00::1e525` is not an IP address",
            "endpoints[1].addresses[2]: `web.example.com` is not an IP address",
            "ports[3].port: -1 is not a port number",
            "ports[4].port: 65616 is not a port number",
            "ports[1]: port web appears twice",
        ]
        .map(|problem| format!("EndpointSlice default/web-abc: {problem}"))
    );
    for address_type in ["IPv5", ""] {
        let (slice, problems) = slice_with(
            Keep::default(),
            &json!({"addressType": address_type, "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        );
        assert_eq!(slice.endpoints.len(), 1);
        let reason = format!("addressType: unknown address type `{address_type}`");
        assert_eq!(
            problems,
            [format!("EndpointSlice default/web-abc: {reason}")]
        );
    }
    let (slice, problems) = slice_with(Keep::default(), &json!({"metadata": {"name": "x"}}));
    assert_eq!(&*slice.service, "");
    assert_eq!(
        problems,
        [
            "EndpointSlice default/x: metadata.labels[kubernetes.io/service-name]: no value, so the slice belongs to no Service"
        ]
    );
}

#[test]
fn slices_of_domain_names() {
    let (slice, problems) = slice_with(
        Keep::default(),
        &json!({
            "addressType": "FQDN",
            "endpoints": [
                {"addresses": ["Web.example.com.", "localhost", "10.0.0.1"]},
                {"addresses": ["db.example.com"], "hostname": "db-0"},
                {"addresses": ["gone.example.com"], "conditions": {"ready": false}},
            ],
        }),
    );
    assert!(problems.is_empty(), "{problems:?}");
    let alias = |target: &str, name: &str| Alias {
        target: target.into(),
        name: name.into(),
    };
    let expected = [
        alias("Web.example.com", "Web-example-com-"),
        alias("localhost", ""),
        alias("db.example.com", "db-0"),
    ];
    assert_eq!(*slice.aliases, expected);
    assert_eq!(slice.endpoints.len(), 1, "an address is one in any slice");
    assert!(!slice.partial);
}

/// What is left out and could change an answer marks the slice.
#[test]
fn slices_are_partial_where_something_is_left_out() {
    for (fields, problem) in [
        (
            json!({"endpoints": [{"addresses": ["a..b"]}], "addressType": "FQDN"}),
            "endpoints[0].addresses[0]: `a..b` is not a DNS label",
        ),
        (
            json!({"endpoints": [{"addresses": ["10.0.0.1"], "hostname": "a b"}]}),
            "endpoints[0].hostname: `a b` is not a DNS label",
        ),
        (
            json!({"ports": [{"name": "ping", "protocol": "ICMP"}]}),
            "ports[0].protocol: unknown protocol `ICMP`",
        ),
    ] {
        let (slice, problems) = slice_with(Keep::default(), &fields);
        assert!(slice.partial, "{problem}");
        let problem = format!("EndpointSlice default/web-abc: {problem}");
        assert_eq!(problems, [problem]);
    }
}

#[test]
fn pods_have_their_first_address_while_they_run() {
    let status = |phase: &str| json!({"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
    for (phase, address) in [
        ("Running", true),
        ("Pending", true),
        ("Succeeded", false),
        ("Failed", false),
        ("Unknown", false),
    ] {
        let object = json!({"metadata": {"name": "a", "namespace": "b"}, "status": status(phase)});
        let (slim, problems) = convert(object, pod);
        assert!(problems.is_empty());
        assert_eq!(slim.unwrap().address.is_some(), address, "{phase}");
    }
    let object = json!({"metadata": {"name": "a"}, "status": {"podIP": "10.0.0"}});
    let (slim, problems) = convert(object, pod);
    assert_eq!(slim.unwrap().address, None);
    assert_eq!(
        problems,
        ["Pod default/a: status.podIP: `10.0.0` is not an IP address"]
    );
}

#[test]
fn every_reason_has_a_label_that_is_listed() {
    let text = String::new;
    let reasons = [
        Reason::InvalidAddress(text()),
        Reason::UnknownAddressType(text()),
        Reason::InvalidLabel(text()),
        Reason::LabelTooLong(0),
        Reason::NameTooLong(0),
        Reason::DuplicatePort(text()),
        Reason::InvalidPort(0),
        Reason::UnknownProtocol(text()),
        Reason::UnknownServiceType(text()),
        Reason::MissingClusterIp,
        Reason::ExternalNameIsAddress(text()),
        Reason::MissingServiceLabel,
        Reason::MissingService(text()),
        Reason::MissingNamespace(text()),
        Reason::MissingField,
        Reason::DuplicateObject(text()),
        Reason::UnsupportedVersion(text()),
        Reason::InvalidField(text()),
        Reason::Syntax(text()),
        Reason::Unreadable(text()),
    ];
    assert_eq!(reasons.map(|reason| reason.label()), Reason::LABELS);
}
