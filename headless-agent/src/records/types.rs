//! Types that every part of the records shares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{NameFlags, PodsMode, Ttls};
use hickory_proto::rr::Name;

use super::name::RelativeName;
use crate::corefile::{Cache, Exposure};
use crate::watch::{Port, ServiceRef};

/// The operator's settings on which answers depend.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's zone.
    pub zone: Name,
    /// TTLs of records, as the cache has them.
    pub ttls: Ttls,
    /// The cache, which gives all records of a message the least of their TTLs.
    pub cache: Option<Cache>,
    /// The size to which a larger one in a client's OPT record is lowered, in bytes (CoreDNS,
    /// `plugin/bufsize`).
    pub edns_max: u16,
    /// Whether a question of any class is answered as one of class IN. Else questions of other
    /// classes are the cluster's DNS's.
    pub any_class: bool,
    /// Which names below `pod` exist.
    pub pods: PodsMode,
    /// Which endpoints have names and reverse names.
    pub endpoints: EndpointScope,
    /// Which objects have names.
    pub exposure: Exposure,
    /// The Service of the cluster's DNS. The zone's name servers are the Services with the same
    /// endpoints.
    pub dns_service: ServiceRef,
}

impl Settings {
    /// The settings of kubeadm's Corefile: TTL 30, `pods insecure`.
    pub fn new(zone: Name) -> Self {
        Self {
            zone,
            ttls: Ttls::of(30),
            cache: None,
            edns_max: u16::MAX,
            any_class: true,
            pods: PodsMode::Insecure,
            endpoints: EndpointScope::Headless,
            exposure: Exposure::default(),
            dns_service: ServiceRef {
                namespace: "kube-system".to_owned(),
                name: "kube-dns".to_owned(),
            },
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

/// The records of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameData {
    /// Properties of the name. The map writer adds the flags about its chunks.
    pub flags: NameFlags,
    /// Addresses of the A records, sorted, each once.
    pub ipv4: Vec<Ipv4Addr>,
    /// Addresses of the AAAA records, sorted, each once.
    pub ipv6: Vec<Ipv6Addr>,
    /// The SRV targets of a Service's name. Only a [`NameChange`] and
    /// [`Index::detailed`](super::Index::detailed), which feed the maps, have them.
    pub details: Option<Box<Details>>,
}

impl NameData {
    /// Number of addresses and SRV targets, to which the work of writing the name is in
    /// proportion.
    pub fn entries(&self) -> usize {
        let targets = self.details.iter().flat_map(|details| {
            let lists = [&details.own, &details.endpoints];
            lists.into_iter().flatten().map(Targets::entries)
        });
        self.ipv4.len() + self.ipv6.len() + targets.sum::<usize>()
    }
}

/// A name whose records have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The name.
    pub name: RelativeName,
    /// The records; `None` where the name does not exist any more.
    pub data: Option<NameData>,
}

/// The ports and SRV targets of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The Service's own ports, which lead to the Service itself.
    pub own: Option<Targets>,
    /// The ports of its slices, which lead to its endpoints. `None` where a slice has a
    /// port twice: the maps cannot express this, so userspace answers.
    pub endpoints: Option<Targets>,
}

/// Ports and the SRV targets that have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// The ports, in the order of their numbers. `None` is the port of an object that
    /// declares no port: it has neither name, protocol nor number.
    pub ports: Vec<Counted>,
    /// The SRV targets, each once, in the order of their labels and then of their ports.
    pub targets: TargetSet,
    /// Number of endpoints as CoreDNS counts them for the weight of SRV records: an
    /// address in two slices counts twice.
    pub endpoints: usize,
}

impl Targets {
    /// Number of SRV targets in full, and of their addresses.
    fn entries(&self) -> usize {
        match &self.targets {
            TargetSet::Addresses => 0,
            TargetSet::Each(targets) => {
                let addresses = targets.iter().map(|target| target.addresses.len());
                targets.len() + addresses.sum::<usize>()
            }
        }
    }
}

/// SRV targets, in full or implied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSet {
    /// One target for each IPv4 address of the Service's own name, in the order of the
    /// addresses. Its label is the dashed label of the address, and it has all ports.
    Addresses,
    /// Targets with their own labels, addresses and ports.
    Each(Vec<Target>),
}

impl Default for TargetSet {
    fn default() -> Self {
        Self::Each(Vec::new())
    }
}

/// A port and the number of endpoints that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The port, as in [`Targets::ports`].
    pub port: Option<Port>,
    /// Number of endpoints, counted as in [`Targets::endpoints`].
    pub endpoints: usize,
}

/// An SRV target: a host with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint's label, or labels with dots between them; `None` for the Service
    /// itself.
    pub label: Option<Box<str>>,
    /// Its addresses, each once. There is at least one.
    pub addresses: Vec<IpAddr>,
    /// The ports that it has, as places in [`Targets::ports`], in order.
    pub ports: Box<[usize]>,
}
