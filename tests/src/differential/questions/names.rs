//! Names that exist in a cluster, and names that are similar to these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use headless_agent::watch::convert::SERVICE_NAME_LABEL;
use headless_agent::watch::objects::dashed_address;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::differential::cluster::Cluster;
use crate::differential::differences::Exceptions;
use crate::differential::message::DnsName;

/// Two dashed labels of an address: as the object spells it, and as RFC 5952 does.
pub(super) fn spelled_labels(address: &str) -> [String; 2] {
    let spelled = address.replace(['.', ':'], "-").to_ascii_lowercase();
    [
        spelled,
        address.parse().map(dashed_address).unwrap_or_default(),
    ]
}

/// The reverse name of an address.
pub(super) fn reverse(address: IpAddr) -> DnsName {
    let labels = match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            let labels = octets.iter().rev().map(ToString::to_string);
            labels.chain(["in-addr".into()]).collect::<Vec<_>>()
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let nibbles = octets
                .iter()
                .rev()
                .flat_map(|octet| [octet & 0xf, octet >> 4]);
            nibbles
                .map(|nibble| format!("{nibble:x}"))
                .chain(["ip6".into()])
                .collect()
        }
    };
    DnsName::new(&(labels.join(".") + ".arpa"))
}

/// The names of a cluster for which CoreDNS is known to differ.
pub fn exceptions(cluster: &Cluster) -> Exceptions {
    let without_service = |slice: &&EndpointSlice| {
        let labels = slice.metadata.labels.as_ref();
        labels.is_none_or(|labels| !labels.contains_key(SERVICE_NAME_LABEL))
    };
    Exceptions {
        unusual_spelling: reverse_names(cluster.slices(), |text, address| {
            text != address.to_string()
        }),
        without_service: reverse_names(cluster.slices().filter(without_service), |_, _| true),
    }
}

/// Reverse names of the endpoint addresses that `chosen` returns true for. It gets the
/// address as the object spells it, and its value.
fn reverse_names<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    chosen: impl Fn(&str, IpAddr) -> bool,
) -> BTreeSet<DnsName> {
    let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
    let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    let parsed = addresses.filter_map(|text| Some((text, text.parse::<IpAddr>().ok()?)));
    parsed
        .filter(|(text, address)| chosen(text, *address))
        .map(|(_, address)| reverse(address))
        .collect()
}

/// Names with a port of a Service, well-formed and malformed.
pub(super) fn port_names(service: &str, port: &str, protocol: Option<&str>) -> Vec<String> {
    let protocol = protocol.unwrap_or("tcp").to_ascii_lowercase();
    let mut names = vec![
        format!("_.{service}"),
        format!("_._{protocol}.{service}"),
        format!("_._.{service}"),
        format!("_nosuch._{protocol}.{service}"),
        format!("_{protocol}.{service}"),
    ];
    if !port.is_empty() {
        names.extend([
            format!("_{port}._{protocol}.{service}"),
            format!("{port}.{protocol}.{service}"),
            format!("_{port}.{protocol}.{service}"),
            format!("_{port}._.{service}"),
            format!("_{port}._sctp.{service}"),
            format!("__{port}._{protocol}.{service}"),
            format!("x._{port}._{protocol}.{service}"),
        ]);
    }
    names
}

/// Names that are similar to a namespace's, or in a namespace.
pub(super) fn like_namespace(name: &str) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("nosuch.{name}.svc"),
        format!("x{name}.svc"),
        format!("{name}.svc.svc"),
        format!("{name}.pods"),
        format!("nosuch.{name}.pod"),
        format!("1-2-3-4.{name}.pod"),
        format!("1-2-3.{name}.pod"),
        format!("1-2-3-256.{name}.pod"),
        format!("01-2-3-4.{name}.pod"),
        format!("1-2--3-4.{name}.pod"),
        format!("fd00--1.{name}.pod"),
        format!("FD00-0-0-0-0-0-0-1.{name}.pod"),
        format!("--1.{name}.pod"),
        format!("--ffff-10.{name}.pod"),
        format!("x.1-2-3-4.{name}.pod"),
        format!("a.b.1-2-3-4.{name}.pod"),
        format!("a.b.c.1-2-3-4.{name}.pod"),
        format!("1-2-3-4.x.{name}.pod"),
        format!("ok.example.com.{name}.svc"),
        format!("a.b.c.d.{name}.svc"),
        format!("a.b.c.d.e.f.g.h.i.j.{name}.svc"),
    ]
}

/// Names that are similar to a Service's.
pub(super) fn like_service(name: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{name}.svc"),
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.pod"),
        format!("{name}x.{namespace}.svc"),
        format!("{name}.nosuch.svc"),
        format!("{name}.default.svc"),
        format!("nosuch.{name}.{namespace}.svc"),
        format!("web-0.{name}.{namespace}.svc"),
        format!("web-99.{name}.{namespace}.svc"),
        format!("_http._tcp.{name}.{namespace}.svc"),
        format!("_http._tcp.web-0.{name}.{namespace}.svc"),
        format!("_tcp.{name}.{namespace}.svc"),
        format!("a.b.{name}.{namespace}.svc"),
        format!("a.b.c.{name}.{namespace}.svc"),
        format!("a.b.c.d.e.{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
    ]
}

/// Names that are asked for in every cluster.
pub(super) fn fixed() -> Vec<String> {
    [
        "dns",
        "x.dns",
        "hostmaster",
        "x.dns-version",
        "dns-version.svc",
        "x.ns.dns",
        "ns.dns.svc",
        "ns.dns.default.svc",
        "ns.dns.cluster.local",
        "ns.dns.cluster.local.default.svc",
        "ns.dnsx",
        "nosuch",
        "nosuch.svc",
        "nosuch.pod",
        "a.b.c.d",
        "com",
        "ok.example.com",
        "ok.example.com.svc",
        "_tcp",
        "_dns-sd._udp",
        "*",
        "*.default.svc",
        "any.default.svc",
        "wpad",
        "_ldap._tcp.dc._msdcs",
        "svc.svc",
        "pod.svc",
        "svc.pod",
        "pod.pod",
        "svc.svc.svc",
        "s.svc.svc",
        "default.svc.default.svc",
    ]
    .map(str::to_owned)
    .into()
}
