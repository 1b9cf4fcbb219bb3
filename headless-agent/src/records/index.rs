//! The index of the cluster: it takes in events, and returns the changes of names.

mod events;
mod parts;
mod pointers;
mod read;
mod reverse;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;
use headless_ebpf::abi::{NameFlags, PodsMode};
use slab::Slab;

pub use self::parts::{Part, Parts, Pointed};
pub use self::pointers::Pointers;
use self::pointers::Stale;
pub use self::walk::Walk;
use super::name::{RELATIVE_BYTES_MAX, RelativeName};
use super::service::{self, Naming, ServiceState};
use super::types::{NameChange, NameData, Settings};
use crate::watch::{EndpointSlice, Event, Kind, Object};

/// The DNS-relevant part of the cluster.
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
    /// The Services of each address, for reverse names.
    reverse: HashTable<AddressEntry>,
    hasher: RandomState,
    stale: Stale,
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
    /// Number of pods with each address.
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
    state: ServiceState,
    /// The slices, in the order of their names.
    slices: Vec<Arc<EndpointSlice>>,
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

/// One address of one Service. The entry holds half of the address's hash, since the
/// Service itself holds the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddressEntry {
    hash: u32,
    service: u32,
}

impl AddressEntry {
    /// Extends the half of a hash to the whole hash that [`HashTable`] needs.
    const fn spread(hash: u32) -> u64 {
        (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A Service as the resolver sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::records) struct ServiceView<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) state: &'a ServiceState,
}

/// The objects that a batch of events touches, with their states before the batch.
#[derive(Default)]
struct Touched {
    services: BTreeMap<usize, ServiceState>,
    /// Services whose slices have changed.
    slices: HashSet<usize>,
    /// Namespaces, and whether they existed.
    namespaces: BTreeMap<Box<str>, bool>,
    /// Addresses in namespaces, and the number of pods that had them.
    pods: BTreeMap<(Box<str>, IpAddr), u32>,
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
            reverse: HashTable::new(),
            hasher: RandomState::new(),
            stale: Stale::default(),
            lists: [0; Kind::ALL.len()],
            listed: [false; Kind::ALL.len()],
            current: true,
        }
    }

    /// The operator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
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
    /// that comes or goes.
    pub fn apply_all(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<NameChange> {
        let touched = self.take_events(events);
        let mut changes = Vec::new();
        self.settle(touched, Some(&mut changes));
        changes
    }

    /// Applies events that belong together, for an index of which nobody follows the changes
    /// yet. Making the changes of a cluster's first lists takes as long as reading them.
    pub fn absorb(&mut self, events: impl IntoIterator<Item = Event>) {
        let touched = self.take_events(events);
        self.settle(touched, None);
        self.stale = Stale::default();
    }

    fn take_events(&mut self, events: impl IntoIterator<Item = Event>) -> Touched {
        let mut touched = Touched::default();
        for event in events {
            match event {
                Event::Apply(Object::Namespace(namespace)) => {
                    let list = Some(self.lists[Kind::Namespace as usize]);
                    self.put_namespace(&namespace.name, list, &mut touched);
                }
                Event::Apply(Object::Service(service)) => self.put_service(service, &mut touched),
                Event::Apply(Object::EndpointSlice(slice)) => self.put_slice(slice, &mut touched),
                Event::Apply(Object::Pod(pod)) => self.put_pod(pod, &mut touched),
                Event::Delete(reference) => self.remove(&reference, &mut touched),
                Event::Restart(kind) => self.lists[kind as usize] += 1,
                Event::Restarted(kind) => {
                    self.listed[kind as usize] = true;
                    for reference in self.unlisted(kind) {
                        self.remove(&reference, &mut touched);
                    }
                }
            }
        }
        touched
    }

    /// Brings all touched Services up to date, and appends the changes of all touched
    /// namespaces, Services and pods, if somebody wants them.
    fn settle(&mut self, touched: Touched, mut changes: Option<&mut Vec<NameChange>>) {
        let Touched {
            services,
            slices,
            namespaces,
            pods,
        } = touched;
        let mut gone = Vec::new();
        if let Some(changes) = changes.as_deref_mut() {
            self.namespace_changes(&namespaces, changes, &mut gone);
        }
        for (number, before) in services {
            let entry = &mut self.services[number];
            if slices.contains(&number) {
                let endpoints = entry.state.endpoints.replaced(&entry.slices);
                entry.state.endpoints = Arc::new(endpoints);
            }
            let entry = &self.services[number];
            if let Some(changes) = changes.as_deref_mut() {
                let (naming, scope) = (entry.naming(self.name_max), self.settings.endpoints);
                service::changes(&before, &entry.state, naming, scope, changes);
            }
            self.settle_reverse(number, &before, slices.contains(&number));
            self.release_service(number);
        }
        if let Some(changes) = changes {
            self.pod_changes(pods, changes, &mut gone);
            changes.append(&mut gone);
        }
        for name in namespaces.keys() {
            let entry = self.namespaces.get(name);
            if entry.is_some_and(NamespaceEntry::is_empty) {
                self.namespaces.remove(name);
            }
        }
    }

    /// The changes of namespaces, of which is known whether they existed before.
    fn namespace_changes(
        &self,
        namespaces: &BTreeMap<Box<str>, bool>,
        changes: &mut Vec<NameChange>,
        gone: &mut Vec<NameChange>,
    ) {
        for (name, before) in namespaces {
            let now = entry_exists(&self.namespaces, name);
            let name = RelativeName::from_labels([&**name]);
            if let Some(name) = name.filter(|_| *before != now) {
                let data = now.then(namespace_data);
                let list = if now { &mut *changes } else { &mut *gone };
                list.push(NameChange { name, data });
            }
        }
    }

    /// The changes of pods' addresses, of which is known how many pods had them before.
    fn pod_changes(
        &self,
        pods: BTreeMap<(Box<str>, IpAddr), u32>,
        changes: &mut Vec<NameChange>,
        gone: &mut Vec<NameChange>,
    ) {
        for ((namespace, address), before) in pods {
            let before = pod_data(address, before);
            let now = pod_data(address, self.pods(&namespace, address));
            if before != now
                && let Some(name) = self.pod_name(&namespace, address)
            {
                let list = if now.is_some() {
                    &mut *changes
                } else {
                    &mut *gone
                };
                list.push(NameChange { name, data: now });
            }
        }
    }

    fn address_entry(&self, address: IpAddr, service: u32) -> AddressEntry {
        AddressEntry {
            hash: self.hasher.hash_one(address) as u32,
            service,
        }
    }

    /// Forgets a Service that has neither object nor slices.
    fn release_service(&mut self, number: usize) {
        let entry = &self.services[number];
        if entry.state.service.is_some() || !entry.slices.is_empty() {
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
