//! Types that every part of the records shares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{NameFlags, PodsMode};
use hickory_proto::rr::Name;

use super::name::RelativeName;
use crate::watch::{Port, ServiceRef};

/// The operator's settings on which answers depend.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's zone.
    pub zone: Name,
    /// TTL of records in seconds, and the SOA's minimum.
    pub ttl: u32,
    /// Which names below `pod` exist.
    pub pods: PodsMode,
    /// Which endpoints have names and reverse names.
    pub endpoints: EndpointScope,
    /// The Service of the cluster's DNS, which is the zone's name server.
    pub dns_service: ServiceRef,
    /// The addresses of the name server `ns.dns.<zone>`, which takes the place of that
    /// Service where it does not exist.
    pub dns_addresses: Vec<IpAddr>,
}

impl Settings {
    /// The settings of kubeadm's Corefile: TTL 30, `pods insecure`.
    pub fn new(zone: Name) -> Self {
        Self {
            zone,
            ttl: 30,
            pods: PodsMode::Insecure,
            endpoints: EndpointScope::Headless,
            dns_service: ServiceRef {
                namespace: "kube-system".to_owned(),
                name: "kube-dns".to_owned(),
            },
            dns_addresses: Vec::new(),
        }
    }
}

/// Which endpoints have names and reverse names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointScope {
    /// Endpoints of headless Services have names. Names below a Service with a cluster IP
    /// are unknown. So are the reverse names of endpoints, because the same address may
    /// belong to an endpoint of a Service with a cluster IP.
    #[default]
    Headless,
    /// Endpoints of every Service have names and reverse names, as in CoreDNS.
    All,
}

/// The records of a name, as far as they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameData {
    /// Properties of the name. Flags about the place of chunks are never set here.
    pub flags: NameFlags,
    /// Addresses of the A records, sorted, each once.
    pub ipv4: Vec<Ipv4Addr>,
    /// Addresses of the AAAA records, sorted, each once.
    pub ipv6: Vec<Ipv6Addr>,
    /// SRV targets, where the name is a Service's. Set in a [`NameChange`] and by
    /// [`Index::detailed`](super::Index::detailed), which feed the maps; not set where a
    /// caller asks for the addresses alone.
    pub details: Option<Box<Details>>,
}

/// A name whose records have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The name.
    pub name: RelativeName,
    /// The records; `None` where the name no longer exists.
    pub data: Option<NameData>,
}

/// The SRV targets of a Service, by whose ports lead there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The Service's own ports, which lead to the Service itself.
    pub own: Option<Targets>,
    /// The ports of its slices, which lead to its endpoints. `None` where a slice has a
    /// port twice, which the maps cannot express: userspace answers then.
    pub endpoints: Option<Targets>,
}

/// Ports and the SRV targets that have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// The ports, in the order of their numbers. `None` is the port of endpoints
    /// for which none is declared: it has neither name, protocol nor number.
    pub ports: Vec<Counted>,
    /// The SRV targets, each once: by label, then by ports.
    pub targets: Vec<Target>,
    /// Number of endpoints as CoreDNS counts them for the weight of SRV records: an
    /// address in two slices counts twice.
    pub endpoints: usize,
}

/// A port and the number of endpoints that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// See [`Targets::ports`].
    pub port: Option<Port>,
    /// Counted as in [`Targets::endpoints`].
    pub endpoints: usize,
}

/// An SRV target: a host with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint's label, or labels with dots between them; `None` for the Service
    /// itself.
    pub label: Option<Box<str>>,
    /// Its addresses, each once: at least one.
    pub addresses: Vec<IpAddr>,
    /// Which of the ports it has, as places in [`Targets::ports`], in order.
    pub ports: Box<[usize]>,
}
