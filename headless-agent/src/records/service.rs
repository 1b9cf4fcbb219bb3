//! One Service with the endpoints of its slices: the names that it has, and their records.

mod endpoints;
mod label;
mod targets;

use std::net::IpAddr;
use std::sync::Arc;

use headless_ebpf::abi::NameFlags;

pub(super) use self::endpoints::Endpoints;
use self::endpoints::Group;
pub(super) use self::endpoints::families;
pub(super) use self::label::EndpointLabel;
use super::name::RelativeName;
use super::types::{Details, EndpointScope, NameChange, NameData, Targets};
use crate::watch::{Port, Service, ServiceKind};

/// The state of a Service at one moment. It is cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceState {
    /// The Service object. Slices may come before it.
    pub(super) service: Option<Arc<Service>>,
    /// Its ready endpoints.
    pub(super) endpoints: Arc<Endpoints>,
    /// Whether the Namespace is exposed: its object exists, and CoreDNS has it (`namespaces`,
    /// `namespace_labels`). Otherwise CoreDNS serves no Service (`namespaceExposed` in
    /// `plugin/kubernetes/namespace.go`).
    pub(super) exposed: bool,
    /// Whether a Service with cluster IPs exists only while it has a ready endpoint (CoreDNS's
    /// option `ignore empty_service`).
    pub(super) ignores_empty: bool,
}

impl ServiceState {
    /// The Service object, if the Service's name exists or may exist.
    fn served(&self) -> Option<&Service> {
        let service = self.service.as_deref().filter(|_| self.exposed)?;
        let exists = match service.kind {
            ServiceKind::ClusterIp(_) if self.ignores_empty => self.may_have_endpoints(),
            ServiceKind::ClusterIp(_) | ServiceKind::ExternalName(_) => true,
            // Trap T1: without a ready endpoint neither the name nor any name below it
            // exists (Kubernetes DNS specification, section 2.4.1).
            ServiceKind::Headless => self.may_have_endpoints(),
            ServiceKind::Unserved => false,
        };
        // A Service that could not be read whole may exist.
        (exists || service.partial).then_some(service)
    }

    fn may_have_endpoints(&self) -> bool {
        !self.endpoints.is_empty() || self.endpoints.is_partial()
    }

    /// Whether a Service with cluster IPs exists only if a slice that could not be read whole has
    /// an endpoint.
    pub(super) fn may_be_empty(&self) -> bool {
        self.ignores_empty && self.endpoints.is_empty() && self.endpoints.is_partial()
    }

    /// Whether the index does not know all endpoints of this Service, whatever its kind.
    fn endpoints_unknown(&self, service: &Service, scope: EndpointScope) -> bool {
        let unwatched =
            scope == EndpointScope::Headless && matches!(service.kind, ServiceKind::ClusterIp(_));
        unwatched || service.partial || !self.endpoints.all_have_addresses()
    }

    /// The Service object, if endpoints can have names below the Service's name.
    fn with_endpoints(&self) -> Option<&Service> {
        let service = self.served()?;
        let kind = &service.kind;
        matches!(kind, ServiceKind::Headless | ServiceKind::ClusterIp(_)).then_some(service)
    }

    /// Whether endpoints of this Service may have names that the index does not know.
    fn hides_endpoints(&self, scope: EndpointScope) -> bool {
        let service = self.served().filter(|service| service.partial);
        let service = service.or_else(|| self.with_endpoints());
        service.is_some_and(|service| self.endpoints_unknown(service, scope))
    }

    /// The records of the Service's own name, without the details. `None` where the name does
    /// not exist.
    pub(super) fn own(&self, scope: EndpointScope) -> Option<NameData> {
        let service = self.served()?;
        let unknown = self.endpoints_unknown(service, scope);
        let below = if unknown {
            NameFlags::ENDPOINTS_UNKNOWN
        } else {
            NameFlags::empty()
        };
        let passing = |below| NameData {
            flags: NameFlags::PASS.with(below),
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            details: None,
        };
        Some(match &service.kind {
            _ if service.partial => passing(below),
            ServiceKind::ClusterIp(_) if self.may_be_empty() => passing(below),
            ServiceKind::ClusterIp(addresses) => {
                let (ipv4, ipv6) = families(addresses.iter().copied());
                NameData {
                    flags: NameFlags::CLUSTER_IP.with(below),
                    ipv4,
                    ipv6,
                    details: None,
                }
            }
            ServiceKind::Headless if unknown => passing(below),
            ServiceKind::Headless => self.endpoints.data(),
            // No name exists below an external name, even if there are slices.
            ServiceKind::ExternalName(_) | ServiceKind::Unserved => passing(NameFlags::empty()),
        })
    }

    /// [`Self::own`] with the details.
    pub(super) fn detailed(&self, scope: EndpointScope) -> Option<NameData> {
        let mut data = self.own(scope)?;
        if data.flags.contains(NameFlags::PASS) {
            return Some(data);
        }
        let service = self.served()?;
        let own = match &service.kind {
            ServiceKind::ClusterIp(addresses) => Targets::own(&service.ports, addresses),
            _ => None,
        };
        let endpoints = self.named_endpoints(scope);
        let endpoints = endpoints.filter(|endpoints| !endpoints.is_empty());
        let endpoints = match service.kind {
            ServiceKind::Headless => endpoints.and_then(Targets::of_headless),
            _ => endpoints.and_then(Targets::of),
        };
        if own.is_some() || endpoints.is_some() {
            data.details = Some(Box::new(Details { own, endpoints }));
        }
        Some(data)
    }

    /// Whether the details may differ from the details of `other`, given that all other records are
    /// the same.
    fn details_may_differ(&self, other: &Self, scope: EndpointScope) -> bool {
        fn ports(state: &ServiceState) -> Option<&[Port]> {
            let service = state.served()?;
            matches!(service.kind, ServiceKind::ClusterIp(_)).then_some(&*service.ports)
        }
        match (self.named_endpoints(scope), other.named_endpoints(scope)) {
            (Some(own), Some(other)) if !own.same(other) => true,
            _ => ports(self) != ports(other),
        }
    }

    /// The endpoints, if they have names and all of these names are known.
    fn named_endpoints(&self, scope: EndpointScope) -> Option<&Endpoints> {
        let service = self.with_endpoints()?;
        let named = !self.endpoints_unknown(service, scope);
        named.then_some(&*self.endpoints)
    }

    /// The records of an endpoint's name. `None` where the name does not exist.
    pub(super) fn endpoint(&self, label: &str, scope: EndpointScope) -> Option<NameData> {
        let endpoints = self.named_endpoints(scope)?;
        let group = endpoints.find(label).filter(|_| !label.contains('.'))?;
        Some(group.data())
    }

    /// The endpoints that have names, by their labels.
    pub(super) fn groups(&self, scope: EndpointScope) -> impl Iterator<Item = Group<'_>> {
        let endpoints = self.named_endpoints(scope);
        endpoints.into_iter().flat_map(Endpoints::groups)
    }

    /// Every name with its records. The Service's own name comes first.
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

    /// Number of bytes of the longest of [`Self::names`], which are not made for this.
    pub(super) fn longest_name(&self, naming: Naming<'_>, scope: EndpointScope) -> Option<usize> {
        self.served()?;
        let own = naming.own()?.as_bytes().len();
        let below = self
            .groups(scope)
            .filter(|group| (1..64).contains(&group.label.len()) && !group.label.contains('.'))
            .map(|group| 1 + group.label.len() + own)
            .filter(|len| *len <= naming.name_max);
        Some(below.max().unwrap_or(own))
    }

    /// The addresses whose reverse names lead to the Service or its endpoints, sorted. An
    /// endpoint's reverse name needs neither Namespace nor Service (CoreDNS,
    /// `serviceRecordForIP` in `plugin/kubernetes/reverse.go`).
    ///
    /// Addresses of endpoints are only among them with [`EndpointScope::All`]. A reply holds
    /// a name for each Service that has the address, so the endpoints of all Services must be
    /// known.
    pub(super) fn reverse(&self, scope: EndpointScope) -> Vec<IpAddr> {
        let own = match self.service.as_deref().map(|service| &service.kind) {
            Some(ServiceKind::ClusterIp(addresses)) => &**addresses,
            _ => &[],
        };
        let endpoints = (scope == EndpointScope::All).then_some(&self.endpoints);
        let below = endpoints
            .into_iter()
            .flat_map(|endpoints| endpoints.addresses());
        let mut addresses: Vec<_> = own.iter().copied().chain(below).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// The parts of which the names of one Service are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    /// Most bytes that a relative name can have in this zone.
    pub(super) name_max: usize,
}

impl Naming<'_> {
    pub(super) fn own(&self) -> Option<RelativeName> {
        self.fits(RelativeName::from_labels([self.service, self.namespace]))
    }

    /// Whether [`Self::endpoint`] has a name for this label, which is one label.
    pub(super) fn has_endpoint(&self, label: &str) -> bool {
        let labels = [label, self.service, self.namespace];
        let len = labels.map(|label| 1 + label.len()).iter().sum::<usize>();
        len <= self.name_max
    }

    pub(super) fn endpoint(&self, label: &str) -> Option<RelativeName> {
        self.fits(RelativeName::from_labels([
            label,
            self.service,
            self.namespace,
        ]))
    }

    fn fits(&self, name: Option<RelativeName>) -> Option<RelativeName> {
        name.filter(|name| name.as_bytes().len() <= self.name_max)
    }
}

/// Appends the changes between two states of a Service. New and changed names come before
/// names that are gone, so that no name is missing in between. The Service's own name is
/// the first to come and the last to go, because the maps store its endpoints' names under
/// its number.
///
/// A Service whose endpoints become known has a number already. Its own name changes after its
/// endpoints' names have come: without [`NameFlags::ENDPOINTS_UNKNOWN`] the programs deny each
/// endpoint that the maps lack.
pub(super) fn changes(
    old: &ServiceState,
    new: &ServiceState,
    naming: Naming<'_>,
    scope: EndpointScope,
    changes: &mut Vec<NameChange>,
) {
    let mut own = own_change(old, new, naming, scope);
    let exists = own.as_ref().is_some_and(|own| own.data.is_some());
    let become_known = old.hides_endpoints(scope) && !new.hides_endpoints(scope);
    if exists && !become_known {
        changes.extend(own.take());
    }
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
    match (old.named_endpoints(scope), new.named_endpoints(scope)) {
        (Some(old), Some(new)) => {
            let mut labels = old.differing(new);
            labels.extend(new.differing(old));
            for label in labels {
                match (old.find(&label), new.find(&label)) {
                    (Some(before), Some(now)) if before.same(&now) => {}
                    (_, now) => put(naming.endpoint(&label), now.map(|now| now.data())),
                }
            }
        }
        (old, new) => {
            for group in new.into_iter().flat_map(Endpoints::groups) {
                put(naming.endpoint(&group.label), Some(group.data()));
            }
            for group in old.into_iter().flat_map(Endpoints::groups) {
                put(naming.endpoint(&group.label), None);
            }
        }
    }
    if exists {
        changes.extend(own.take());
    }
    changes.append(&mut gone);
    changes.extend(own);
}

/// The change of the Service's own name, if it differs.
fn own_change(
    old: &ServiceState,
    new: &ServiceState,
    naming: Naming<'_>,
    scope: EndpointScope,
) -> Option<NameChange> {
    let differs = old.own(scope) != new.own(scope);
    // Details are worth making only where something that they are made of has changed.
    if !differs && !old.details_may_differ(new, scope) {
        return None;
    }
    let data = new.detailed(scope);
    let changed = differs || (data.is_some() && old.detailed(scope) != data);
    let name = naming.own().filter(|_| changed)?;
    Some(NameChange { name, data })
}
