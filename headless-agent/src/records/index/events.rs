//! The effect of each kind of event on the index.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Index, PodEntry, ServiceEntry, ServiceState, SliceEntry, Touched, entry_exists};
use crate::watch::{EndpointSlice, Kind, ObjectRef, Pod, Service};

impl Index {
    /// Keeps the state that the Service had before this batch, unless it is kept already.
    pub(super) fn touch(&self, service: usize, touched: &mut Touched) {
        let state = || self.services[service].state.clone();
        touched.services.entry(service).or_insert_with(state);
    }

    /// The number of the Service. A Service that the index does not have gets a new entry.
    pub(super) fn service_number(
        &mut self,
        namespace: &str,
        name: &str,
        touched: &mut Touched,
    ) -> usize {
        let entry = self.namespaces.entry(namespace.into()).or_default();
        if let Some(number) = entry.services.get(name) {
            return *number;
        }
        let name = Arc::<str>::from(name);
        // The Services of a namespace share the memory of its name.
        let sibling = entry.services.values().next();
        let namespace = sibling.map_or_else(
            || Arc::from(namespace),
            |sibling| Arc::clone(&self.services[*sibling].namespace),
        );
        let number = self.services.insert(ServiceEntry {
            namespace,
            name: Arc::clone(&name),
            list: 0,
            state: ServiceState {
                exposed: entry.list.is_some(),
                ..ServiceState::default()
            },
            slices: Vec::new(),
        });
        entry.services.insert(name, number);
        self.touch(number, touched);
        number
    }

    pub(super) fn put_namespace(&mut self, name: &str, list: Option<u32>, touched: &mut Touched) {
        let entry = self.namespaces.entry(name.into()).or_default();
        let (before, now) = (entry.list.is_some(), list.is_some());
        entry.list = list;
        touched.namespaces.entry(name.into()).or_insert(before);
        if before == now {
            return;
        }
        self.revision += 1;
        let services: Vec<_> = entry.services.values().copied().collect();
        for service in services {
            self.touch(service, touched);
            self.services[service].state.exposed = now;
        }
    }

    pub(super) fn put_service(&mut self, service: Service, touched: &mut Touched) {
        let number = self.service_number(&service.namespace, &service.name, touched);
        self.services[number].list = self.lists[Kind::Service as usize];
        if self.services[number].state.service.as_deref() == Some(&service) {
            return;
        }
        self.revision += 1;
        self.touch(number, touched);
        self.services[number].state.service = Some(Arc::new(service));
    }

    pub(super) fn put_slice(&mut self, slice: EndpointSlice, touched: &mut Touched) {
        let list = self.lists[Kind::EndpointSlice as usize];
        let owner = (!slice.service.is_empty())
            .then(|| self.service_number(&slice.namespace, &slice.service, touched));
        let namespace = self.namespaces.entry(slice.namespace.clone()).or_default();
        let place = SliceEntry {
            list,
            service: owner,
        };
        let before = namespace.slices.insert(slice.name.clone(), place);
        let before = before.and_then(|before| before.service);
        if let Some(before) = before.filter(|before| Some(*before) != owner) {
            self.take_slice(before, &slice.name, touched);
        }
        let Some(owner) = owner else { return };
        let slices = &self.services[owner].slices;
        let found = slices.binary_search_by(|other| other.name.cmp(&slice.name));
        if found.is_ok_and(|at| *slices[at] == slice) {
            return;
        }
        self.revision += 1;
        self.touch(owner, touched);
        touched.slices.insert(owner);
        let slices = &mut self.services[owner].slices;
        match found {
            Ok(at) => slices[at] = Arc::new(slice),
            Err(at) => {
                // Most Services have one slice, and lists have room for four.
                slices.reserve_exact(1);
                slices.insert(at, Arc::new(slice));
            }
        }
    }

    /// Removes a slice from its Service.
    fn take_slice(&mut self, service: usize, name: &str, touched: &mut Touched) {
        self.revision += 1;
        self.touch(service, touched);
        touched.slices.insert(service);
        let slices = &mut self.services[service].slices;
        slices.retain(|slice| *slice.name != *name);
        slices.shrink_to_fit();
    }

    pub(super) fn put_pod(&mut self, pod: Pod, touched: &mut Touched) {
        let name = pod.namespace.clone();
        let list = self.lists[Kind::Pod as usize];
        let namespace = self.namespaces.entry(pod.namespace).or_default();
        let address = pod.address;
        let entry = PodEntry { list, address };
        let before = namespace.pods.insert(pod.name, entry);
        let before = before.and_then(|before| before.address);
        if before == address {
            return;
        }
        self.revision += 1;
        for address in before.into_iter().chain(address) {
            let count = namespace.pod_addresses.get(&address).copied();
            let key = (name.clone(), address);
            touched.pods.entry(key).or_insert(count.unwrap_or_default());
        }
        if let Some(before) = before {
            release(&mut namespace.pod_addresses, before);
        }
        if let Some(address) = address {
            *namespace.pod_addresses.entry(address).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, reference: &ObjectRef, touched: &mut Touched) {
        let ObjectRef {
            kind,
            namespace,
            name,
        } = reference;
        if *kind == Kind::Namespace {
            return self.put_namespace(name, None, touched);
        }
        let Some(entry) = self.namespaces.get_mut(namespace) else {
            return;
        };
        match kind {
            Kind::Namespace => {}
            Kind::Service => {
                let number = entry.services.get(&**name).copied();
                let number = number.filter(|at| self.services[*at].state.service.is_some());
                if let Some(number) = number {
                    self.revision += 1;
                    self.touch(number, touched);
                    self.services[number].state.service = None;
                }
            }
            Kind::EndpointSlice => {
                let before = entry.slices.remove(name);
                if let Some(service) = before.and_then(|before| before.service) {
                    self.take_slice(service, name, touched);
                }
            }
            Kind::Pod => {
                if let Some(address) = entry.pods.remove(name).and_then(|pod| pod.address) {
                    let count = entry.pod_addresses.get(&address).copied();
                    let key = (namespace.clone(), address);
                    touched.pods.entry(key).or_insert(count.unwrap_or_default());
                    release(&mut entry.pod_addresses, address);
                    self.revision += 1;
                }
            }
        }
        touched
            .namespaces
            .entry(namespace.clone())
            .or_insert(entry_exists(&self.namespaces, namespace));
    }

    /// The objects of a kind that its last list did not have.
    pub(super) fn unlisted(&self, kind: Kind) -> Vec<ObjectRef> {
        let current = self.lists[kind as usize];
        let mut gone = Vec::new();
        for (namespace, entry) in &self.namespaces {
            let mut put = |namespace: &str, name: &str, list: u32| {
                if list != current {
                    gone.push(ObjectRef {
                        kind,
                        namespace: namespace.into(),
                        name: name.into(),
                    });
                }
            };
            match kind {
                Kind::Namespace => {
                    if let Some(list) = entry.list {
                        put("", namespace, list);
                    }
                }
                Kind::Service => {
                    for (name, number) in &entry.services {
                        put(namespace, name, self.services[*number].list);
                    }
                }
                Kind::EndpointSlice => {
                    for (name, slice) in &entry.slices {
                        put(namespace, name, slice.list);
                    }
                }
                Kind::Pod => {
                    for (name, pod) in &entry.pods {
                        put(namespace, name, pod.list);
                    }
                }
            }
        }
        gone
    }
}

/// Takes one from the number of pods with this address.
fn release(addresses: &mut HashMap<IpAddr, u32>, address: IpAddr) {
    if let Some(count) = addresses.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            addresses.remove(&address);
        }
    }
}
