//! Makes random clusters, with unusual objects among them.

mod changes;
mod services;

use std::collections::BTreeMap;
use std::net::IpAddr;

use fastrand::Rng;
use headless_agent::watch::convert::SERVICE_NAME_LABEL;
use k8s_openapi::api::core::v1::{
    Namespace, Pod, PodIP, PodStatus, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::cluster::{
    CONTROLLER, Change, Cluster, HEADLESS_LABEL, MANAGED_BY_LABEL, Object, SENTINEL,
};
use super::coredns;

/// Names that have another meaning elsewhere in DNS names.
const ODD_NAMES: [&str; 16] = [
    "svc",
    "pod",
    "dns",
    "ns",
    "cluster",
    "local",
    "com",
    "example",
    "default",
    "tcp",
    "http",
    "a",
    "dns-version",
    "1-2-3-4",
    "0",
    "in-addr",
];

/// Makes objects at random.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    zone: &'static str,
    /// The last number that a name or address got.
    count: u32,
    /// Number of sentinels so far.
    sentinels: u32,
    /// Addresses that further endpoints may have too, by `addressType`.
    shared: BTreeMap<&'static str, Vec<String>>,
}

/// The names of a sentinel, left of the zone.
#[derive(Clone, Debug)]
pub struct Sentinel {
    /// Two Services without a cluster IP.
    pub of_endpoints: [String; 2],
    /// A Service with a cluster IP and without endpoints.
    pub of_service: String,
    /// A pod.
    pub pod: String,
}

/// A random element.
fn choice<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())].clone()
}

/// True with a probability of `percent` hundredths.
fn percent(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: (!namespace.is_empty()).then(|| namespace.into()),
        ..ObjectMeta::default()
    }
}

fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace {
        metadata: metadata("", name),
        ..Namespace::default()
    })
}

/// An EndpointSlice of a Service.
fn slice(
    namespace: &str,
    name: &str,
    service: &str,
    family: &str,
    endpoints: Vec<Endpoint>,
    ports: Option<Vec<EndpointPort>>,
) -> Object {
    let label = (SERVICE_NAME_LABEL.to_owned(), service.to_owned());
    Object::EndpointSlice(EndpointSlice {
        address_type: family.into(),
        endpoints: Some(endpoints),
        metadata: ObjectMeta {
            labels: Some(BTreeMap::from([label])),
            ..metadata(namespace, name)
        },
        ports,
    })
}

fn service(namespace: &str, name: &str, spec: ServiceSpec) -> Object {
    Object::Service(Service {
        metadata: metadata(namespace, name),
        spec: Some(spec),
        status: None,
    })
}

fn headless(ports: Option<Vec<ServicePort>>) -> ServiceSpec {
    ServiceSpec {
        cluster_ip: Some("None".into()),
        cluster_ips: Some(vec!["None".into()]),
        type_: Some("ClusterIP".into()),
        ports,
        ..ServiceSpec::default()
    }
}

impl Generator {
    /// Makes objects for a zone. The same seed makes the same objects.
    pub fn new(seed: u64, zone: &'static str) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            zone,
            count: 0,
            sentinels: 0,
            shared: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn name(&mut self) -> String {
        let number = self.number();
        match self.rng.u32(..20) {
            0 => choice(&mut self.rng, &ODD_NAMES).to_owned(),
            1 => format!("{number}"),
            2 => format!("{number}web"),
            3 => format!("{:x<63}", format!("longest-{number}-")),
            4 => format!("{:y<33}", format!("medium-{number}-")),
            5 => format!("a--{number}"),
            _ => {
                let names = ["web", "db", "nginx-headless", "kafka", "redis", "api"];
                format!("{}-{number}", choice(&mut self.rng, &names))
            }
        }
    }

    fn ipv4(&mut self) -> String {
        let number = self.number();
        format!("10.244.{}.{}", 1 + number / 250, 1 + number % 250)
    }

    fn ipv6(&mut self) -> String {
        let number = self.number();
        match self.rng.u32(..12) {
            // Two spellings that RFC 5952 does not allow.
            0 => format!("FD00:10:244::{number:X}"),
            1 => format!("fd00:10:244:0:0:0:0:{number:x}"),
            // Dashed labels must not end in a dash, so this address gets a zero appended.
            2 => format!("fd00:10:{number:x}::"),
            3 => format!("fd00:10:244:1:2:3:4:{number:x}"),
            _ => format!("fd00:10:244::{number:x}"),
        }
    }

    /// A cluster with `services` random Services, and the Service of the cluster's DNS.
    pub fn cluster(&mut self, services: usize) -> Cluster {
        let mut cluster = Cluster::default();
        for name in [
            "default",
            "kube-system",
            "prod",
            "1st",
            "svc",
            "pod",
            "com",
            "a",
        ] {
            cluster.put(namespace(name));
        }
        cluster.put(namespace(&"n".repeat(63)));
        self.cluster_dns(&mut cluster);
        let mut namespaces = cluster.namespaces();
        // These namespaces have objects, but no Namespace object.
        namespaces.extend(["ghost", "example"].map(str::to_owned));
        for _ in 0..services / 4 {
            let namespace = choice(&mut self.rng, &namespaces);
            let pod = self.pod(&namespace);
            cluster.put(pod);
        }
        for _ in 0..services {
            let namespace = choice(&mut self.rng, &namespaces);
            for object in self.service(&namespace, &cluster) {
                cluster.put(object);
            }
        }
        for object in self.stray_slices() {
            cluster.put(object);
        }
        relabel(&mut cluster);
        cluster
    }

    /// An address for an endpoint. With 30 % probability another endpoint or a Service of
    /// any kind and namespace has the address already.
    fn endpoint_address(&mut self, family: &'static str) -> String {
        let shared = self.shared.entry(family).or_default();
        if !shared.is_empty() && percent(&mut self.rng, 30) {
            return choice(&mut self.rng, shared);
        }
        let address = match family {
            "IPv6" => self.ipv6(),
            _ => self.ipv4(),
        };
        self.share(family, &address);
        address
    }

    fn share(&mut self, family: &'static str, address: &str) {
        let shared = self.shared.entry(family).or_default();
        shared.push(address.to_owned());
    }

    /// Adds the Service of the cluster's DNS, with CoreDNS as its endpoint.
    fn cluster_dns(&mut self, cluster: &mut Cluster) {
        let dual = self.rng.bool();
        let mut addresses = vec!["10.96.0.10".to_owned()];
        addresses.extend(dual.then(|| "fd00:10:96::a".to_owned()));
        let port = |name: &str, protocol: &str| ServicePort {
            name: Some(name.into()),
            port: 53,
            protocol: Some(protocol.into()),
            ..ServicePort::default()
        };
        let ports = vec![port("dns", "UDP"), port("dns-tcp", "TCP")];
        let slice_ports = ports.iter().map(|port| EndpointPort {
            name: port.name.clone(),
            port: Some(53),
            protocol: port.protocol.clone(),
            ..EndpointPort::default()
        });
        let slice_ports = slice_ports.collect();
        let endpoint = Endpoint {
            addresses: vec![coredns::ADDRESS.to_string()],
            ..Endpoint::default()
        };
        let spec = ServiceSpec {
            cluster_ip: Some("10.96.0.10".into()),
            cluster_ips: Some(addresses),
            ports: Some(ports),
            ..ServiceSpec::default()
        };
        cluster.put(service("kube-system", "kube-dns", spec));
        cluster.put(slice(
            "kube-system",
            "kube-dns-1",
            "kube-dns",
            "IPv4",
            vec![endpoint],
            Some(slice_ports),
        ));
        self.over_cluster_dns(cluster);
    }

    fn pod(&mut self, namespace: &str) -> Object {
        let name = self.name();
        let phase = match self.rng.u32(..10) {
            0 => "Succeeded",
            1 => "Failed",
            2 => "Unknown",
            3 => "Pending",
            _ => "Running",
        };
        let address = match self.rng.u32(..10) {
            0 => None,
            // CoreDNS compares a pod's address as text. The kubelet writes the usual spelling.
            1..4 => self.ipv6().parse::<IpAddr>().ok().map(|at| at.to_string()),
            // Pods on the host's network share the node's address.
            4 => Some("192.168.1.10".into()),
            _ => Some(self.ipv4()),
        };
        let second = self.ipv6();
        let both = |first: &String| vec![PodIP { ip: first.clone() }, PodIP { ip: second }];
        let mut metadata = metadata(namespace, &name);
        if percent(&mut self.rng, 15) {
            metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        }
        Object::Pod(Pod {
            metadata,
            spec: None,
            status: Some(PodStatus {
                phase: Some(phase.into()),
                pod_ips: address.as_ref().map(both),
                pod_ip: address,
                ..PodStatus::default()
            }),
        })
    }

    /// A sentinel: objects of every kind, and the names that get an address from them. A server
    /// that answers these names has seen all earlier changes too.
    pub fn sentinel(&mut self) -> (Vec<Object>, Sentinel) {
        self.sentinels += 1;
        let number = self.sentinels;
        let name = format!("{SENTINEL}{number}");
        let address = format!("10.245.0.{number}");
        let endpoint = Endpoint {
            addresses: vec![address.clone()],
            ..Endpoint::default()
        };
        let pod = Pod {
            metadata: metadata(&name, "pod"),
            spec: None,
            status: Some(PodStatus {
                phase: Some("Running".into()),
                pod_ip: Some(address.clone()),
                ..PodStatus::default()
            }),
        };
        let own = ServiceSpec {
            cluster_ip: Some(format!("10.97.0.{number}")),
            cluster_ips: Some(vec![format!("10.97.0.{number}")]),
            ports: Some(vec![ServicePort {
                port: 80,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        };
        let objects = vec![
            namespace(&name),
            service(&name, "s", headless(None)),
            slice(&name, "s-1", "s", "IPv4", vec![endpoint.clone()], None),
            // The agent has a separate watch for slices that the controller made.
            service(&name, "t", headless(None)),
            made_by_controller(slice(&name, "t-1", "t", "IPv4", vec![endpoint], None), true),
            // The only one with a name where CoreDNS has no endpoints.
            service(&name, "c", own),
            Object::Pod(pod),
        ];
        let pod = format!("{}.{name}.pod", address.replace('.', "-"));
        let names = Sentinel {
            of_endpoints: ["s", "t"].map(|service| format!("{service}.{name}.svc")),
            of_service: format!("c.{name}.svc"),
            pod,
        };
        (objects, names)
    }
}

/// The slice with the labels that the control plane's controller sets.
fn made_by_controller(mut object: Object, headless: bool) -> Object {
    if let Object::EndpointSlice(slice) = &mut object {
        let labels = slice.metadata.labels.get_or_insert_default();
        labels.insert(MANAGED_BY_LABEL.into(), CONTROLLER.into());
        if headless {
            labels.insert(HEADLESS_LABEL.into(), String::new());
        } else {
            labels.remove(HEADLESS_LABEL);
        }
    }
    object
}

/// Corrects the label for headless Services on the controller's slices, as the controller
/// does when a Service changes. Returns the changes, which are applied already.
fn relabel(cluster: &mut Cluster) -> Vec<Change> {
    let slices: Vec<Object> = cluster
        .slices()
        .cloned()
        .map(Object::EndpointSlice)
        .collect();
    let mut changes = Vec::new();
    for object in slices {
        let labels = object.labels();
        let Some(service) = labels.get(SERVICE_NAME_LABEL) else {
            continue;
        };
        let headless = cluster.is_headless(object.namespace(), service);
        let by_controller = labels
            .get(MANAGED_BY_LABEL)
            .is_some_and(|by| by == CONTROLLER);
        if by_controller && labels.contains_key(HEADLESS_LABEL) != headless {
            let change = Change::Put(made_by_controller(object, headless));
            cluster.apply(change.clone());
            changes.push(change);
        }
    }
    changes
}
