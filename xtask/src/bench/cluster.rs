//! The objects of a cluster, and the questions about them.
//!
//! All names have 45 bytes on the wire, so that no figure differs by the length of its
//! name: `nginx-headless-07.team-00.svc.cluster.local`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use crate::latency::{Expected, Target};

/// Number of IPv4 addresses of each Service.
const ADDRESSES: u16 = 3;

/// Number of IPv6 addresses of the one Service that has such.
const ADDRESSES_V6: u16 = 8;

/// Number of Services in a namespace, and the most namespaces: names have two digits for
/// each.
const SERVICES_OF_NAMESPACE: u32 = 100;

/// Number of names that a client asks for in turn. The small cluster has as many Services,
/// so both clusters have the same number.
pub(crate) const NAMES_ASKED: u32 = SERVICES_SMALL;

/// Services of the small cluster.
pub(crate) const SERVICES_SMALL: u32 = 10;

/// Services of the large cluster.
pub(crate) const SERVICES_LARGE: u32 = 10_000;

/// The name of the Service with IPv6 addresses.
const SERVICE_V6: &str = "nginx-headless-v6";

/// The reply size that the client's EDNS offers (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// A, three records.
    A,
    /// AAAA, eight records, with OPT.
    Aaaa,
    /// SRV of a port, three records with glue.
    Srv,
    /// A of a name that does not exist.
    Absent,
}

impl Question {
    pub(crate) const ALL: [Self; 4] = [Self::A, Self::Aaaa, Self::Srv, Self::Absent];

    /// The name of the question in tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::A => "A, 3 records",
            Self::Aaaa => "AAAA, 8 records, OPT",
            Self::Srv => "SRV, 3 records",
            Self::Absent => "NXDOMAIN",
        }
    }

    /// The question to `server`, for `NAMES_ASKED` names that are spread over a cluster of
    /// `services` where the cluster has so many for it.
    ///
    /// # Errors
    /// Only when a name is not a domain name.
    pub(crate) fn target(self, server: Ipv4Addr, services: u32) -> Result<Target> {
        let stride = services / NAMES_ASKED;
        let mut numbers = (0..NAMES_ASKED).map(|number| number * stride);
        let queries: Result<Vec<_>> = match self {
            Self::A => numbers
                .map(|number| query(&name(number), RecordType::A))
                .collect(),
            Self::Srv => numbers
                .map(|number| query(&format!("_http._tcp.{}", name(number)), RecordType::SRV))
                .collect(),
            Self::Aaaa => query(&full(SERVICE_V6, 0), RecordType::AAAA).map(|mut message| {
                let mut edns = Edns::new();
                edns.set_max_payload(PAYLOAD);
                message.set_edns(edns);
                vec![message]
            }),
            Self::Absent => numbers.try_fold(Vec::new(), |mut all, number| {
                let name = full(&format!("absent-service-{number:02}"), 0);
                all.push(query(&name, RecordType::A)?);
                Ok(all)
            }),
        };
        let (code, answers) = match self {
            Self::A | Self::Srv => (ResponseCode::NoError, ADDRESSES),
            Self::Aaaa => (ResponseCode::NoError, ADDRESSES_V6),
            Self::Absent => (ResponseCode::NXDomain, 0),
        };
        Target::new(server, &queries?, Expected { code, answers })
    }
}

fn query(name: &str, of: RecordType) -> Result<Message> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(name).with_context(|| format!("{name} is not a name"))?;
    message.add_query(Query::query(name, of));
    Ok(message)
}

fn namespace(number: u32) -> String {
    format!("team-{number:02}")
}

fn service(number: u32) -> String {
    format!("nginx-headless-{:02}", number % SERVICES_OF_NAMESPACE)
}

fn full(service: &str, namespace_number: u32) -> String {
    format!(
        "{service}.{}.svc.cluster.local.",
        namespace(namespace_number)
    )
}

fn name(number: u32) -> String {
    full(&service(number), number / SERVICES_OF_NAMESPACE)
}

/// The objects of a cluster with `services` Services with IPv4 addresses, and one with IPv6
/// addresses.
pub(crate) fn objects(services: u32) -> Vec<Value> {
    let namespaces = services.div_ceil(SERVICES_OF_NAMESPACE);
    let mut objects: Vec<_> = (0..namespaces)
        .map(|number| {
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": namespace(number)},
                "status": {"phase": "Active"},
            })
        })
        .collect();
    for number in 0..services {
        let first = Ipv4Addr::new(10, 128, 0, 0).to_bits() + number * u32::from(ADDRESSES);
        let addresses = (0..u32::from(ADDRESSES)).map(|at| Ipv4Addr::from_bits(first + at).into());
        let namespace = namespace(number / SERVICES_OF_NAMESPACE);
        objects.extend(headless(&namespace, &service(number), "IPv4", addresses));
    }
    let addresses = (1..=ADDRESSES_V6).map(|at| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, at).into());
    objects.extend(headless(&namespace(0), SERVICE_V6, "IPv6", addresses));
    objects
}

/// A headless Service and its only slice.
fn headless(
    namespace: &str,
    name: &str,
    family: &str,
    addresses: impl Iterator<Item = std::net::IpAddr>,
) -> [Value; 2] {
    let endpoints: Vec<_> = addresses
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect();
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"],
                "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "namespace": namespace, "name": format!("{name}-7xk2m"),
                "labels": {
                    "kubernetes.io/service-name": name,
                    "service.kubernetes.io/headless": "",
                },
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }),
    ]
}

/// Objects as documents of one YAML file. JSON is YAML.
pub(crate) fn manifest(objects: &[Value]) -> String {
    objects.iter().fold(String::new(), |mut text, object| {
        let _infallible = write!(text, "---\n{object}\n");
        text
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_have_45_bytes() {
        for name in [
            name(0),
            name(9_999),
            full(SERVICE_V6, 0),
            full("absent-service-00", 0),
        ] {
            let name = Name::from_ascii(&name).unwrap();
            // Each label has one byte of length, and so has the root.
            assert_eq!(
                name.iter().map(|label| label.len() + 1).sum::<usize>() + 1,
                45,
                "{name}"
            );
        }
    }

    #[test]
    fn clusters_have_the_services_that_are_asked_for() {
        for services in [SERVICES_SMALL, SERVICES_LARGE] {
            let objects = objects(services);
            let names: BTreeSet<_> = objects
                .iter()
                .filter(|object| object["kind"] == "Service")
                .map(|object| {
                    let text = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
                    format!("{}.{}.svc.cluster.local.", text("name"), text("namespace"))
                })
                .collect();
            assert_eq!(names.len(), services as usize + 1);
            let stride = services / NAMES_ASKED;
            assert!((0..NAMES_ASKED).all(|number| names.contains(&name(number * stride))));
            assert!(names.contains(&full(SERVICE_V6, 0)));
        }
    }

    #[test]
    fn each_question_has_a_target() {
        for question in Question::ALL {
            question
                .target(Ipv4Addr::LOCALHOST, SERVICES_LARGE)
                .unwrap();
        }
    }
}
