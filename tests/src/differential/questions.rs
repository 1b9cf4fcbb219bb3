//! What to ask about a cluster: every name that exists, names beside those,
//! and the ways in which clients ask.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fastrand::Rng;
use headless_agent::watch::convert::SERVICE_NAME_LABEL;
use headless_agent::watch::objects::dashed_address;

use super::cluster::Cluster;
use super::message::{Labels, Opt, Query, RD, TC};
use super::upstream;

/// Types with how often they are asked for, relative to each other. The last
/// line is no client's.
const TYPES: [(u16, u32); 24] = [
    (1, 30), (28, 22), (33, 12), (16, 6), (12, 6), (5, 5), (6, 5), (2, 5), (15, 4),
    (65, 4), (64, 1), (255, 4), (13, 2), (43, 2), (48, 1), (35, 1), (257, 1), (99, 1),
    (65_280, 1), (65_535, 1),
    (252, 1), (251, 1), (41, 1), (0, 1),
];

/// EDNS options: code and value.
const OPTIONS: [(u16, &[u8]); 8] = [
    (10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    (3, b""),
    (12, b"\0\0\0\0\0\0\0\0"),
    (8, b"\0\x01\x18\0\x0a\0\0"),
    (9, b""),
    (11, b""),
    (15, b"\0\x01text"),
    (65_001, b"local"),
];

/// Makes questions.
#[derive(Debug)]
pub struct Questions {
    rng: Rng,
    zone: Labels,
    /// Names that exist, or have something to do with what exists.
    existing: Vec<Labels>,
    /// Names that probably don't, or are not the cluster's.
    others: Vec<Labels>,
}

/// The reverse name of an address.
fn reverse(address: IpAddr) -> Labels {
    let labels = match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            let labels = octets.iter().rev().map(|octet| octet.to_string());
            labels.chain(["in-addr".into()]).collect::<Vec<_>>()
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let nibbles = octets.iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
            nibbles
                .map(|nibble| format!("{nibble:x}"))
                .chain(["ip6".into()])
                .collect()
        }
    };
    Labels::new(&(labels.join(".") + ".arpa"))
}

/// Reverse names of addresses that some object spells otherwise than RFC 5952
/// has it.
pub fn misspelled(cluster: &Cluster) -> BTreeSet<Labels> {
    let endpoints = cluster.slices().flat_map(|slice| slice.endpoints.iter().flatten());
    let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    let parsed = addresses.filter_map(|text| Some((text, text.parse::<IpAddr>().ok()?)));
    parsed
        .filter(|(text, address)| **text != address.to_string())
        .map(|(_, address)| reverse(address))
        .collect()
}

impl Questions {
    /// About a cluster.
    pub fn new(seed: u64, zone: &str, cluster: &Cluster) -> Self {
        let mut questions = Self {
            rng: Rng::with_seed(seed),
            zone: Labels::new(zone),
            existing: Vec::new(),
            others: Vec::new(),
        };
        let mut existing = BTreeSet::new();
        let mut others = BTreeSet::new();
        for name in cluster.namespaces() {
            existing.extend([format!("{name}.svc"), format!("{name}.pod")]);
            others.extend(beside_namespace(&name));
        }
        let mut addresses = BTreeSet::new();
        for service in cluster.services() {
            let metadata = &service.metadata;
            let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else {
                continue;
            };
            let own = format!("{name}.{namespace}.svc");
            others.extend(beside_service(name, namespace));
            let spec = service.spec.as_ref();
            for port in spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten() {
                let name = port.name.as_deref().unwrap_or_default();
                existing.extend(port_names(&own, name, port.protocol.as_deref()));
            }
            let ips = spec.and_then(|spec| spec.cluster_ips.as_ref());
            addresses.extend(ips.into_iter().flatten().cloned());
            existing.insert(own);
        }
        for slice in cluster.slices() {
            let metadata = &slice.metadata;
            let labels = metadata.labels.as_ref();
            let service = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
            let (Some(service), Some(namespace)) = (service, &metadata.namespace) else {
                continue;
            };
            let own = format!("{service}.{namespace}.svc");
            for port in slice.ports.iter().flatten() {
                let name = port.name.as_deref().unwrap_or_default();
                existing.extend(port_names(&own, name, port.protocol.as_deref()));
            }
            for endpoint in slice.endpoints.iter().flatten() {
                let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
                let names = endpoint.hostname.iter().cloned().chain(pod);
                existing.extend(names.map(|name| format!("{name}.{own}")));
                for address in &endpoint.addresses {
                    let spelled = address.replace(['.', ':'], "-").to_ascii_lowercase();
                    let usual = address.parse().map(dashed_address).unwrap_or_default();
                    existing.extend([spelled, usual].map(|name| format!("{name}.{own}")));
                    addresses.insert(address.clone());
                }
            }
        }
        for pod in cluster.pods() {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
            let (Some(address), Some(namespace)) = (address, &pod.metadata.namespace) else {
                continue;
            };
            let spelled = address.replace(['.', ':'], "-");
            let usual = address.parse().map(dashed_address).unwrap_or_default();
            for name in [spelled, usual] {
                existing.insert(format!("{name}.{namespace}.pod"));
                others.extend([
                    format!("{name}.default.pod"),
                    format!("x.{name}.{namespace}.pod"),
                    format!("a.b.{name}.{namespace}.pod"),
                    format!("{name}.{namespace}.svc"),
                ]);
            }
        }
        existing.extend(["", "svc", "pod", "dns-version", "ns.dns"].map(str::to_owned));
        others.extend(fixed());
        let below = |name: &String| Labels::new(name).above(&questions.zone);
        questions.existing = existing.iter().map(below).collect();
        questions.others = others.iter().map(below).collect();
        questions.reverse_names(&addresses);
        questions.odd_names();
        questions.existing.retain(|name| name.wire_len() <= 255);
        questions.others.retain(|name| name.wire_len() <= 255);
        questions
    }

    fn reverse_names(&mut self, addresses: &BTreeSet<String>) {
        let addresses = addresses.iter().filter_map(|address| address.parse().ok());
        for address in addresses {
            let name = reverse(address);
            if self.rng.u32(..20) == 0 {
                self.others.push(Labels::new("x").above(&name));
                self.others.push(Labels(name.0.iter().skip(1).cloned().collect()));
            }
            self.existing.push(name);
        }
        for text in ["10.255.255.255", "8.8.8.8", "fd00:ffff::1", "::ffff:10.96.0.10"] {
            self.others.extend(text.parse().map(reverse));
        }
        let names = ["in-addr.arpa", "ip6.arpa", "arpa", "1.0.0.256.in-addr.arpa", "01.0.96.10.in-addr.arpa"];
        self.others.extend(names.map(Labels::new));
    }

    /// Labels that no text has, and names outside the zone.
    fn odd_names(&mut self) {
        for label in [b"a.b".as_slice(), b"a b", b"\\", b"\0", b"\xff\xfe", b"we\"b", b"(;@$)"] {
            for below in ["", "default.svc", "kube-dns.kube-system.svc", "default.pod"] {
                let name = Labels(vec![label.to_vec()]).above(&Labels::new(below));
                self.others.push(name.above(&self.zone));
            }
        }
        self.others.extend(upstream::NAMES.map(Labels::new));
        self.others.extend(["", "local", "com", "x.y.z"].map(Labels::new));
        // Ends like the zone, but not at a label.
        let mut near = self.zone.clone();
        if let Some(first) = near.0.first_mut() {
            first.insert(0, b'x');
        }
        self.others.push(Labels::new("web.default.svc").above(&near));
        self.others.push(near);
        // Up to the longest that there can be.
        for len in [1, 40, 63] {
            let label = vec![b'q'; len];
            let mut name = self.zone.clone();
            while name.wire_len() + len < 255 {
                name.0.insert(0, label.clone());
            }
            self.others.push(name.clone());
            let rest = 255 - name.wire_len();
            if rest > 1 {
                name.0.insert(0, vec![b'r'; rest - 1]);
                self.others.push(name);
            }
        }
    }

    /// About so many queries: every name that exists for addresses at least,
    /// the rest by chance.
    pub fn queries(&mut self, count: usize) -> Vec<Query> {
        let mut queries = Vec::new();
        let mut existing = self.existing.clone();
        self.rng.shuffle(&mut existing);
        existing.truncate(count / 3);
        for name in existing {
            for qtype in [1, 28] {
                queries.push(self.query(name.clone(), qtype));
            }
        }
        while queries.len() < count {
            let names = if self.rng.bool() { &self.existing } else { &self.others };
            let name = names[self.rng.usize(..names.len())].clone();
            let qtype = self.qtype(&name);
            queries.push(self.query(name, qtype));
        }
        queries
    }

    fn qtype(&mut self, name: &Labels) -> u16 {
        if name.0.last().is_some_and(|label| label == b"arpa") && self.rng.u32(..3) > 0 {
            return 12;
        }
        let total: u32 = TYPES.iter().map(|(_, weight)| weight).sum();
        let mut at = self.rng.u32(..total);
        for (qtype, weight) in TYPES {
            if at < weight {
                return qtype;
            }
            at -= weight;
        }
        1
    }

    fn query(&mut self, name: Labels, qtype: u16) -> Query {
        let rng = &mut self.rng;
        let mut query = Query::new(name, qtype);
        query.id = rng.u16(..);
        match rng.u32(..8) {
            // As resolvers do that protect themselves by it (0x20).
            0 | 1 => {
                for byte in query.name.0.iter_mut().flatten() {
                    if rng.bool() {
                        byte.make_ascii_uppercase();
                    }
                }
            }
            2 => query.name.0.iter_mut().for_each(|label| label.make_ascii_uppercase()),
            _ => {}
        }
        match rng.u32(..40) {
            0..6 => query.flags = 0,
            6 => query.flags |= 1 << 4,
            7 => query.flags |= 1 << 5,
            // AA, RA, Z, RCODE: nobody's to send.
            8 => query.flags |= 1 << 10 | 1 << 7 | 1 << 6 | 3,
            9 if rng.u32(..4) == 0 => query.flags |= TC,
            _ => {}
        }
        match rng.u32(..400) {
            0 => query.flags = 4 << 11 | RD,
            1 => query.flags = 2 << 11 | RD,
            2 => query.flags = 5 << 11,
            3 => query.qclass = 3,
            4 => query.qclass = 255,
            5 => query.qclass = rng.u16(..),
            _ => {}
        }
        query.opt = self.opt();
        query
    }

    fn opt(&mut self) -> Option<Opt> {
        let rng = &mut self.rng;
        if rng.u32(..100) < 55 {
            return None;
        }
        let sizes = [0, 100, 512, 513, 600, 1200, 1232, 1232, 1232, 1400, 4096, 4096, 65_535];
        let mut opt = Opt {
            size: sizes[rng.usize(..sizes.len())],
            ttl: 0,
            options: Vec::new(),
        };
        match rng.u32(..40) {
            0..12 => opt.ttl |= 0x8000,
            12 => opt.ttl |= 0x1_0000,
            13 => opt.ttl |= 0x7a55,
            14 => opt.ttl |= 0x5500_0000,
            _ => {}
        }
        if rng.u32(..5) == 0 {
            for _ in 0..rng.usize(1..3) {
                let (code, value) = OPTIONS[rng.usize(..OPTIONS.len())];
                opt.options.extend(code.to_be_bytes());
                opt.options.extend((value.len() as u16).to_be_bytes());
                opt.options.extend(value);
            }
        }
        Some(opt)
    }
}

/// Ways to ask for a port.
fn port_names(service: &str, port: &str, protocol: Option<&str>) -> Vec<String> {
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

fn beside_namespace(name: &str) -> Vec<String> {
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

fn beside_service(name: &str, namespace: &str) -> Vec<String> {
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

/// Names that every cluster is asked for.
fn fixed() -> Vec<String> {
    [
        "dns", "x.dns", "hostmaster", "x.dns-version", "dns-version.svc", "x.ns.dns", "ns.dns.svc",
        "ns.dns.default.svc", "ns.dns.cluster.local", "ns.dns.cluster.local.default.svc",
        "ns.dnsx", "nosuch", "nosuch.svc", "nosuch.pod", "a.b.c.d", "com", "ok.example.com",
        "ok.example.com.svc", "_tcp", "_dns-sd._udp", "*", "*.default.svc", "any.default.svc",
        "wpad", "_ldap._tcp.dc._msdcs", "svc.svc", "pod.svc", "svc.pod", "pod.pod", "svc.svc.svc",
        "s.svc.svc", "default.svc.default.svc",
    ]
    .map(str::to_owned)
    .into()
}
