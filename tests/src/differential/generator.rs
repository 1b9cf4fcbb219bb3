//! Random clusters, odd ones included.

use std::collections::BTreeMap;

use fastrand::Rng;
use headless_agent::watch::Kind;
use headless_agent::watch::convert::SERVICE_NAME_LABEL;
use k8s_openapi::api::core::v1::{
    Namespace, ObjectReference, Pod, PodIP, PodStatus, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster::{Change, Cluster, Object};
use super::{coredns, upstream};

/// Names that look like something else.
const ODD_NAMES: [&str; 16] = [
    "svc", "pod", "dns", "ns", "cluster", "local", "com", "example", "default", "tcp", "http", "a",
    "dns-version", "1-2-3-4", "0", "in-addr",
];

/// Names of ports. The last ones would be refused by the API.
const PORT_NAMES: [&str; 9] = [
    "http", "https", "grpc", "dns", "dns-tcp", "metrics", "a-very-long-one", "tcp", "Mixed",
];

/// Makes objects.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    zone: &'static str,
    /// Numbers given to names and addresses.
    count: u32,
    sentinels: u32,
}

/// One of them.
fn choice<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())].clone()
}

/// In so many of a hundred cases.
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
    /// For a zone; the same seed makes the same objects.
    pub fn new(seed: u64, zone: &'static str) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            zone,
            count: 0,
            sentinels: 0,
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
            // Not as RFC 5952 has it.
            0 => format!("FD00:10:244::{number:X}"),
            1 => format!("fd00:10:244:0:0:0:0:{number:x}"),
            // Ends in a colon.
            2 => format!("fd00:10:{number:x}::"),
            3 => format!("fd00:10:244:1:2:3:4:{number:x}"),
            _ => format!("fd00:10:244::{number:x}"),
        }
    }

    /// A cluster of about so many Services.
    pub fn cluster(&mut self, services: usize) -> Cluster {
        let mut cluster = Cluster::default();
        for name in ["default", "kube-system", "prod", "1st", "svc", "pod", "com", "a"] {
            cluster.put(namespace(name));
        }
        cluster.put(namespace(&"n".repeat(63)));
        self.cluster_dns(&mut cluster);
        let mut namespaces = cluster.namespaces();
        // No Namespace object, but objects in it.
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
        cluster
    }

    /// The Service in front of CoreDNS.
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
            1..4 => Some(self.ipv6()),
            // Several on the host's network.
            4 => Some("192.168.1.10".into()),
            _ => Some(self.ipv4()),
        };
        let second = self.ipv6();
        let both = |first: &String| vec![PodIP { ip: first.clone() }, PodIP { ip: second }];
        Object::Pod(Pod {
            metadata: metadata(namespace, &name),
            spec: None,
            status: Some(PodStatus {
                phase: Some(phase.into()),
                pod_ips: address.as_ref().map(both),
                pod_ip: address,
                ..PodStatus::default()
            }),
        })
    }

    /// A Service of any kind with its slices.
    fn service(&mut self, namespace: &str, cluster: &Cluster) -> Vec<Object> {
        let name = self.name();
        let ports = self.service_ports();
        let kind = self.rng.u32(..100);
        let spec = match kind {
            0..40 => self.cluster_ip(ports),
            40..80 => headless(ports),
            80..97 => self.external_name(namespace, &name, ports, cluster),
            // Not given an address yet.
            _ => ServiceSpec {
                cluster_ip: (kind == 98).then(String::new),
                cluster_ips: (kind == 99).then(Vec::new),
                ports,
                ..ServiceSpec::default()
            },
        };
        let mut objects = vec![service(namespace, &name, spec)];
        // What stands behind an external name is nobody's, but may exist.
        if kind < 80 || percent(&mut self.rng, 20) {
            objects.extend(self.slices(namespace, &name));
        }
        objects
    }

    fn cluster_ip(&mut self, ports: Option<Vec<ServicePort>>) -> ServiceSpec {
        let number = self.number();
        let ipv4 = format!("10.96.{}.{}", 1 + number / 250, 1 + number % 250);
        let ipv6 = format!("fd00:10:96::{number:x}");
        let addresses = match self.rng.u32(..10) {
            0..5 => vec![ipv4],
            5 => vec![ipv6],
            6 => vec![ipv6, ipv4],
            // The same address twice in the cluster.
            7 if percent(&mut self.rng, 20) => vec!["10.96.0.77".into()],
            _ => vec![ipv4, ipv6],
        };
        let type_ = ["ClusterIP", "NodePort", "LoadBalancer"];
        ServiceSpec {
            cluster_ip: addresses.first().cloned(),
            // An object from before there were two families has only the other.
            cluster_ips: (!percent(&mut self.rng, 5)).then_some(addresses),
            type_: Some(choice(&mut self.rng, &type_).into()),
            ports,
            ..ServiceSpec::default()
        }
    }

    fn external_name(
        &mut self,
        namespace: &str,
        name: &str,
        ports: Option<Vec<ServicePort>>,
        cluster: &Cluster,
    ) -> ServiceSpec {
        let zone = self.zone;
        let services: Vec<_> = cluster.services().collect();
        let other = services.get(self.rng.usize(..services.len().max(1)));
        let other = other.and_then(|other| {
            let metadata = &other.metadata;
            Some(format!(
                "{}.{}.svc.{zone}",
                metadata.name.as_ref()?,
                metadata.namespace.as_ref()?
            ))
        });
        let outside = choice(&mut self.rng, &upstream::NAMES).to_owned();
        let target = match self.rng.u32(..24) {
            0..7 => other.unwrap_or(outside),
            7 => format!("nothing.{namespace}.svc.{zone}"),
            // To itself, and below itself.
            8 => format!("{name}.{namespace}.svc.{zone}"),
            9 => format!("x.{name}.{namespace}.svc.{zone}"),
            10 => "192.0.2.99".into(),
            11 => "2001:db8::99".into(),
            12 => format!("{outside}."),
            13 => outside.to_ascii_uppercase(),
            14 => zone.into(),
            15 => format!("kube-dns.kube-system.svc.{}", zone.to_ascii_uppercase()),
            16 => "localhost".into(),
            17 => format!("10-0-0-1.{namespace}.pod.{zone}"),
            _ => outside,
        };
        ServiceSpec {
            type_: Some("ExternalName".into()),
            external_name: Some(target),
            ports,
            ..ServiceSpec::default()
        }
    }

    fn service_ports(&mut self) -> Option<Vec<ServicePort>> {
        let ports = self.ports()?;
        let port = |(name, number, protocol)| ServicePort {
            name,
            port: number,
            protocol,
            ..ServicePort::default()
        };
        Some(ports.into_iter().map(port).collect())
    }

    /// Name, number and protocol; mostly as the API wants them.
    #[expect(clippy::type_complexity, reason = "two lines below it is taken apart")]
    fn ports(&mut self) -> Option<Vec<(Option<String>, i32, Option<String>)>> {
        let rng = &mut self.rng;
        if percent(rng, 8) {
            return None;
        }
        let count = choice(rng, &[0, 1, 1, 1, 2, 2, 3, 5]);
        let unnamed = count == 1 && percent(rng, 30);
        let ports = (0..count).map(|_| {
            let name = choice(rng, &PORT_NAMES).to_owned();
            let name = match unnamed {
                true if percent(rng, 50) => None,
                true => Some(String::new()),
                false => Some(name),
            };
            let protocol = match rng.u32(..10) {
                0 => None,
                1 | 2 => Some("UDP"),
                3 => Some("SCTP"),
                _ => Some("TCP"),
            };
            (name, rng.i32(1..65_536), protocol.map(str::to_owned))
        });
        Some(ports.collect())
    }

    fn slice_ports(&mut self) -> Option<Vec<EndpointPort>> {
        let ports = self.ports()?;
        let mut port = |(name, number, protocol)| EndpointPort {
            name,
            port: (!percent(&mut self.rng, 5)).then_some(number),
            protocol,
            ..EndpointPort::default()
        };
        Some(ports.into_iter().map(&mut port).collect())
    }

    /// The slices of a Service: of one family or both, with endpoints that are
    /// in two of them.
    fn slices(&mut self, namespace: &str, service: &str) -> Vec<Object> {
        let families = choice(
            &mut self.rng,
            &[&["IPv4"][..], &["IPv4"], &["IPv6"], &["IPv4", "IPv6"]],
        );
        let count = choice(&mut self.rng, &[0, 1, 1, 1, 2, 3]);
        let ports = self.slice_ports();
        let mut slices = Vec::new();
        for family in families {
            let mut earlier: Vec<Endpoint> = Vec::new();
            for i in 0..count {
                let mut endpoints = self.endpoints(family);
                for endpoint in &earlier {
                    if percent(&mut self.rng, 20) {
                        let mut endpoint = endpoint.clone();
                        self.touch(&mut endpoint);
                        endpoints.push(endpoint);
                    }
                }
                earlier.extend(endpoints.iter().cloned());
                // After a change of the Service slices may differ for a while.
                let ports = if percent(&mut self.rng, 15) {
                    self.slice_ports()
                } else {
                    ports.clone()
                };
                let name = format!("{service:.40}-{}-{i}", family.to_ascii_lowercase());
                slices.push(slice(namespace, &name, service, family, endpoints, ports));
            }
        }
        slices
    }

    fn endpoints(&mut self, family: &str) -> Vec<Endpoint> {
        let count = choice(&mut self.rng, &[0, 1, 1, 2, 3, 3, 5, 8, 12, 40]);
        (0..count)
            .map(|i| {
                let mut address = || match family {
                    "IPv6" => self.ipv6(),
                    _ => self.ipv4(),
                };
                let mut addresses = vec![address()];
                if i == 7 {
                    addresses.push(address());
                }
                let mut endpoint = Endpoint {
                    addresses,
                    ..Endpoint::default()
                };
                self.touch(&mut endpoint);
                endpoint.hostname = match self.rng.u32(..10) {
                    0 => Some("shared".into()),
                    1..6 => Some(format!("web-{i}")),
                    6 => Some(format!("{:z<63}", format!("{i}h"))),
                    _ => None,
                };
                endpoint.target_ref = self.target();
                endpoint
            })
            .collect()
    }

    fn target(&mut self) -> Option<ObjectReference> {
        let name = match self.rng.u32(..10) {
            0..3 => return None,
            3 => "p".repeat(70),
            4 => "p".repeat(63),
            5 => format!("pod.{}", self.number()),
            _ => format!("pod-{}", self.number()),
        };
        Some(ObjectReference {
            kind: Some("Pod".into()),
            name: Some(name),
            ..ObjectReference::default()
        })
    }

    /// Makes an endpoint ready, or not, or as a terminating pod's.
    fn touch(&mut self, endpoint: &mut Endpoint) {
        let conditions = |ready, serving, terminating| {
            Some(EndpointConditions {
                ready,
                serving,
                terminating,
            })
        };
        endpoint.conditions = match self.rng.u32(..12) {
            0 => None,
            1 => conditions(None, None, None),
            2 => conditions(Some(false), Some(true), Some(true)),
            3 => conditions(Some(false), None, None),
            4 => conditions(Some(true), Some(true), Some(true)),
            _ => conditions(Some(true), Some(true), Some(false)),
        };
    }

    /// Slices of no Service, or of one that does not exist.
    fn stray_slices(&mut self) -> Vec<Object> {
        let endpoints = self.endpoints("IPv4");
        let ports = self.slice_ports();
        let missing = slice("prod", "stray-1", "no-such-service", "IPv4", endpoints, ports);
        let endpoints = self.endpoints("IPv6");
        let mut nobodys = slice("prod", "stray-2", "", "IPv6", endpoints, None);
        if let Object::EndpointSlice(slice) = &mut nobodys {
            slice.metadata.labels = None;
        }
        vec![missing, nobodys]
    }

    /// A few changes of a cluster, applied to it.
    pub fn changes(&mut self, cluster: &mut Cluster, count: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..count {
            let objects: Vec<Object> = cluster.objects().cloned().collect();
            let object = choice(&mut self.rng, &objects);
            for change in self.change(object, &objects) {
                cluster.apply(change.clone());
                changes.push(change);
            }
        }
        changes
    }

    fn change(&mut self, object: Object, objects: &[Object]) -> Vec<Change> {
        // CoreDNS finds itself by these.
        if object.namespace() == "kube-system" && object.name().starts_with("kube-dns") {
            return Vec::new();
        }
        if object.kind() != Kind::EndpointSlice && percent(&mut self.rng, 30) {
            return vec![Change::Delete(object.key())];
        }
        match object {
            // One that was deleted comes back, or a new one.
            Object::Namespace(_) => {
                let name = choice(&mut self.rng, &["ghost", "example", "com", "a", "new"]);
                vec![Change::Put(namespace(name))]
            }
            Object::Service(object) => {
                let (Some(name), Some(at)) = (object.metadata.name, object.metadata.namespace) else {
                    return Vec::new();
                };
                let ports = self.service_ports();
                let spec = if self.rng.bool() {
                    self.cluster_ip(ports)
                } else {
                    headless(ports)
                };
                vec![Change::Put(service(&at, &name, spec))]
            }
            Object::EndpointSlice(from) => self.moved(from, objects),
            Object::Pod(mut pod) => {
                if let Some(status) = &mut pod.status {
                    let phases = ["Running", "Succeeded", "Pending"];
                    status.phase = Some(choice(&mut self.rng, &phases).into());
                }
                vec![Change::Put(Object::Pod(pod))]
            }
        }
    }

    /// Changes a slice, or moves endpoints to another slice of its Service.
    fn moved(&mut self, mut from: EndpointSlice, objects: &[Object]) -> Vec<Change> {
        let same = |other: &EndpointSlice| {
            other.metadata.name != from.metadata.name
                && other.metadata.namespace == from.metadata.namespace
                && other.metadata.labels == from.metadata.labels
                && other.address_type == from.address_type
        };
        let other = objects.iter().find_map(|object| match object {
            Object::EndpointSlice(other) if same(other) => Some(other.clone()),
            _ => None,
        });
        let endpoints = from.endpoints.get_or_insert_default();
        if let Some(mut other) = other
            && self.rng.bool()
        {
            let half = endpoints.len() / 2;
            let moved = endpoints.split_off(half);
            other.endpoints.get_or_insert_default().extend(moved);
            return [other, from].map(Object::EndpointSlice).map(Change::Put).into();
        }
        for endpoint in endpoints {
            if percent(&mut self.rng, 40) {
                self.touch(endpoint);
            }
        }
        vec![Change::Put(Object::EndpointSlice(from))]
    }

    /// Objects of every kind, and the names below the zone that they give an
    /// address: who answers those has seen every change before.
    pub fn sentinel(&mut self) -> (Vec<Object>, [String; 2]) {
        self.sentinels += 1;
        let number = self.sentinels;
        let name = format!("sentinel-{number}");
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
        let objects = vec![
            namespace(&name),
            service(&name, "s", headless(None)),
            slice(&name, "s-1", "s", "IPv4", vec![endpoint], None),
            Object::Pod(pod),
        ];
        let pod = format!("{}.{name}.pod", address.replace('.', "-"));
        (objects, [format!("s.{name}.svc"), pod])
    }
}
