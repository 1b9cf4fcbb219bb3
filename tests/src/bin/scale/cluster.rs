//! A large cluster, with objects as its control plane writes them.

use std::net::{IpAddr, Ipv4Addr};

use headless_tests::frame::{Query, qtype};
use serde_json::{Value, json};

use crate::api::{ApiServer, Labels, Object, Resource};
use crate::plan::Plan;

/// The most endpoints of a slice (`--max-endpoints-per-slice` of the controller
/// manager).
const SLICE_MAX: usize = 100;

/// Namespaces over which the Services are spread.
const NAMESPACES: usize = 100;

/// Numbers of endpoints of Services in relation to each other: most Services have few,
/// one in ten has more than a slice holds.
const WEIGHTS: [usize; 10] = [1, 1, 2, 3, 3, 3, 5, 7, 12, 113];

/// The DNS Service's cluster IP, to which pods send their questions.
const CLUSTER_DNS: Ipv4Addr = headless_tests::frame::SERVER;

/// One endpoint.
#[derive(Debug)]
struct Endpoint {
    address: Ipv4Addr,
    ready: bool,
}

/// A Service.
#[derive(Debug)]
pub(crate) struct Service {
    namespace: String,
    name: String,
    /// `None` for a headless Service.
    cluster_ip: Option<Ipv4Addr>,
    /// Whether a `StatefulSet` has made its pods, which then have hostnames.
    stateful: bool,
    endpoints: Vec<Endpoint>,
}

/// All Services.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The first one is the largest.
    pub(crate) services: Vec<Service>,
}

impl Cluster {
    /// The cluster that the plan describes.
    ///
    /// # Errors
    /// When there are too few Services or endpoints for each Service to have one.
    pub(crate) fn new(plan: &Plan) -> anyhow::Result<Self> {
        let Plan {
            services,
            endpoints,
            largest,
            headless_every,
            ..
        } = *plan;
        anyhow::ensure!(
            services > NAMESPACES && largest > 0 && endpoints >= largest + services,
            "more than {NAMESPACES} Services, and {largest} endpoints more than these, are needed"
        );
        let mut addresses = u32::from(Ipv4Addr::new(10, 128, 0, 1))..;
        let rest = services - 1;
        let spare = endpoints - largest - rest;
        let weights: usize = (0..rest).map(weight).sum();
        let mut given = 0;
        let mut passed = 0;
        let services = (0..services).map(|number| {
            let len = if number == 0 {
                largest
            } else {
                // The sum so far is rounded, not each number, so that the total is exact.
                passed += weight(number - 1);
                let until = spare * passed / weights;
                let len = 1 + until - given;
                given = until;
                len
            };
            let endpoints = addresses.by_ref().take(len);
            let endpoints = endpoints.map(Ipv4Addr::from).collect();
            // Not every 20th, because the numbers of endpoints repeat after 10 Services.
            let headless = number % headless_every == number / headless_every % headless_every;
            Service::new(number, headless, endpoints)
        });
        Ok(Self {
            services: services.collect(),
        })
    }

    /// Endpoints of all Services.
    pub(crate) fn endpoints(&self) -> usize {
        let services = self.services.iter();
        services.map(|service| service.endpoints.len()).sum()
    }

    /// Number of headless Services.
    pub(crate) fn headless(&self) -> usize {
        let services = self.services.iter();
        services.filter(|it| it.cluster_ip.is_none()).count()
    }

    /// Slices of all Services.
    pub(crate) fn slices(&self) -> usize {
        self.services.iter().map(Service::slices).sum()
    }

    /// Writes every object to the API server.
    pub(crate) fn create(&self, api: &ApiServer) {
        let namespaces = (0..NAMESPACES).map(namespace);
        for name in namespaces.chain(["kube-system".to_owned()]) {
            let labels = Labels::from([("kubernetes.io/metadata.name".into(), name.clone())]);
            let rest =
                json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
            api.put(Object::new(Resource::Namespaces, "", &name, labels, rest));
        }
        api.put(dns_service());
        api.put(dns_slice());
        for service in &self.services {
            api.put(service.object());
            for number in 0..service.slices() {
                api.put(service.slice(number));
            }
        }
    }
}

fn weight(number: usize) -> usize {
    WEIGHTS[number % WEIGHTS.len()]
}

fn namespace(number: usize) -> String {
    format!("team-{number:02}")
}

impl Service {
    fn new(number: usize, headless: bool, addresses: Vec<Ipv4Addr>) -> Self {
        let name = match number % 5 {
            0 => format!("recommendation-engine-shard-{number:05}-headless"),
            1 | 2 => format!("orders-db-{number:05}"),
            _ => format!("cache-{number:05}-headless"),
        };
        let endpoints = addresses.into_iter();
        Self {
            namespace: namespace(number % NAMESPACES),
            name,
            cluster_ip: (!headless).then(|| {
                let first = Ipv4Addr::new(10, 100, 0, 1).to_bits();
                Ipv4Addr::from_bits(first + number as u32)
            }),
            stateful: headless && number % 3 == 1,
            endpoints: endpoints
                .map(|address| Endpoint {
                    address,
                    ready: true,
                })
                .collect(),
        }
    }

    /// Number of its endpoints.
    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    fn slices(&self) -> usize {
        self.len().div_ceil(SLICE_MAX)
    }

    fn hostname(&self, endpoint: usize) -> Option<String> {
        self.stateful.then(|| format!("{}-{endpoint}", self.name))
    }

    /// The name of the Service in DNS.
    pub(crate) fn full_name(&self) -> String {
        let Self {
            namespace, name, ..
        } = self;
        format!("{name}.{namespace}.svc.cluster.local")
    }

    /// The address of an endpoint that is ready.
    pub(crate) fn ready_address(&self, endpoint: usize) -> Option<IpAddr> {
        let Endpoint { address, ready } = self.endpoints[endpoint];
        ready.then_some(address.into())
    }

    /// The name of an endpoint in DNS.
    pub(crate) fn endpoint_name(&self, endpoint: usize) -> String {
        let host = self.hostname(endpoint);
        let address = self.endpoints[endpoint].address;
        let dashed = || address.to_string().replace('.', "-");
        format!("{}.{}", host.unwrap_or_else(dashed), self.full_name())
    }

    /// The question for an endpoint's name.
    pub(crate) fn question(&self, endpoint: usize) -> Query {
        Query::new(&self.endpoint_name(endpoint), qtype::A)
    }

    /// Makes a ready endpoint unready or an unready one ready. Returns whether the
    /// endpoint is ready now, and its slice.
    pub(crate) fn toggle(&mut self, endpoint: usize) -> (bool, Object) {
        let toggled = &mut self.endpoints[endpoint];
        toggled.ready = !toggled.ready;
        (toggled.ready, self.slice(endpoint / SLICE_MAX))
    }

    fn object(&self) -> Object {
        let labels = Labels::from([("app".into(), self.name.clone())]);
        let address = self.cluster_ip.map(|address| address.to_string());
        let address = address.unwrap_or_else(|| "None".into());
        let rest = json!({
            "spec": {
                "clusterIP": address, "clusterIPs": [address],
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
                "selector": {"app": self.name},
                "sessionAffinity": "None", "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        });
        Object::new(
            Resource::Services,
            &self.namespace,
            &self.name,
            labels,
            rest,
        )
    }

    fn slice(&self, number: usize) -> Object {
        let Self {
            namespace, name, ..
        } = self;
        let first = number * SLICE_MAX;
        let endpoints = self.endpoints.iter().enumerate().skip(first);
        let endpoints = endpoints.take(SLICE_MAX).map(|(at, endpoint)| {
            let Endpoint { address, ready } = endpoint;
            let mut json = json!({
                "addresses": [address],
                "conditions": {"ready": ready, "serving": ready, "terminating": false},
                "nodeName": format!("node-{:04}", at % 997),
                "targetRef": {
                    "kind": "Pod", "namespace": namespace, "name": format!("{name}-{at}"),
                    "uid": format!("7c9e6679-7425-40de-944b-{:012x}", address.to_bits()),
                },
                "zone": "zone-a",
            });
            if let Some(hostname) = self.hostname(at) {
                json["hostname"] = hostname.into();
            }
            json
        });
        let endpoints: Vec<Value> = endpoints.collect();
        let labels = slice_labels(name, self.cluster_ip.is_none());
        let rest = json!({
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        });
        let slice = format!("{name}-{number:05x}");
        Object::new(Resource::EndpointSlices, namespace, &slice, labels, rest)
    }
}

fn slice_labels(service: &str, headless: bool) -> Labels {
    let managed_by = "endpointslice-controller.k8s.io".to_owned();
    let mut labels = Labels::from([
        ("app".into(), service.to_owned()),
        ("endpointslice.kubernetes.io/managed-by".into(), managed_by),
        ("kubernetes.io/service-name".into(), service.to_owned()),
    ]);
    if headless {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    labels
}

fn dns_service() -> Object {
    let labels = Labels::from([("k8s-app".into(), "kube-dns".into())]);
    let rest = json!({"spec": {
        "clusterIP": CLUSTER_DNS, "clusterIPs": [CLUSTER_DNS], "type": "ClusterIP",
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}],
        "selector": {"k8s-app": "kube-dns"},
    }});
    Object::new(Resource::Services, "kube-system", "kube-dns", labels, rest)
}

fn dns_slice() -> Object {
    let labels = slice_labels("kube-dns", false);
    let rest = json!({
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true}}],
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}],
    });
    let resource = Resource::EndpointSlices;
    Object::new(resource, "kube-system", "kube-dns-00000", labels, rest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_cluster_has_what_the_plan_says() {
        for (services, endpoints, largest) in [(200, 1_000, 100), (1_000, 15_000, 5_000)] {
            let cluster = Cluster::new(&Plan {
                services,
                endpoints,
                largest,
                headless_every: 1,
                changes: 0,
                large_changes: 0,
                settling: 0,
            });
            let cluster = cluster.unwrap();
            assert_eq!(cluster.services.len(), services);
            assert_eq!(cluster.endpoints(), endpoints);
            assert_eq!(cluster.services[0].len(), largest);
            assert!(cluster.services.iter().all(|service| service.len() > 0));
        }
    }
}
