//! Endpoints with domain names in place of addresses, and objects that could not be read
//! whole.

use super::*;
use crate::watch::{EndpointSlice, Object, Service};

/// [`cluster`] with a headless Service `fqdn` whose slice holds these endpoints.
fn with_slice(ports: &[&str], endpoints: &[&str]) -> Index {
    let mut events = cluster();
    events.extend([
        service("default", "fqdn", "None", &[]),
        slice("default/fqdn-1", "fqdn", ports, endpoints),
    ]);
    index(all(), events)
}

const API: &str = "api.default.svc.cluster.local";

#[test]
fn a_name_in_the_zone_is_followed() {
    let index = with_slice(&["http/tcp/80"], &["Api.default.svc.cluster.local=h"]);
    for name in [
        "fqdn.default.svc",
        "h.fqdn.default.svc",
        "H.fqdn.default.svc",
        "_http._tcp.fqdn.default.svc",
    ] {
        assert_eq!(
            ask(&index, &format!("{name} A")),
            [
                "Api.default.svc.cluster.local. 30 A 10.96.0.7".to_owned(),
                format!("{name}.cluster.local. 30 CNAME Api.default.svc.cluster.local."),
            ]
        );
        assert_eq!(
            ask(&index, &format!("{name} CNAME")),
            [format!(
                "{name}.cluster.local. 30 CNAME Api.default.svc.cluster.local."
            )]
        );
        assert_eq!(ask(&index, &format!("{name} SRV")), ["NODATA"]);
        assert_eq!(ask(&index, &format!("{name} TXT")), ["NODATA"]);
    }
    assert_eq!(ask(&index, "x.fqdn.default.svc A"), ["NXDOMAIN"]);
    assert_eq!(ask(&index, "_x._tcp.fqdn.default.svc A"), ["NXDOMAIN"]);
}

/// CoreDNS follows the domain name of an endpoint once for each port.
#[test]
fn each_port_repeats_the_records() {
    let alias = format!("{API}=h");
    let index = with_slice(&["a/tcp/1", "b/tcp/2"], &[&alias]);
    assert_eq!(ask(&index, "fqdn.default.svc A").len(), 4);
    assert_eq!(ask(&index, "_a._tcp.fqdn.default.svc A").len(), 2);
}

#[test]
fn addresses_beside_a_name_are_answered_too() {
    let alias = format!("{API}=h");
    let index = with_slice(&[], &[&alias, "10.9.9.9=h", "10.9.9.8=i"]);
    assert_eq!(ask(&index, "fqdn.default.svc A").len(), 4);
    assert_eq!(ask(&index, "h.fqdn.default.svc A").len(), 3);
    assert_eq!(ask(&index, "i.fqdn.default.svc A").len(), 1);
    // CoreDNS answers by the first endpoint, and any may be the first.
    assert_eq!(ask(&index, "fqdn.default.svc CNAME"), ["ClusterDns"]);
    assert_eq!(ask(&index, "i.fqdn.default.svc CNAME"), ["NODATA"]);
}

#[test]
fn names_outside_are_looked_up() {
    let index = with_slice(&["a/tcp/1"], &["db.example.com=h"]);
    let answer = answered(&index, "fqdn.default.svc A");
    assert_eq!(answer.chases[0].target.to_string(), "db.example.com.");
    let index = with_slice(
        &["a/tcp/1"],
        &["db.example.com=h", "x.example.com=h", "10.9.9.9=i"],
    );
    let answer = answered(&index, "fqdn.default.svc A");
    assert_eq!((answer.chases.len(), answer.answers.len()), (2, 3));
}

/// Each link of this chain has two targets, so the number of CNAMEs doubles with each.
#[test]
fn chains_that_multiply_come_to_an_end() {
    let mut events = vec![namespace("default")];
    for i in 0..9 {
        let name = format!("s{i}");
        let next = [0, 1].map(|k| format!("s{}.default.svc.cluster.local=h{k}", i + 1));
        let next = next.each_ref().map(String::as_str);
        events.push(service("default", &name, "None", &[]));
        events.push(slice(
            &format!("default/{name}"),
            &name,
            &["a/tcp/1"],
            &next,
        ));
    }
    events.push(service("default", "s9", "10.96.0.7", &[]));
    let index = index(all(), events);
    assert_eq!(ask(&index, "s8.default.svc A").len(), 4);
    assert_eq!(ask(&index, "s0.default.svc A"), ["ClusterDns"]);
}

/// A part of the object is unknown, so neither an answer nor a denial is safe.
#[test]
fn what_could_not_be_read_is_left_to_the_cluster() {
    let mut index = with_slice(&["a/tcp/1"], &["10.9.9.9=h"]);
    assert_eq!(ask(&index, "fqdn.default.svc A").len(), 1);
    let partial = slice("default/fqdn-2", "fqdn", &[], &[]);
    let Event::Apply(Object::EndpointSlice(partial)) = partial else {
        panic!("no slice");
    };
    index.apply(Event::Apply(Object::EndpointSlice(EndpointSlice {
        partial: true,
        ..partial
    })));
    for question in [
        "fqdn.default.svc A",
        "h.fqdn.default.svc A",
        "x.fqdn.default.svc A",
        "fqdn.default.svc SRV",
        "_x._tcp.fqdn.default.svc A",
        "fqdn.default.svc HTTPS",
        "9.9.9.10.in-addr.arpa. PTR",
    ] {
        assert_eq!(ask(&index, question), ["ClusterDns"], "{question}");
    }
    assert_eq!(ask(&index, "fqdnx.default.svc A"), ["NXDOMAIN"]);
    let odd = service("default", "odd", "10.96.0.77", &[]);
    let Event::Apply(Object::Service(odd)) = odd else {
        panic!("no Service");
    };
    index.apply(Event::Apply(Object::Service(Service {
        partial: true,
        ..odd
    })));
    for question in ["odd.default.svc A", "x.odd.default.svc A"] {
        assert_eq!(ask(&index, question), ["ClusterDns"], "{question}");
    }
    let pointer = "77.0.96.10.in-addr.arpa. PTR";
    assert_eq!(ask(&index, pointer).len(), 1, "its address is known");
}
