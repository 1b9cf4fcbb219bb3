//! The index of the cluster: it takes in events, and returns the changes of names.

mod addresses;
mod events;
mod holders;
mod parts;
mod pending;
mod pods;
mod pointers;
mod queue;
mod read;
mod reverse;
mod settle;
mod slices;
#[cfg(test)]
mod tests;
mod unselected;
mod walk;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use headless_ebpf::abi::{NameFlags, PodsMode};
use slab::Slab;

use self::holders::Holders;
pub use self::parts::{Part, Parts, Pointed};
use self::pending::{Dirty, Pending};
pub use self::pointers::Pointers;
use self::pointers::Stale;
use self::slices::Slices;
use self::unselected::Unselected;
pub use self::walk::Walk;
use super::name::RELATIVE_BYTES_MAX;
use super::service::{self, Naming, ServiceState};
use super::types::{EndpointScope, NameChange, NameData, Settings};
use crate::watch::{ENTRIES_MAX, Event, Kind, Service};

/// Most entries of the slices of all oversized Services together. An address takes some 50 bytes,
/// so these slices take about 100 MB.
const KEPT_MAX: usize = 2_000_000;

/// The DNS-relevant part of the cluster.
///
/// Events are applied in two steps, so that no single one takes long. [`Index::take`] keeps the
/// objects, and [`Index::settle`] brings the names of the changed Services up to date, one
/// Service after the other. Until then readers see a Service as it was. Both count the elements
/// that they visit, and stop once they have visited as many as the caller allows.
#[derive(Debug)]
pub struct Index {
    settings: Settings,
    /// Most bytes of a relative name in this zone.
    name_max: usize,
    /// The first label of the zone.
    zone_label: Box<str>,
    serial: u32,
    revision: u64,
    namespaces: HashMap<Box<str>, NamespaceEntry>,
    services: Slab<ServiceEntry>,
    /// The Services of each cluster IP, for reverse names.
    owners: Holders,
    /// The Services of each endpoint's address, for reverse names. Empty unless all endpoints
    /// are known.
    holders: Holders,
    pending: Pending,
    stale: Stale,
    unselected: Unselected,
    /// [`ENTRIES_MAX`]; less in tests.
    entries_max: usize,
    /// The entries of the slices of all oversized Services.
    kept: usize,
    /// [`KEPT_MAX`]; less in tests.
    kept_max: usize,
    /// Number of slices that have found no room.
    hidden: usize,
    /// See [`Index::hides_holders`].
    hides: bool,
    /// See [`Index::work`].
    work: usize,
    /// Number of the current list of each kind. Objects with an older number are gone once
    /// the list is complete.
    lists: [u32; Kind::ALL.len()],
    listed: [bool; Kind::ALL.len()],
    /// See [`Index::is_current`].
    current: bool,
}

/// A namespace. Its Namespace object need not exist.
#[derive(Debug, Default)]
struct NamespaceEntry {
    /// Number of the list in which the Namespace object was last seen; `None` without the
    /// object.
    list: Option<u32>,
    services: HashMap<Arc<str>, usize>,
    slices: HashMap<Box<str>, SliceEntry>,
    pods: HashMap<Box<str>, PodEntry>,
    /// Number of pods with each address, whether or not the Namespace object exists.
    pod_addresses: HashMap<IpAddr, u32>,
}

impl NamespaceEntry {
    fn is_empty(&self) -> bool {
        let Self {
            list,
            services,
            slices,
            pods,
            pod_addresses: _,
        } = self;
        list.is_none() && services.is_empty() && slices.is_empty() && pods.is_empty()
    }
}

/// A slice: the list in which it was last seen, and the Service to which it belongs.
#[derive(Debug)]
struct SliceEntry {
    list: u32,
    /// Number of the slice's Service, if the slice names one.
    service: Option<usize>,
}

#[derive(Debug)]
struct PodEntry {
    list: u32,
    address: Option<IpAddr>,
}

/// A Service and its slices. Slices may come before the Service.
#[derive(Debug)]
struct ServiceEntry {
    namespace: Arc<str>,
    name: Arc<str>,
    /// Number of the list in which the Service was last seen.
    list: u32,
    /// What `state` lacks.
    dirty: Dirty,
    /// The Service object.
    object: Option<Arc<Service>>,
    slices: Slices,
    /// The state that readers see.
    state: ServiceState,
}

impl ServiceEntry {
    fn naming(&self, name_max: usize) -> Naming<'_> {
        Naming {
            namespace: &self.namespace,
            service: &self.name,
            name_max,
        }
    }
}

/// A Service as the resolver sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::records) struct ServiceView<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) state: &'a ServiceState,
}

impl Index {
    /// An empty index.
    pub fn new(settings: Settings) -> Self {
        // A name has at most 255 bytes, of which zone and `\3svc` take a part.
        let zone = settings
            .zone
            .iter()
            .map(|label| label.len() + 1)
            .sum::<usize>()
            + 1;
        let zone_label = settings.zone.iter().next().unwrap_or_default();
        Self {
            zone_label: String::from_utf8_lossy(zone_label)
                .to_ascii_lowercase()
                .into(),
            name_max: RELATIVE_BYTES_MAX.min(255usize.saturating_sub(4 + zone)),
            settings,
            serial: 0,
            revision: 0,
            namespaces: HashMap::new(),
            services: Slab::new(),
            owners: Holders::default(),
            holders: Holders::default(),
            pending: Pending::default(),
            stale: Stale::default(),
            unselected: Unselected::default(),
            entries_max: ENTRIES_MAX,
            kept: 0,
            kept_max: KEPT_MAX,
            hidden: 0,
            hides: false,
            work: 0,
            lists: [0; Kind::ALL.len()],
            listed: [false; Kind::ALL.len()],
            current: true,
        }
    }

    /// The operator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sets which endpoints have names. To be called before the first event: the index does not
    /// look again at objects that it has.
    pub fn set_endpoints(&mut self, endpoints: EndpointScope) {
        debug_assert_eq!(self.revision, 0, "an event has been taken");
        self.settings.endpoints = endpoints;
    }

    /// Number of EndpointSlices.
    pub fn slices(&self) -> u64 {
        let namespaces = self.namespaces.values();
        namespaces.map(|entry| entry.slices.len() as u64).sum()
    }

    /// The SOA's serial.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Sets the SOA's serial. It should be the Unix time in seconds of the last change of
    /// [`Self::revision`].
    pub fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// A number that grows with every event that changes an object. Not every such event
    /// changes a name: the number of a port is in no name.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the index counts as the present state of the cluster. It does not once the
    /// source has been silent for too long. Names that it lacks may then exist, so nothing
    /// is denied.
    pub fn is_current(&self) -> bool {
        self.current
    }

    /// Sets [`Self::is_current`], which begins as true.
    pub fn set_current(&mut self, current: bool) {
        self.current = current;
    }

    /// Whether a name that is not in the index does not exist.
    pub fn may_deny(&self) -> bool {
        self.current && self.synced()
    }

    /// Number of elements (events, entries of slices, names, addresses) that the index has
    /// visited for changes. It measures their cost.
    pub fn work(&self) -> usize {
        self.work
    }

    /// Whether every kind that the settings need has been listed once.
    pub fn synced(&self) -> bool {
        self.missing().is_empty()
    }

    /// The resources that have not been listed yet.
    pub fn missing(&self) -> Vec<&'static str> {
        Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Pod || self.settings.pods == PodsMode::Verified)
            .filter(|kind| !self.listed[*kind as usize])
            .map(Kind::resource)
            .collect()
    }

    /// Applies one event. See [`Self::apply_all`].
    pub fn apply(&mut self, event: Event) -> Vec<NameChange> {
        self.apply_all([event])
    }

    /// Applies events that belong together and returns the changes between the state
    /// before and the state after all of them. So an endpoint that moves between slices
    /// is never missing. Each Service's additions come before its removals.
    ///
    /// The cost grows with the Services of the events, and with all Services of a Namespace
    /// that comes or goes. [`Self::take`] and [`Self::settle`] do the same in steps.
    pub fn apply_all(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<NameChange> {
        let mut changes = Vec::new();
        self.take(&mut events.into_iter(), usize::MAX);
        self.settle(usize::MAX, Some(&mut changes));
        changes
    }

    /// Applies events that belong together, for an index of which nobody follows the changes
    /// yet. Making the changes of a cluster's first lists takes as long as reading them.
    pub fn absorb(&mut self, events: impl IntoIterator<Item = Event>) {
        self.take(&mut events.into_iter(), usize::MAX);
        self.settle(usize::MAX, None);
        self.forget_changes();
    }

    /// Forgets a Service that has neither object nor slices.
    fn release_service(&mut self, number: usize) {
        let entry = &self.services[number];
        if entry.object.is_some() || !entry.slices.is_empty() {
            return;
        }
        let entry = self.services.remove(number);
        if let Some(namespace) = self.namespaces.get_mut(&*entry.namespace) {
            namespace.services.remove(&entry.name);
        }
    }
}

/// The records of a pod's name, where `count` pods have the address as their first.
fn pod_data(address: IpAddr, count: u32) -> Option<NameData> {
    let flags = match count {
        0 => return None,
        1 => NameFlags::NO_SERVICE,
        // CoreDNS counts each pod for the weight of the SRV record.
        _ => NameFlags::NO_SERVICE.with(NameFlags::REPEATED),
    };
    let (ipv4, ipv6) = service::families([address]);
    Some(NameData {
        flags,
        ipv4,
        ipv6,
        details: None,
    })
}

fn entry_exists(namespaces: &HashMap<Box<str>, NamespaceEntry>, name: &str) -> bool {
    namespaces
        .get(name)
        .is_some_and(|entry| entry.list.is_some())
}

const fn namespace_data() -> NameData {
    NameData {
        flags: NameFlags::NO_SERVICE,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        details: None,
    }
}
