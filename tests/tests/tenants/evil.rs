//! The objects of the tenant that tries to hurt others: the largest and the worst ones that
//! the API server takes.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use headless_tests::control_plane::objects::{Cluster, bare_slice, headless, object, service_in};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::Extent;
use super::victim;

/// The namespace in which the tenant may write.
const NAMESPACE: &str = "evil";

/// Most endpoints of a slice (`maxEndpoints` of the API's validation).
const ENDPOINTS: usize = 1000;

/// Most addresses of an endpoint (`maxAddresses`).
const ADDRESSES: usize = 100;

/// Most ports of a slice (`maxPorts`).
const PORTS: usize = 20_000;

/// Names of oversized Services, or below such Services.
pub(crate) const TOO_LARGE: [&str; 3] = [
    "many-ports.evil.svc.cluster.local",
    "one.one-name.evil.svc.cluster.local",
    "nope.many-names.evil.svc.cluster.local",
];

/// Services of 1,000 endpoints with hostnames, which are all changed at once.
const CHURNED: usize = 8;

/// A slice of these endpoints and ports.
fn slice(name: &str, service: &str, endpoints: &[Value], ports: &[Value]) -> EndpointSlice {
    object(json!({
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "labels": {
                "kubernetes.io/service-name": service,
                "service.kubernetes.io/headless": "",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }))
}

/// Number `i` of the addresses from `first` on.
fn address(first: [u8; 4], i: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + i as u32)
}

/// Endpoints with as many addresses each as given, all different.
fn endpoints(first: [u8; 4], addresses: usize, hostname: Option<&str>) -> Vec<Value> {
    let endpoint = |i: usize| {
        let addresses: Vec<_> = (0..addresses)
            .map(|j| address(first, i * addresses + j).to_string())
            .collect();
        json!({ "addresses": addresses, "hostname": hostname })
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

/// As many ports as a slice can have. No validation looks at their numbers.
fn ports(number: impl Fn(usize) -> usize) -> Vec<Value> {
    let port = |i: usize| json!({ "name": format!("p{i}"), "port": number(i) });
    (0..PORTS).map(port).collect()
}

fn plain_ports() -> Vec<Value> {
    vec![json!({ "name": "http", "port": 80 })]
}

/// Slice number `n` of 100,000 addresses under one hostname.
fn one_name(n: usize) -> EndpointSlice {
    let endpoints = endpoints([20 + n as u8, 0, 0, 1], ADDRESSES, Some("one"));
    slice(
        &format!("one-name-{n}"),
        "one-name",
        &endpoints,
        &plain_ports(),
    )
}

/// Slice number `n` of 100,000 addresses with a name each.
fn many_names(n: usize) -> EndpointSlice {
    let endpoints = endpoints([40 + n as u8, 0, 0, 1], ADDRESSES, None);
    slice(
        &format!("many-names-{n}"),
        "many-names",
        &endpoints,
        &plain_ports(),
    )
}

/// Slice number `n` of 1,000 endpoints with hostnames of their own. `round` changes them all.
fn hostnames(n: usize, round: usize) -> EndpointSlice {
    let endpoint = |i: usize| {
        json!({
            "addresses": [address([60 + n as u8, round as u8, 0, 1], i).to_string()],
            "hostname": format!("h{i}"),
        })
    };
    let endpoints: Vec<_> = (0..ENDPOINTS).map(endpoint).collect();
    slice(
        &format!("hostnames-{n}"),
        &format!("hostnames-{n}"),
        &endpoints,
        &plain_ports(),
    )
}

/// A slice with as many ports as there can be, each with a problem.
fn broken_ports() -> EndpointSlice {
    let endpoints = vec![json!({ "addresses": ["10.200.0.1"] })];
    slice("broken", "broken", &endpoints, &ports(|i| 70_000 + i))
}

/// A slice with as many ports as there can be and 4,000 addresses.
fn many_ports() -> EndpointSlice {
    slice(
        "many-ports",
        "many-ports",
        &endpoints([10, 201, 0, 1], 4, None),
        &ports(|i| 1 + i),
    )
}

/// Slices that claim the victim's addresses.
fn claims() -> EndpointSlice {
    let endpoints = victim::ADDRESSES
        .iter()
        .map(|address| json!({ "addresses": [address], "hostname": "db-0" }));
    slice(
        "claims",
        "claims",
        &endpoints.collect::<Vec<_>>(),
        &plain_ports(),
    )
}

async fn create_service(cluster: &Cluster, name: &str) {
    cluster
        .create(&service_in(NAMESPACE, name, &headless()))
        .await;
}

/// Creates everything, the largest objects first.
pub(crate) async fn create(cluster: &Cluster, extent: Extent) {
    cluster.create_namespace(NAMESPACE).await;
    for name in ["many-ports", "broken", "one-name", "many-names", "claims"] {
        create_service(cluster, name).await;
    }
    cluster.create(&many_ports()).await;
    cluster.create(&broken_ports()).await;
    cluster.create(&claims()).await;
    for n in 0..extent.large_slices {
        cluster.create(&one_name(n)).await;
        cluster.create(&many_names(n)).await;
    }
    for n in 0..CHURNED {
        create_service(cluster, &format!("hostnames-{n}")).await;
        cluster.create(&hostnames(n, 0)).await;
    }
    let names = (0..extent.services).map(|i| format!("s{i}"));
    let services = names
        .clone()
        .map(|name| service_in(NAMESPACE, &name, &headless()));
    cluster.create_all(services.collect()).await;
    let slices =
        names.map(|name| bare_slice(NAMESPACE, &name, &name, &[(victim::ADDRESSES[0], None)]));
    cluster.create_all(slices.collect()).await;
}

/// Changes objects for this long, as fast as the API server takes it.
pub(crate) async fn churn(cluster: &Cluster, during: Duration) {
    let end = Instant::now() + during;
    let mut rounds = 0;
    while Instant::now() < end {
        rounds += 1;
        let renamed = (0..CHURNED).map(async |n| {
            let change = json!({ "endpoints": hostnames(n, rounds).endpoints });
            let name = format!("hostnames-{n}");
            cluster
                .patch::<EndpointSlice>(NAMESPACE, &name, &change)
                .await;
        });
        join_all(renamed).await;
        let ports = ports(|i| 70_000 + i + rounds);
        let change = json!({ "ports": ports });
        cluster
            .patch::<EndpointSlice>(NAMESPACE, "broken", &change)
            .await;
        let first = [20, rounds as u8, 0, 1];
        let change = json!({ "endpoints": self::endpoints(first, ADDRESSES, Some("one")) });
        cluster
            .patch::<EndpointSlice>(NAMESPACE, "one-name-0", &change)
            .await;
    }
    eprintln!("{rounds} rounds of changes in {during:.0?}");
}

/// Deletes everything.
pub(crate) async fn delete(cluster: &Cluster) {
    let slices = cluster.api::<EndpointSlice>(NAMESPACE);
    let services = cluster.api::<Service>(NAMESPACE);
    let now = kube::api::DeleteParams::default().grace_period(0);
    let all = kube::api::ListParams::default();
    slices.delete_collection(&now, &all).await.unwrap();
    services.delete_collection(&now, &all).await.unwrap();
}
