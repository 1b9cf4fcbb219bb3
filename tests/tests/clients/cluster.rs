//! The cluster that the clients ask about.

use headless_tests::control_plane::objects::{managed, object, service_in, slice};
use headless_tests::differential::cluster::{Cluster, Object};
use headless_tests::differential::coredns;
use headless_tests::frame::SERVER;
use serde_json::json;

/// A headless Service with three endpoints that have hostnames, and their addresses.
pub(crate) const WEB: [&str; 3] = ["10.244.3.1", "10.244.3.2", "10.244.3.3"];

/// The address of a Service with a cluster IP.
pub(crate) const API: &str = "10.96.1.1";

/// Addresses whose names are asked: of the Service, and of an endpoint, which the kernel passes by
/// default, since a Service with a cluster IP might have it, too.
pub(crate) const ADDRESSES: [&str; 2] = [API, WEB[0]];

/// Names as applications ask for them, most by the search path: of a headless Service, one of its
/// endpoints, a Service with a cluster IP, a Service with addresses of both families, a Service of
/// another namespace, a name that does not exist, and a name outside the cluster.
pub(crate) const NAMES: [&str; 8] = [
    "web",
    "web.default.svc.cluster.local",
    "web-1.web",
    "api",
    "dual",
    "cache.shop",
    "nope",
    "ok.example.com",
];

/// The same names in full.
pub(crate) const FULL_NAMES: [&str; 7] = [
    "web.default.svc.cluster.local",
    "web-1.web.default.svc.cluster.local",
    "api.default.svc.cluster.local",
    "dual.default.svc.cluster.local",
    "cache.shop.svc.cluster.local",
    "nope.default.svc.cluster.local",
    "ok.example.com",
];

/// Names of SRV RRsets: of a headless Service and of a Service with a cluster IP.
pub(crate) const SERVICES: [&str; 2] = [
    "_http._tcp.web.default.svc.cluster.local",
    "_grpc._tcp.api.default.svc.cluster.local",
];

/// A headless Service whose 40 addresses fit into no reply without EDNS.
pub(crate) const BIG: &str = "big.default.svc.cluster.local";

/// The Service of the cluster's DNS, with CoreDNS as its endpoint.
fn cluster_dns() -> [Object; 2] {
    let ports = json!([
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ]);
    let server = SERVER.to_string();
    let spec = json!({ "clusterIP": server, "clusterIPs": [server], "ports": ports });
    let mut endpoints: k8s_openapi::api::discovery::v1::EndpointSlice = object(json!({
        "metadata": {
            "namespace": "kube-system",
            "name": "kube-dns-1",
            "labels": { "kubernetes.io/service-name": "kube-dns" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [coredns::ADDRESS] }],
        "ports": ports,
    }));
    managed(&mut endpoints);
    [
        Object::Service(service_in("kube-system", "kube-dns", &spec)),
        Object::EndpointSlice(endpoints),
    ]
}

/// A Service with a cluster IP.
fn with_cluster_ip(namespace: &str, name: &str, address: &str) -> Object {
    let ports = json!([
        { "name": "http", "port": 80, "protocol": "TCP" },
        { "name": "grpc", "port": 443, "protocol": "TCP" },
    ]);
    let spec = json!({ "clusterIP": address, "clusterIPs": [address], "ports": ports });
    Object::Service(service_in(namespace, name, &spec))
}

/// A headless Service in the namespace `default` with one slice for each family.
fn headless(name: &str, families: &[&[(&str, Option<&str>)]]) -> Vec<Object> {
    let ports = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
    let spec = json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": ports });
    let slices = families.iter().enumerate().map(|(number, endpoints)| {
        Object::EndpointSlice(slice(&format!("{name}-{number}"), name, endpoints))
    });
    let mut objects = vec![Object::Service(service_in("default", name, &spec))];
    objects.extend(slices);
    objects
}

/// The cluster.
pub(crate) fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let namespaces = ["default", "kube-system", "shop"]
        .map(|name| Object::Namespace(object(json!({ "metadata": { "name": name } }))));
    let [first, second, third] = WEB;
    let web = [
        (first, Some("web-0")),
        (second, Some("web-1")),
        (third, Some("web-2")),
    ];
    let big: Vec<String> = (1..41).map(|last| format!("10.244.4.{last}")).collect();
    let big: Vec<_> = big.iter().map(|address| (address.as_str(), None)).collect();
    let mut objects = namespaces.to_vec();
    objects.extend(cluster_dns());
    objects.push(with_cluster_ip("default", "api", API));
    objects.push(with_cluster_ip("shop", "cache", "10.96.1.2"));
    objects.extend(headless("web", &[&web]));
    objects.extend(headless(
        "dual",
        &[&[("10.244.5.1", None)], &[("fd00:10:244::51", None)]],
    ));
    objects.extend(headless("big", &[&big]));
    for object in objects {
        cluster.put(object);
    }
    cluster
}
