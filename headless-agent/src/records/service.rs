//! One Service with the endpoints of its slices: which names it gives rise to.

mod endpoints;
mod targets;

use std::net::IpAddr;
use std::sync::Arc;

use headless_ebpf::abi::NameFlags;

use self::endpoints::Group;
pub(super) use self::endpoints::families;
pub(super) use self::endpoints::{Endpoints, endpoint_label};
use super::name::RelativeName;
use super::types::{Details, EndpointScope, NameChange, NameData, Targets};
use crate::watch::{Port, Service, ServiceKind};

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
            ServiceKind::Headless => !self.endpoints.is_empty() || self.endpoints.is_partial(),
            ServiceKind::Unserved => false,
        };
        // Of a Service that could not be read whole nobody knows that it does not exist.
        (exists || service.partial).then_some(service)
    }

    /// Whether an endpoint of this served Service may have a name that is not among
    /// those given here.
    fn endpoints_unknown(&self, service: &Service, scope: EndpointScope) -> bool {
        let unwatched =
            scope == EndpointScope::Headless && matches!(service.kind, ServiceKind::ClusterIp(_));
        unwatched || service.partial || !self.endpoints.all_have_addresses()
    }

    /// What the Service's own name holds, if it exists, without the details.
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
            // Nothing exists below an external name, whatever slices there are.
            ServiceKind::ExternalName(_) | ServiceKind::Unserved => passing(NameFlags::empty()),
        })
    }

    /// The same with the details.
    pub(super) fn detailed(&self, scope: EndpointScope) -> Option<NameData> {
        let mut data = self.own(scope)?;
        if data.flags.contains(NameFlags::PASS) {
            return Some(data);
        }
        let service = self.served()?;
        let own = match &service.kind {
            ServiceKind::ClusterIp(addresses) => Some(Targets::own(&service.ports, addresses)),
            _ => None,
        };
        let endpoints = self.named_endpoints(scope);
        let endpoints = endpoints
            .filter(|endpoints| !endpoints.is_empty())
            .and_then(Targets::of);
        if own.is_some() || endpoints.is_some() {
            data.details = Some(Box::new(Details { own, endpoints }));
        }
        Some(data)
    }

    /// Whether the details may differ from those of `other`, where the rest is
    /// the same.
    fn details_may_differ(&self, other: &Self, scope: EndpointScope) -> bool {
        fn ports(state: &State) -> Option<&[Port]> {
            let service = state.served()?;
            matches!(service.kind, ServiceKind::ClusterIp(_)).then_some(&*service.ports)
        }
        match (self.named_endpoints(scope), other.named_endpoints(scope)) {
            (Some(own), Some(other)) if !own.same(other) => true,
            _ => ports(self) != ports(other),
        }
    }

    /// The endpoints, where they have names of their own.
    fn named_endpoints(&self, scope: EndpointScope) -> Option<&Endpoints> {
        let service = self.served()?;
        let can_be_named = matches!(
            service.kind,
            ServiceKind::Headless | ServiceKind::ClusterIp(_)
        );
        let named = can_be_named && !self.endpoints_unknown(service, scope);
        named.then_some(&*self.endpoints)
    }

    /// What the endpoint name holds, if it exists.
    pub(super) fn endpoint(&self, label: &str, scope: EndpointScope) -> Option<NameData> {
        let endpoints = self.named_endpoints(scope)?;
        let group = endpoints.find(label).filter(|_| !label.contains('.'))?;
        Some(group.data())
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
    ///
    /// Endpoints count only where those of every Service are known: an address has a
    /// name for each Service that has it among its endpoints, and a reply holds all.
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

/// How the names of one Service are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming<'a> {
    pub(super) namespace: &'a str,
    pub(super) service: &'a str,
    /// Most bytes that a relative name can have in this zone.
    pub(super) room: usize,
}

impl Naming<'_> {
    pub(super) fn own(&self) -> Option<RelativeName> {
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
    // Details are worth making only where something that they are made of has
    // changed.
    let differs = own_before != own_now;
    if differs || old.details_may_differ(new, scope) {
        let now = new.detailed(scope);
        if differs || old.detailed(scope) != now {
            put(naming.own(), now);
        }
    }
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
    changes.append(&mut gone);
}
