//! Look-ups in the index.

use std::collections::HashSet;
use std::net::IpAddr;

use headless_ebpf::abi::PodsMode;

use super::super::name::{RELATIVE_BYTES_MAX, RelativeName, WireLabels};
use super::super::types::EndpointScope;
use super::addresses::own;
use super::unselected::Unselected;
use super::{
    Index, NameData, ServiceEntry, ServiceState, ServiceView, entry_exists, namespace_data,
    pod_data,
};
use crate::corefile::Namespaces;
use crate::watch::{Kind, Problem, Reason, ServiceRef};

impl Index {
    /// The records of a name, which is given as [`RelativeName::as_bytes`], without the
    /// details. `None` where the name does not exist.
    pub fn name(&self, name: &[u8]) -> Option<NameData> {
        self.find(name, ServiceState::own)
    }

    /// [`Self::name`] with the details.
    pub fn detailed(&self, name: &[u8]) -> Option<NameData> {
        self.find(name, ServiceState::detailed)
    }

    fn find(
        &self,
        name: &[u8],
        own: impl Fn(&ServiceState, EndpointScope) -> Option<NameData>,
    ) -> Option<NameData> {
        if name.len() > self.name_max {
            return None;
        }
        let scope = self.settings.endpoints;
        let mut labels = WireLabels::new(name).map(str::from_utf8);
        let mut next = || labels.next().transpose().ok();
        match (next()?, next()?, next()?, next()?) {
            (Some(label), Some(namespace), Some("pod"), Some(zone))
                if *zone == *self.zone_label =>
            {
                let address = self.pod_address(label)?;
                pod_data(address, self.pods(namespace, address))
            }
            (Some(namespace), None, ..) => self.namespace_exists(namespace).then(namespace_data),
            (Some(service), Some(namespace), None, _) => {
                own(self.service(namespace, service)?.state, scope)
            }
            (Some(endpoint), Some(service), Some(namespace), None) => {
                let state = self.service(namespace, service)?.state;
                state.endpoint(endpoint, scope)
            }
            (None, ..) | (.., Some(_)) => None,
        }
    }

    /// Every name that exists, with its records but without the details, in no order.
    pub fn names(&self) -> impl Iterator<Item = (RelativeName, NameData)> {
        let namespaces = self
            .namespaces
            .iter()
            .filter(|(_, entry)| entry.list.is_some())
            .filter_map(|(name, _)| {
                Some((RelativeName::from_labels([&**name])?, namespace_data()))
            });
        let services = self.services.iter().flat_map(|(_, entry)| {
            let naming = entry.naming(self.name_max);
            entry.state.names(naming, self.settings.endpoints)
        });
        let pods = self.namespaces.iter().flat_map(|(namespace, entry)| {
            entry.named_pods().filter_map(|(address, count)| {
                let name = self.pod_name(namespace, address)?;
                Some((name, pod_data(address, count)?))
            })
        });
        namespaces.chain(services).chain(pods)
    }

    /// The name of the pods with this address: its dashed label, the namespace, `pod` and the
    /// zone's first label. `None` unless the settings verify pods, and for an address that no
    /// label spells.
    pub(super) fn pod_name(&self, namespace: &str, address: IpAddr) -> Option<RelativeName> {
        let verified = self.settings.pods == PodsMode::Verified;
        let label = address.to_string().replace(['.', ':'], "-");
        (verified && self.pod_address(&label) == Some(address))
            .then(|| RelativeName::from_labels([&label, namespace, "pod", &self.zone_label]))?
    }

    /// The address that a label spells, in its usual spelling (CoreDNS, `findPods`).
    fn pod_address(&self, label: &str) -> Option<IpAddr> {
        if self.settings.pods != PodsMode::Verified {
            return None;
        }
        let ipv4 = label.matches('-').count() == 3 && !label.contains("--");
        let text = label.replace('-', if ipv4 { "." } else { ":" });
        let address = text.parse::<IpAddr>().ok()?;
        (address.to_string() == text && address.to_canonical() == address).then_some(address)
    }

    /// The number of a Service, from 1. Its name is given as [`RelativeName::as_bytes`]. A
    /// new Service may get the number of a deleted one.
    pub fn number_of(&self, name: &[u8]) -> Option<u32> {
        let mut labels = WireLabels::new(name).map(str::from_utf8);
        let (service, namespace) = (labels.next()?.ok()?, labels.next()?.ok()?);
        let entry = self.namespaces.get(namespace)?;
        let number = entry
            .services
            .get(service)
            .filter(|_| labels.next().is_none())?;
        Some(*number as u32 + 1)
    }

    /// The records of an endpoint's name, by the Service's number and the endpoint's label.
    /// `None` where the name does not exist.
    pub fn endpoint(&self, service: u32, label: &[u8]) -> Option<NameData> {
        let entry = self.services.get((service as usize).checked_sub(1)?)?;
        let label = str::from_utf8(label).ok()?;
        entry.state.endpoint(label, self.settings.endpoints)
    }

    /// The cluster IPs of a Service, then the addresses of its ready endpoints, each once.
    pub fn service_addresses(&self, service: &ServiceRef) -> Vec<IpAddr> {
        let view = self.service(&service.namespace, &service.name);
        let state = view.map(|view| view.state);
        let own = state
            .into_iter()
            .flat_map(|state| own(state).iter().copied());
        let below = state
            .into_iter()
            .flat_map(|state| state.endpoints.addresses());
        let unselected = (*service == self.settings.dns_service).then_some(&self.unselected);
        let (of_service, of_slices): (Vec<_>, Vec<_>) = unselected
            .into_iter()
            .flat_map(Unselected::addresses)
            .partition(|(kind, _)| *kind == Kind::Service);
        let address = |(_, address)| address;
        let all = own
            .chain(of_service.into_iter().map(address))
            .chain(below)
            .chain(of_slices.into_iter().map(address));
        let mut seen = HashSet::new();
        all.filter(|address| seen.insert(*address)).collect()
    }

    /// Whether a server of the cluster's DNS may have no endpoint that is selected.
    pub(in crate::records) fn has_unselected_servers(&self) -> bool {
        self.unselected.has_slices()
    }

    /// Problems between objects: Services without their Namespace, slices without their
    /// Service, and names that are too long for the zone. They are sorted by object. Before
    /// [`Self::synced`] they mean little.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems_of(0..self.services_end());
        problems.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        problems
    }

    /// The problems of one Service, or of the slices that wait for it.
    pub(super) fn problems_of_entry(&self, entry: &ServiceEntry, problems: &mut Vec<Problem>) {
        let ServiceEntry {
            namespace,
            name,
            state,
            slices,
            ..
        } = entry;
        if state.service.is_none() {
            // Where CoreDNS selects Services, it may lack this one for good.
            if !self.settings.exposure.labels.is_empty() {
                return;
            }
            let missing = |object| Problem {
                object,
                field: String::new(),
                reason: Reason::MissingService(format!("{namespace}/{name}").into()),
            };
            let slices = slices.merged().unwrap_or_default().iter();
            let slices = slices.map(|slice| format!("EndpointSlice {namespace}/{}", slice.name));
            problems.extend(slices.map(missing));
            return;
        }
        let mut put = |reason| {
            problems.push(Problem {
                object: format!("Service {namespace}/{name}"),
                field: String::new(),
                reason,
            });
        };
        // Where CoreDNS has some namespaces, it may lack this one for good.
        if !state.exposed && self.settings.exposure.namespaces == Namespaces::All {
            put(Reason::MissingNamespace((&**namespace).into()));
        }
        let entries = slices.entries_with_hidden();
        if entries > self.entries_max {
            put(Reason::TooManyEntries(entries));
        }
        let unlimited = entry.naming(RELATIVE_BYTES_MAX);
        let longest = state
            .longest_name(unlimited, self.settings.endpoints)
            .filter(|len| *len > self.name_max);
        if let Some(len) = longest {
            // The length of the whole name in presentation form, without the root.
            put(Reason::NameTooLong(253 + len - self.name_max));
        }
    }

    /// Whether the Namespace is exposed: its object exists, and CoreDNS has it.
    pub(in crate::records) fn namespace_exists(&self, name: &str) -> bool {
        entry_exists(&self.namespaces, name)
    }

    /// A Service, or the slices that wait for it.
    pub(in crate::records) fn service(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<ServiceView<'_>> {
        let number = self.namespaces.get(namespace)?.services.get(name)?;
        Some(self.view(*number))
    }

    pub(super) fn view(&self, number: usize) -> ServiceView<'_> {
        let entry = &self.services[number];
        ServiceView {
            namespace: &entry.namespace,
            name: &entry.name,
            state: &entry.state,
        }
    }
}
