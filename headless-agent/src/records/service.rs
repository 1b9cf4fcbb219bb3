//! One Service with the endpoints of its slices: which names it gives rise to.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use headless_ebpf::abi::NameFlags;

use super::index::{EndpointScope, NameChange, NameData};
use super::name::RelativeName;
use crate::watch::objects::dashed_address;
use crate::watch::{Endpoint, EndpointSlice, Port, Service, ServiceKind};

/// Which endpoint of which slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    slice: u32,
    endpoint: u32,
}

/// The ready endpoints of a Service, merged from its slices. Never changed, only
/// replaced.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// In the order of their names.
    slices: Box<[Arc<EndpointSlice>]>,
    /// Every endpoint, in the order of its own name.
    by_name: Box<[Position]>,
    /// Every IPv4 address once, sorted.
    ipv4: Box<[Ipv4Addr]>,
    /// Every IPv6 address once, sorted.
    ipv6: Box<[Ipv6Addr]>,
}

/// The label that an endpoint goes by (CoreDNS, `endpointHostname`). Has dots
/// where it is the name of a pod that has, and capitals where it is made of an
/// address that has.
pub(super) fn endpoint_label(endpoint: &Endpoint) -> Cow<'_, str> {
    endpoint.name.as_deref().map_or_else(
        || Cow::Owned(dashed_address(endpoint.address)),
        Cow::Borrowed,
    )
}

/// The label by which an endpoint is found: [`endpoint_label`] in lower case.
fn folded_label(endpoint: &Endpoint) -> Cow<'_, str> {
    let label = endpoint_label(endpoint);
    if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(label.to_ascii_lowercase())
    } else {
        label
    }
}

/// Sorts addresses into families, each sorted and without repetition.
fn families(addresses: impl IntoIterator<Item = IpAddr>) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => ipv4.push(address),
            IpAddr::V6(address) => ipv6.push(address),
        }
    }
    ipv4.sort_unstable();
    ipv4.dedup();
    ipv6.sort_unstable();
    ipv6.dedup();
    (ipv4, ipv6)
}

/// Whether one of the ports has a number, hence an SRV record.
fn numbered(ports: &[Port]) -> bool {
    ports.iter().any(|port| port.number.is_some())
}

impl Endpoints {
    /// The endpoints of these slices, given in the order of their names.
    pub(super) fn new(slices: &[Arc<EndpointSlice>]) -> Self {
        let mut named: Vec<_> = (0..)
            .zip(slices)
            .flat_map(|(slice, object)| {
                let position = move |endpoint| Position { slice, endpoint };
                let labels = object.endpoints.iter().map(folded_label);
                labels.zip((0..).map(position))
            })
            .collect();
        // Stable: endpoints that share a name keep the order of their slices.
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        let all = slices.iter().flat_map(|slice| slice.endpoints.iter());
        let (ipv4, ipv6) = families(all.map(|endpoint| endpoint.address));
        Self {
            by_name: named.into_iter().map(|(_, position)| position).collect(),
            slices: slices.into(),
            ipv4: ipv4.into(),
            ipv6: ipv6.into(),
        }
    }

    fn get(&self, position: Position) -> (&EndpointSlice, &Endpoint) {
        let slice = &self.slices[position.slice as usize];
        (slice, &slice.endpoints[position.endpoint as usize])
    }

    fn label(&self, position: Position) -> Cow<'_, str> {
        folded_label(self.get(position).1)
    }

    /// Whether none is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether one of them has this address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.binary_search(&address).is_ok(),
            IpAddr::V6(address) => self.ipv6.binary_search(&address).is_ok(),
        }
    }

    /// Every address once, IPv4 first, each family sorted.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.iter().copied().map(IpAddr::V4);
        ipv4.chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }

    /// Every endpoint of every slice with the ports of its slice; an address in
    /// two slices comes twice.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        self.slices.iter().flat_map(|slice| {
            let ports = &*slice.ports;
            slice
                .endpoints
                .iter()
                .map(move |endpoint| (endpoint, ports))
        })
    }

    /// The endpoints that go by this label with the ports of their slices.
    pub(super) fn named(&self, label: &str) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        self.group(label).iter().map(|position| {
            let (slice, endpoint) = self.get(*position);
            (endpoint, &*slice.ports)
        })
    }

    fn group(&self, label: &str) -> &[Position] {
        let start = self
            .by_name
            .partition_point(|position| *self.label(*position) < *label);
        let rest = &self.by_name[start..];
        let len = rest.partition_point(|position| *self.label(*position) == *label);
        &rest[..len]
    }

    /// The labels in order, each with the endpoints that go by it.
    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.by_name
            .chunk_by(|a, b| self.label(*a) == self.label(*b))
            .map(|positions| Group {
                label: self.label(positions[0]),
                endpoints: self,
                positions,
            })
    }
}

/// The endpoints that share a label.
struct Group<'a> {
    label: Cow<'a, str>,
    endpoints: &'a Endpoints,
    positions: &'a [Position],
}

impl Group<'_> {
    fn data(&self) -> NameData {
        let members = || self.positions.iter().map(|at| self.endpoints.get(*at));
        let (ipv4, ipv6) = families(members().map(|(_, endpoint)| endpoint.address));
        NameData {
            flags: srv_flag(members().any(|(slice, _)| numbered(&slice.ports))),
            ipv4,
            ipv6,
        }
    }

    /// Whether both hold the same; told without allocating in the usual case.
    fn same(&self, other: &Group<'_>) -> bool {
        let (&[a], &[b]) = (self.positions, other.positions) else {
            return self.data() == other.data();
        };
        let ((slice_a, a), (slice_b, b)) = (self.endpoints.get(a), other.endpoints.get(b));
        a.address == b.address && numbered(&slice_a.ports) == numbered(&slice_b.ports)
    }
}

fn srv_flag(srv: bool) -> NameFlags {
    if srv {
        NameFlags::SRV
    } else {
        NameFlags::empty()
    }
}

/// A Service as it stands at one moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The object; there may be slices before it.
    pub(super) service: Option<Arc<Service>>,
    /// Its ready endpoints.
    pub(super) endpoints: Arc<Endpoints>,
    /// Whether its Namespace object exists. A Service without is not served
    /// (CoreDNS, `namespaceExposed`).
    pub(super) exposed: bool,
}

impl State {
    /// The Service, where its name exists.
    fn served(&self) -> Option<&Service> {
        let service = self.service.as_deref().filter(|_| self.exposed)?;
        let exists = match service.kind {
            ServiceKind::ClusterIp(_) | ServiceKind::ExternalName(_) => true,
            // Trap T1: without a ready endpoint the name does not exist, and
            // neither does anything below it (specification, 2.4.1).
            ServiceKind::Headless => !self.endpoints.is_empty(),
            ServiceKind::Unserved => false,
        };
        exists.then_some(service)
    }

    /// What the Service's own name holds, if it exists.
    pub(super) fn own(&self, scope: EndpointScope) -> Option<NameData> {
        let service = self.served()?;
        Some(match &service.kind {
            ServiceKind::ClusterIp(addresses) => {
                let (ipv4, ipv6) = families(addresses.iter().copied());
                let srv = srv_flag(numbered(&service.ports) && !addresses.is_empty());
                let below = match scope {
                    EndpointScope::Headless => NameFlags::ENDPOINTS_UNKNOWN,
                    EndpointScope::All => NameFlags::empty(),
                };
                NameData {
                    flags: srv.with(below),
                    ipv4,
                    ipv6,
                }
            }
            ServiceKind::Headless => NameData {
                flags: srv_flag(
                    self.endpoints
                        .slices
                        .iter()
                        .any(|slice| !slice.endpoints.is_empty() && numbered(&slice.ports)),
                ),
                ipv4: self.endpoints.ipv4.to_vec(),
                ipv6: self.endpoints.ipv6.to_vec(),
            },
            ServiceKind::ExternalName(_) | ServiceKind::Unserved => NameData {
                flags: NameFlags::PASS,
                ipv4: Vec::new(),
                ipv6: Vec::new(),
            },
        })
    }

    /// The endpoints, where they have names of their own.
    fn named_endpoints(&self, scope: EndpointScope) -> Option<&Endpoints> {
        let named = match (&self.served()?.kind, scope) {
            (ServiceKind::Headless, _) | (ServiceKind::ClusterIp(_), EndpointScope::All) => true,
            (ServiceKind::ClusterIp(_), EndpointScope::Headless)
            | (ServiceKind::ExternalName(_) | ServiceKind::Unserved, _) => false,
        };
        named.then_some(&*self.endpoints)
    }

    /// What the endpoint name holds, if it exists.
    pub(super) fn endpoint(&self, label: &str, scope: EndpointScope) -> Option<NameData> {
        let endpoints = self.named_endpoints(scope)?;
        let positions = endpoints.group(label);
        if positions.is_empty() || label.contains('.') {
            return None;
        }
        let label = Cow::Borrowed(label);
        Some(
            Group {
                label,
                endpoints,
                positions,
            }
            .data(),
        )
    }

    fn groups(&self, scope: EndpointScope) -> impl Iterator<Item = Group<'_>> {
        let endpoints = self.named_endpoints(scope);
        endpoints.into_iter().flat_map(Endpoints::groups)
    }

    /// Every name with what it holds: the Service's own first.
    pub(super) fn names(
        &self,
        naming: Naming<'_>,
        scope: EndpointScope,
    ) -> impl Iterator<Item = (RelativeName, NameData)> {
        let own = self.own(scope).map(|data| (naming.own(), data));
        let below = self
            .groups(scope)
            .map(move |group| (naming.endpoint(&group.label), group.data()));
        own.into_iter()
            .chain(below)
            .filter_map(|(name, data)| Some((name?, data)))
    }

    /// The addresses whose reverse name points at the Service or its endpoints,
    /// sorted. Neither the Namespace nor the Service has to exist for an
    /// endpoint's (CoreDNS, `serviceRecordForIP`).
    pub(super) fn reverse(&self, scope: EndpointScope) -> BTreeSet<IpAddr> {
        let own = match self.service.as_deref().map(|service| &service.kind) {
            Some(ServiceKind::ClusterIp(addresses)) => &**addresses,
            _ => &[],
        };
        let endpoints = self.has_reverse_endpoints(scope).then_some(&self.endpoints);
        let below = endpoints
            .into_iter()
            .flat_map(|endpoints| endpoints.addresses());
        own.iter().copied().chain(below).collect()
    }

    /// Whether endpoints of this Service have reverse names.
    pub(super) fn has_reverse_endpoints(&self, scope: EndpointScope) -> bool {
        let cluster_ip = self
            .service
            .as_deref()
            .is_some_and(|service| matches!(service.kind, ServiceKind::ClusterIp(_)));
        scope == EndpointScope::All || !cluster_ip
    }
}

/// How the names of one Service are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    /// Most bytes that a relative name can have in this zone.
    pub(super) room: usize,
}

impl Naming<'_> {
    fn own(&self) -> Option<RelativeName> {
        self.fits(RelativeName::from_labels([self.service, self.namespace]))
    }

    fn endpoint(&self, label: &str) -> Option<RelativeName> {
        self.fits(RelativeName::from_labels([
            label,
            self.service,
            self.namespace,
        ]))
    }

    fn fits(&self, name: Option<RelativeName>) -> Option<RelativeName> {
        name.filter(|name| name.as_bytes().len() <= self.room)
    }
}

/// What has to change between two states of a Service: what is new or different
/// first, so that no name is missed in between, then what is gone.
pub(super) fn changes(
    old: &State,
    new: &State,
    naming: Naming<'_>,
    scope: EndpointScope,
    changes: &mut Vec<NameChange>,
) {
    let (own_before, own_now) = (old.own(scope), new.own(scope));
    let mut gone = Vec::new();
    let mut put = |name: Option<RelativeName>, data: Option<NameData>| {
        if let Some(name) = name {
            let list = if data.is_some() {
                &mut *changes
            } else {
                &mut gone
            };
            list.push(NameChange { name, data });
        }
    };
    if own_before != own_now {
        put(naming.own(), own_now);
    }
    if !Arc::ptr_eq(&old.endpoints, &new.endpoints)
        || old.named_endpoints(scope).is_some() != new.named_endpoints(scope).is_some()
    {
        let mut before = old.groups(scope).peekable();
        for now in new.groups(scope) {
            for lost in iter::from_fn(|| before.next_if(|before| before.label < now.label)) {
                put(naming.endpoint(&lost.label), None);
            }
            let unchanged = before
                .next_if(|before| before.label == now.label)
                .is_some_and(|before| before.same(&now));
            if !unchanged {
                put(naming.endpoint(&now.label), Some(now.data()));
            }
        }
        for lost in before {
            put(naming.endpoint(&lost.label), None);
        }
    }
    changes.append(&mut gone);
}
