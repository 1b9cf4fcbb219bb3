//! EndpointSlices.

use super::*;
use crate::watch::objects::dashed_address;
use crate::watch::{Alias, Keep};

fn slice_with(keep: &Keep, fields: &Value) -> (EndpointSlice, Vec<String>) {
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
        .map(|endpoint| (endpoint.address.to_string(), endpoint.name))
        .collect()
}

#[test]
fn endpoints_that_are_ready() {
    let (slice, problems) = slice_with(
        &Keep::default(),
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
    let (slice, problems) = slice_with(&Keep::default(), &fields);
    let hostname =
        "EndpointSlice default/web-abc: endpoints[3].hostname: `Web_4` is not a DNS label";
    assert_eq!(problems, [hostname]);
    let names: Vec<_> = slice.endpoints.iter().map(|at| at.name).collect();
    let [spelled, capitals] = [Some("FD00-0--5"), Some("FD00--6")];
    // In a text with dots, CoreDNS does not replace colons.
    let mapped = Some("::ffff:10-0-0-7");
    let odd = Some("Web_4");
    assert_eq!(
        names,
        [None, Some("web-0"), None, odd, spelled, capitals, mapped]
    );
    assert!(!slice.partial);
    assert_eq!(slice.endpoints.at(6).address.to_string(), "10.0.0.7");

    let (slice, _) = slice_with(
        &Keep {
            pod_names: true,
            ..Keep::default()
        },
        &fields,
    );
    let names: Vec<_> = slice.endpoints.iter().map(|at| at.name).collect();
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
fn the_text_tells_addresses_from_domain_names() {
    let (slice, problems) = slice_with(
        &Keep::default(),
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
            &Keep::default(),
            &json!({"addressType": address_type, "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        );
        assert_eq!(slice.endpoints.len(), 1);
        let reason = format!("addressType: unknown address type `{address_type}`");
        assert_eq!(
            problems,
            [format!("EndpointSlice default/web-abc: {reason}")]
        );
    }
    let (slice, problems) = slice_with(&Keep::default(), &json!({"metadata": {"name": "x"}}));
    assert_eq!(&*slice.service, "");
    assert_eq!(
        problems,
        [
            "EndpointSlice default/x: metadata.labels[kubernetes.io/service-name]: missing or empty, so the slice belongs to no Service"
        ]
    );
}

#[test]
fn slices_of_domain_names() {
    let (slice, problems) = slice_with(
        &Keep::default(),
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

/// Leaving out a part that could change an answer makes the slice partial.
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
        let (slice, problems) = slice_with(&Keep::default(), &fields);
        assert!(slice.partial, "{problem}");
        let problem = format!("EndpointSlice default/web-abc: {problem}");
        assert_eq!(problems, [problem]);
    }
}
