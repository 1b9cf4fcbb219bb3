//! Makes questions about a cluster: for every name that exists, and for names that are
//! similar to these. `query` varies how the questions are asked.

mod names;
mod plain;
mod query;

use std::collections::BTreeMap;

use fastrand::Rng;
use headless_agent::watch::convert::SERVICE_NAME_LABEL;

pub use self::names::exceptions;
use self::names::{fixed, like_namespace, like_service, port_names, reverse, spelled_labels};
pub use self::plain::Plain;
pub use self::query::mangled;
use super::cluster::Cluster;
use super::message::DnsName;
use super::upstream;

/// Makes questions about one cluster.
#[derive(Debug)]
pub struct Questions {
    rng: Rng,
    zone: DnsName,
    /// The names to ask for, by topic.
    names: BTreeMap<Topic, Vec<DnsName>>,
}

/// The kind of thing that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// A Service.
    Service,
    /// An endpoint, also one that has no name because it is not ready.
    Endpoint,
    /// A port of a Service.
    Port,
    /// A namespace, the zone, or a name that every zone has.
    Zone,
    /// The zone itself, or the name of its name server.
    Server,
    /// A pod.
    Pod,
    /// The reverse name of an address in the cluster.
    Reverse,
    /// A name that does not exist, or is not the cluster's.
    Other,
}

impl Topic {
    /// All topics with their weights in the random choice.
    const ALL: [(Self, u32); 8] = [
        (Self::Service, 26),
        (Self::Endpoint, 14),
        (Self::Port, 12),
        (Self::Zone, 6),
        (Self::Server, 4),
        (Self::Pod, 8),
        (Self::Reverse, 10),
        (Self::Other, 24),
    ];
}

impl Questions {
    /// Collects the names of a cluster.
    pub fn new(seed: u64, zone: &str, cluster: &Cluster) -> Self {
        let mut questions = Self {
            rng: Rng::with_seed(seed),
            zone: DnsName::new(zone),
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

    fn add(&mut self, topic: Topic, names: impl IntoIterator<Item = DnsName>) {
        self.names.entry(topic).or_default().extend(names);
    }

    /// Adds names that are given without the zone.
    fn below(&mut self, topic: Topic, names: impl IntoIterator<Item = impl AsRef<str>>) {
        let zone = self.zone.clone();
        let names = names
            .into_iter()
            .map(|name| DnsName::new(name.as_ref()).followed_by(&zone));
        self.add(topic, names);
    }

    fn namespaces(&mut self, cluster: &Cluster) {
        for name in cluster.namespaces() {
            self.below(Topic::Zone, [format!("{name}.svc"), format!("{name}.pod")]);
            self.below(Topic::Other, like_namespace(&name));
        }
        self.below(Topic::Zone, ["", "svc", "pod", "dns-version", "ns.dns"]);
        self.below(Topic::Server, ["", "ns.dns"]);
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
            self.below(Topic::Other, like_service(name, namespace));
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
                    let names = spelled_labels(address).map(|name| format!("{name}.{own}"));
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
            for name in spelled_labels(address) {
                self.below(Topic::Pod, [format!("{name}.{namespace}.pod")]);
                let similar = [
                    format!("{name}.default.pod"),
                    format!("x.{name}.{namespace}.pod"),
                    format!("a.b.{name}.{namespace}.pod"),
                    format!("{name}.{namespace}.svc"),
                ];
                self.below(Topic::Pod, similar);
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
                let parent = DnsName(name.0.iter().skip(1).cloned().collect());
                let below = DnsName::new("x").followed_by(&name);
                self.add(Topic::Reverse, [below, parent]);
            }
            self.add(Topic::Reverse, [name]);
        }
        let unused = [
            "10.255.255.255",
            "8.8.8.8",
            "fd00:ffff::1",
            "::ffff:10.96.0.10",
        ];
        let unused = unused.iter().filter_map(|text| text.parse().ok());
        self.add(Topic::Other, unused.map(reverse));
        let names = [
            "in-addr.arpa",
            "ip6.arpa",
            "arpa",
            "1.0.0.256.in-addr.arpa",
            "01.0.96.10.in-addr.arpa",
        ];
        self.add(Topic::Other, names.map(DnsName::new));
    }

    /// Adds names with unusual bytes, names outside the zone, and the longest names.
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
                let name = DnsName(vec![label.to_vec()]).followed_by(&DnsName::new(below));
                self.add(Topic::Other, [name.followed_by(&self.zone)]);
            }
        }
        self.add(Topic::Other, upstream::NAMES.map(DnsName::new));
        let outside = ["", "local", "com", "x.y.z"];
        self.add(Topic::Other, outside.map(DnsName::new));
        // Ends in the zone's bytes, but not at the start of a label.
        let mut near = self.zone.clone();
        if let Some(first) = near.0.first_mut() {
            first.insert(0, b'x');
        }
        self.add(
            Topic::Other,
            [DnsName::new("web.default.svc").followed_by(&near), near],
        );
        // Names of up to 255 bytes, the longest there are (RFC 1035, section 2.3.4).
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
}
