//! Random Services of every kind, with their EndpointSlices.

use k8s_openapi::api::core::v1::{ObjectReference, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::{Generator, choice, headless, made_by_controller, percent, service, slice};
use crate::differential::cluster::{Cluster, Object};
use crate::differential::{coredns, upstream};

/// Names of ports. An API server refuses the last one.
const PORT_NAMES: [&str; 9] = [
    "http",
    "https",
    "grpc",
    "dns",
    "dns-tcp",
    "metrics",
    "a-very-long-one",
    "tcp",
    "Mixed",
];

impl Generator {
    /// A Service of any kind with its slices.
    pub(super) fn service(&mut self, namespace: &str, cluster: &Cluster) -> Vec<Object> {
        let name = self.name();
        let ports = self.service_ports();
        let kind = self.rng.u32(..100);
        let spec = match kind {
            0..40 => self.cluster_ip(ports),
            40..80 => headless(ports),
            80..97 => self.external_name(namespace, &name, ports, cluster),
            // A Service that is neither headless nor has an address.
            _ => ServiceSpec {
                cluster_ip: (kind == 98).then(String::new),
                cluster_ips: (kind == 99).then(Vec::new),
                ports,
                ..ServiceSpec::default()
            },
        };
        let is_headless = (40..80).contains(&kind);
        let mut objects = vec![service(namespace, &name, spec)];
        // Nothing reads the slices of an ExternalName Service, but they may exist.
        if kind < 80 || percent(&mut self.rng, 20) {
            let slices = self.slices(namespace, &name, cluster);
            // The controller makes slices only for Services with a selector.
            let by_controller = percent(&mut self.rng, 80);
            objects.extend(slices.into_iter().map(|slice| {
                if by_controller {
                    made_by_controller(slice, is_headless)
                } else {
                    slice
                }
            }));
        }
        objects
    }

    /// A Service with cluster IPs. No two Services have the same cluster IP: the API
    /// server does not allow it, and CoreDNS would find one of the names at random.
    pub(super) fn cluster_ip(&mut self, ports: Option<Vec<ServicePort>>) -> ServiceSpec {
        let number = self.number();
        let ipv4 = format!("10.96.{}.{}", 1 + number / 250, 1 + number % 250);
        let ipv6 = format!("fd00:10:96::{number:x}");
        if percent(&mut self.rng, 10) {
            self.share("IPv4", &ipv4);
            self.share("IPv6", &ipv6);
        }
        let addresses = match self.rng.u32(..10) {
            0..5 => vec![ipv4],
            5 => vec![ipv6],
            6 => vec![ipv6, ipv4],
            _ => vec![ipv4, ipv6],
        };
        let type_ = ["ClusterIP", "NodePort", "LoadBalancer"];
        ServiceSpec {
            cluster_ip: addresses.first().cloned(),
            // Objects from before dual stack have `clusterIP` but no `clusterIPs`.
            cluster_ips: (!percent(&mut self.rng, 5)).then_some(addresses),
            type_: Some(choice(&mut self.rng, &type_).into()),
            ports,
            ..ServiceSpec::default()
        }
    }

    /// Adds Services that have CoreDNS as an endpoint, too: with a cluster IP, as for a cache on
    /// each node, and headless, as for metrics. Some slices have other endpoints as well.
    pub(super) fn over_cluster_dns(&mut self, cluster: &mut Cluster) {
        for number in 0..self.rng.usize(..3) {
            let (name, ports) = (format!("over-dns-{number}"), self.service_ports());
            let is_headless = self.rng.bool();
            let spec = if is_headless {
                headless(ports)
            } else {
                self.cluster_ip(ports)
            };
            cluster.put(service("kube-system", &name, spec));
            for part in 0..choice(&mut self.rng, &[1, 1, 2]) {
                let mut endpoints = vec![Endpoint {
                    addresses: vec![coredns::ADDRESS.to_string()],
                    ..Endpoint::default()
                }];
                if self.rng.bool() {
                    endpoints.extend(self.endpoints("IPv4"));
                }
                let (part, ports) = (format!("{name}-{part}"), self.slice_ports());
                let slice = slice("kube-system", &part, &name, "IPv4", endpoints, ports);
                cluster.put(made_by_controller(slice, is_headless));
            }
        }
    }

    fn external_name(
        &mut self,
        namespace: &str,
        name: &str,
        ports: Option<Vec<ServicePort>>,
        cluster: &Cluster,
    ) -> ServiceSpec {
        ServiceSpec {
            type_: Some("ExternalName".into()),
            external_name: Some(self.domain_name(namespace, name, cluster)),
            ports,
            ..ServiceSpec::default()
        }
    }

    /// A target for an external name or for an endpoint with a domain name. Most are
    /// names of the zone, or names that the upstream resolver knows.
    fn domain_name(&mut self, namespace: &str, name: &str, cluster: &Cluster) -> String {
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
        match self.rng.u32(..24) {
            0..7 => other.unwrap_or(outside),
            7 => format!("nothing.{namespace}.svc.{zone}"),
            // The Service's own name, and a name below it.
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
        }
    }

    pub(super) fn service_ports(&mut self) -> Option<Vec<ServicePort>> {
        let ports = self.ports()?;
        let port = |(name, number, protocol)| ServicePort {
            name,
            port: number,
            protocol,
            ..ServicePort::default()
        };
        Some(ports.into_iter().map(port).collect())
    }

    /// Name, number and protocol of ports. An API server would accept most of them.
    #[expect(clippy::type_complexity, reason = "the callers take the tuple apart")]
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

    /// The slices of a Service, of one or both families. One in ten Services has slices
    /// with domain names. Some endpoints are in two slices.
    fn slices(&mut self, namespace: &str, service: &str, cluster: &Cluster) -> Vec<Object> {
        let both: &[&'static str] = &["IPv4", "IPv6"];
        let families = match self.rng.u32(..20) {
            0 => &["FQDN"][..],
            1 => &["IPv4", "FQDN"],
            2..12 => &both[..1],
            12..16 => &both[1..],
            _ => both,
        };
        let count = choice(&mut self.rng, &[0, 1, 1, 1, 2, 3]);
        let ports = self.slice_ports();
        let mut slices = Vec::new();
        for family in families {
            let mut earlier: Vec<Endpoint> = Vec::new();
            for i in 0..count {
                let mut endpoints = match *family {
                    "FQDN" => self.named_endpoints(namespace, service, cluster),
                    family => self.endpoints(family),
                };
                for endpoint in &earlier {
                    if percent(&mut self.rng, 20) {
                        let mut endpoint = endpoint.clone();
                        self.touch(&mut endpoint);
                        endpoints.push(endpoint);
                    }
                }
                earlier.extend(endpoints.iter().cloned());
                // After a change of a Service, the ports of its slices may differ for a
                // while.
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

    /// Endpoints with domain names in place of addresses.
    fn named_endpoints(
        &mut self,
        namespace: &str,
        service: &str,
        cluster: &Cluster,
    ) -> Vec<Endpoint> {
        let count = choice(&mut self.rng, &[0, 1, 1, 1, 2, 3]);
        let endpoints = (0..count).map(|i| {
            let mut endpoint = Endpoint {
                addresses: vec![self.domain_name(namespace, service, cluster)],
                ..Endpoint::default()
            };
            self.touch(&mut endpoint);
            endpoint.hostname = match self.rng.u32(..6) {
                0 => Some("shared".into()),
                1 | 2 => Some(format!("web-{i}")),
                _ => None,
            };
            endpoint.target_ref = self.target();
            endpoint
        });
        endpoints.collect()
    }

    fn endpoints(&mut self, family: &'static str) -> Vec<Endpoint> {
        let count = choice(
            &mut self.rng,
            &[0, 1, 1, 2, 3, 3, 5, 8, 12, 17, 30, 60, 120],
        );
        (0..count)
            .map(|i| {
                let mut addresses = vec![self.endpoint_address(family)];
                if i == 7 {
                    addresses.push(self.endpoint_address(family));
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

    /// Gives an endpoint random conditions: ready, not ready, terminating, or unknown.
    pub(super) fn touch(&mut self, endpoint: &mut Endpoint) {
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

    /// A slice of a Service that does not exist, and a slice without the label of its
    /// Service.
    pub(super) fn stray_slices(&mut self) -> Vec<Object> {
        let endpoints = self.endpoints("IPv4");
        let ports = self.slice_ports();
        let missing = slice(
            "prod",
            "stray-1",
            "no-such-service",
            "IPv4",
            endpoints,
            ports,
        );
        let endpoints = self.endpoints("IPv6");
        let mut unlabelled = slice("prod", "stray-2", "", "IPv6", endpoints, None);
        if let Object::EndpointSlice(slice) = &mut unlabelled {
            slice.metadata.labels = None;
        }
        vec![missing, unlabelled]
    }
}
