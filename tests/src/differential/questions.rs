//! What to ask about a cluster: every name that exists, names beside those,
//! and the ways in which clients ask.

mod names;

use std::collections::BTreeMap;

use fastrand::Rng;
use headless_agent::watch::convert::SERVICE_NAME_LABEL;

use self::names::{beside_namespace, beside_service, dashed, fixed, port_names, reverse};
pub use self::names::{misspelled, nameless};
use super::cluster::Cluster;
use super::message::{Labels, Opt, Query, RD, TC};
use super::upstream;

/// Types with how often they are asked for, relative to each other. The last
/// four are no client's.
const TYPES: [(u16, u32); 24] = [
    (1, 300),
    (28, 220),
    (33, 120),
    (16, 60),
    (12, 60),
    (5, 50),
    (6, 50),
    (2, 50),
    (15, 40),
    (65, 40),
    (64, 10),
    (255, 40),
    (13, 20),
    (43, 20),
    (48, 10),
    (35, 10),
    (257, 10),
    (99, 10),
    (65_280, 10),
    (65_535, 10),
    (252, 2),
    (251, 2),
    (41, 1),
    (0, 1),
];

/// EDNS options: code and value.
const OPTIONS: [(u16, &[u8]); 9] = [
    (10, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    (3, b""),
    (12, b"\0\0\0\0\0\0\0\0"),
    (8, b"\0\x01\x18\0\x0a\0\0"),
    (9, b""),
    (11, b""),
    (15, b"\0\x01text"),
    (65_001, b"local"),
    // With which a query is longer than 512 bytes.
    (12, &[0; 480]),
];

/// Makes questions.
#[derive(Debug)]
pub struct Questions {
    rng: Rng,
    zone: Labels,
    /// Names with what each is about.
    names: BTreeMap<Topic, Vec<Labels>>,
}

/// What a name is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// A Service.
    Service,
    /// An endpoint that exists, or does not quite.
    Endpoint,
    /// A port of a Service.
    Port,
    /// A namespace, the zone, and what it has of its own.
    Zone,
    /// A pod.
    Pod,
    /// The address of something.
    Reverse,
    /// Nothing that exists, or nothing of the cluster's.
    Other,
}

impl Topic {
    /// All with how often they are asked about, relative to each other.
    const ALL: [(Self, u32); 7] = [
        (Self::Service, 26),
        (Self::Endpoint, 14),
        (Self::Port, 12),
        (Self::Zone, 6),
        (Self::Pod, 8),
        (Self::Reverse, 10),
        (Self::Other, 24),
    ];
}

/// One of these by its weight.
fn weighted<T: Copy>(rng: &mut Rng, of: &[(T, u32)]) -> T {
    let total: u32 = of.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.u32(..total);
    for (one, weight) in of {
        if at < *weight {
            return *one;
        }
        at -= weight;
    }
    of[0].0
}

impl Questions {
    /// About a cluster.
    pub fn new(seed: u64, zone: &str, cluster: &Cluster) -> Self {
        let mut questions = Self {
            rng: Rng::with_seed(seed),
            zone: Labels::new(zone),
            names: BTreeMap::new(),
        };
        questions.namespaces(cluster);
        questions.services(cluster);
        questions.endpoints(cluster);
        questions.pods(cluster);
        questions.reverse_names(cluster);
        questions.odd_names();
        for names in questions.names.values_mut() {
            names.retain(|name| name.wire_len() <= 255);
            names.sort();
            names.dedup();
        }
        questions
    }

    fn add(&mut self, topic: Topic, names: impl IntoIterator<Item = Labels>) {
        self.names.entry(topic).or_default().extend(names);
    }

    /// Names left of the zone.
    fn below(&mut self, topic: Topic, names: impl IntoIterator<Item = impl AsRef<str>>) {
        let zone = self.zone.clone();
        let names = names
            .into_iter()
            .map(|name| Labels::new(name.as_ref()).above(&zone));
        self.add(topic, names);
    }

    fn namespaces(&mut self, cluster: &Cluster) {
        for name in cluster.namespaces() {
            self.below(Topic::Zone, [format!("{name}.svc"), format!("{name}.pod")]);
            self.below(Topic::Other, beside_namespace(&name));
        }
        self.below(Topic::Zone, ["", "svc", "pod", "dns-version", "ns.dns"]);
        self.below(Topic::Other, fixed());
    }

    fn services(&mut self, cluster: &Cluster) {
        for service in cluster.services() {
            let metadata = &service.metadata;
            let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else {
                continue;
            };
            let own = format!("{name}.{namespace}.svc");
            let spec = service.spec.as_ref();
            for port in spec
                .and_then(|spec| spec.ports.as_ref())
                .into_iter()
                .flatten()
            {
                let name = port.name.as_deref().unwrap_or_default();
                self.below(
                    Topic::Port,
                    port_names(&own, name, port.protocol.as_deref()),
                );
            }
            self.below(Topic::Other, beside_service(name, namespace));
            self.below(Topic::Service, [own]);
        }
    }

    fn endpoints(&mut self, cluster: &Cluster) {
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
                self.below(
                    Topic::Port,
                    port_names(&own, name, port.protocol.as_deref()),
                );
            }
            for endpoint in slice.endpoints.iter().flatten() {
                let pod = endpoint
                    .target_ref
                    .as_ref()
                    .and_then(|target| target.name.clone());
                let names = endpoint.hostname.iter().cloned().chain(pod);
                self.below(Topic::Endpoint, names.map(|name| format!("{name}.{own}")));
                for address in &endpoint.addresses {
                    let names = dashed(address).map(|name| format!("{name}.{own}"));
                    self.below(Topic::Endpoint, names);
                }
            }
        }
    }

    fn pods(&mut self, cluster: &Cluster) {
        for pod in cluster.pods() {
            let address = pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.as_ref());
            let (Some(address), Some(namespace)) = (address, &pod.metadata.namespace) else {
                continue;
            };
            for name in dashed(address) {
                self.below(Topic::Pod, [format!("{name}.{namespace}.pod")]);
                let beside = [
                    format!("{name}.default.pod"),
                    format!("x.{name}.{namespace}.pod"),
                    format!("a.b.{name}.{namespace}.pod"),
                    format!("{name}.{namespace}.svc"),
                ];
                self.below(Topic::Pod, beside);
            }
        }
    }

    fn reverse_names(&mut self, cluster: &Cluster) {
        let specs = cluster
            .services()
            .filter_map(|service| service.spec.as_ref());
        let own = specs.flat_map(|spec| spec.cluster_ips.iter().flatten());
        let endpoints = cluster
            .slices()
            .flat_map(|slice| slice.endpoints.iter().flatten());
        let endpoints = endpoints.flat_map(|endpoint| &endpoint.addresses);
        let addresses = own
            .chain(endpoints)
            .filter_map(|address| address.parse().ok());
        for address in addresses {
            let name = reverse(address);
            if self.rng.u32(..20) == 0 {
                let cut = Labels(name.0.iter().skip(1).cloned().collect());
                self.add(Topic::Reverse, [Labels::new("x").above(&name), cut]);
            }
            self.add(Topic::Reverse, [name]);
        }
        let nobodys = [
            "10.255.255.255",
            "8.8.8.8",
            "fd00:ffff::1",
            "::ffff:10.96.0.10",
        ];
        let nobodys = nobodys.iter().filter_map(|text| text.parse().ok());
        self.add(Topic::Other, nobodys.map(reverse));
        let names = [
            "in-addr.arpa",
            "ip6.arpa",
            "arpa",
            "1.0.0.256.in-addr.arpa",
            "01.0.96.10.in-addr.arpa",
        ];
        self.add(Topic::Other, names.map(Labels::new));
    }

    /// Labels that no text has, and names outside the zone.
    fn odd_names(&mut self) {
        for label in [
            b"a.b".as_slice(),
            b"a b",
            b"\\",
            b"\0",
            b"\xff\xfe",
            b"we\"b",
            b"(;@$)",
        ] {
            for below in ["", "default.svc", "kube-dns.kube-system.svc", "default.pod"] {
                let name = Labels(vec![label.to_vec()]).above(&Labels::new(below));
                self.add(Topic::Other, [name.above(&self.zone)]);
            }
        }
        self.add(Topic::Other, upstream::NAMES.map(Labels::new));
        self.add(Topic::Other, ["", "local", "com", "x.y.z"].map(Labels::new));
        // Ends like the zone, but not at a label.
        let mut near = self.zone.clone();
        if let Some(first) = near.0.first_mut() {
            first.insert(0, b'x');
        }
        self.add(
            Topic::Other,
            [Labels::new("web.default.svc").above(&near), near],
        );
        // Up to the longest that there can be.
        for len in [1, 40, 63] {
            let label = vec![b'q'; len];
            let mut name = self.zone.clone();
            while name.wire_len() + len < 255 {
                name.0.insert(0, label.clone());
            }
            self.add(Topic::Other, [name.clone()]);
            let rest = 255 - name.wire_len();
            if rest > 1 {
                name.0.insert(0, vec![b'r'; rest - 1]);
                self.add(Topic::Other, [name]);
            }
        }
    }

    /// So many queries: a third for the addresses of names that exist, the rest
    /// by chance.
    pub fn queries(&mut self, count: usize) -> Vec<Query> {
        let mut queries = Vec::new();
        let mut existing = Vec::new();
        for topic in [Topic::Service, Topic::Endpoint] {
            let mut names = self.names.get(&topic).cloned().unwrap_or_default();
            self.rng.shuffle(&mut names);
            existing.append(&mut names);
        }
        existing.truncate(count / 6);
        for name in existing {
            for qtype in [1, 28] {
                queries.push(self.query(name.clone(), qtype));
            }
        }
        while queries.len() < count {
            let topic = weighted(&mut self.rng, &Topic::ALL);
            let names = self
                .names
                .get(&topic)
                .map(Vec::as_slice)
                .unwrap_or_default();
            if names.is_empty() {
                continue;
            }
            let name = names[self.rng.usize(..names.len())].clone();
            let qtype = match topic {
                Topic::Reverse if self.rng.u32(..3) > 0 => 12,
                Topic::Port if self.rng.u32(..3) > 0 => 33,
                _ => weighted(&mut self.rng, &TYPES),
            };
            queries.push(self.query(name, qtype));
        }
        queries
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
            2 => query
                .name
                .0
                .iter_mut()
                .for_each(|label| label.make_ascii_uppercase()),
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
        let sizes = [
            0, 100, 512, 513, 600, 1200, 1232, 1232, 1232, 1400, 4096, 4096, 65_535,
        ];
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
