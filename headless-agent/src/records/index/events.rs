//! The effect of each kind of event on the index.

use std::sync::Arc;

use super::pending::{Dirty, Ending, Following};
use super::slices::Slices;
use super::{Index, ServiceEntry, ServiceState, SliceEntry, entry_exists};
use crate::watch::{
    EndpointSlice, Event, Kind, Object, ObjectRef, Service, ServiceKind, ServiceRef, SliceEndpoints,
};

impl Index {
    /// Takes in events until they end, or until [`Self::work`] has grown by `budget`. Names
    /// change with [`Self::settle`]. Returns whether something is left: further events,
    /// objects that a list which has ended did not have, or Services of a Namespace.
    pub fn take(&mut self, events: &mut impl Iterator<Item = Event>, budget: usize) -> bool {
        let end = self.work.saturating_add(budget);
        while self.work < end {
            self.work += 1;
            if let Some(reference) = self.pending.removed.pop() {
                self.remove(&reference);
            } else if let Some(service) = self.pending.exposed.pop() {
                if self.services.contains(service) {
                    self.touch(service, Dirty::Object);
                }
            } else if self.pending.ending.is_some() {
                self.end_list();
            } else if let Some(event) = events.next() {
                self.take_event(event);
            } else {
                return false;
            }
        }
        true
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Apply(object) if !self.selects(&object) => self.put_unselected(&object),
            Event::Apply(object) => {
                if !self.unselected.is_empty() {
                    self.unselected.remove(&object.reference());
                }
                self.put(object);
            }
            Event::Delete(reference) => self.remove(&reference),
            Event::Restart(kind) => self.lists[kind as usize] += 1,
            Event::Restarted(kind) => {
                let namespaces: Vec<_> = self.namespaces.keys().cloned().collect();
                self.work += namespaces.len();
                self.unselected.end_list(kind, self.lists[kind as usize]);
                self.pending.ending = Some(Ending { kind, namespaces });
            }
        }
    }

    /// Whether CoreDNS has the object.
    fn selects(&self, object: &Object) -> bool {
        match object {
            Object::Namespace(namespace) => {
                self.settings.exposure.namespaces.may_have(&namespace.name)
            }
            Object::Service(service) => service.selected,
            Object::EndpointSlice(slice) => slice.selected && !self.settings.exposure.no_endpoints,
            Object::Pod(pod) => self.settings.exposure.namespaces.may_have(&pod.namespace),
        }
    }

    /// Takes in an object that is not selected. Nothing but its addresses stays, and only if it
    /// belongs to the cluster's DNS.
    fn put_unselected(&mut self, object: &Object) {
        let reference = object.reference();
        let ServiceRef { namespace, name } = &self.settings.dns_service;
        let is_dns = |of: &str, service: &str| (of, service) == (&**namespace, &**name);
        let addresses = match object {
            Object::Service(Service {
                namespace,
                name,
                kind: ServiceKind::ClusterIp(addresses),
                ..
            }) if is_dns(namespace, name) => addresses.clone(),
            Object::EndpointSlice(EndpointSlice {
                namespace,
                service,
                endpoints,
                ..
            }) if is_dns(namespace, service) => {
                endpoints.iter().map(|endpoint| endpoint.address).collect()
            }
            _ => Box::default(),
        };
        let is_kept = !addresses.is_empty();
        // An earlier version may have been selected.
        self.remove(&reference);
        if is_kept {
            let list = self.lists[reference.kind as usize];
            self.unselected.insert(reference, list, addresses);
        }
    }

    fn put(&mut self, object: Object) {
        match object {
            Object::Namespace(namespace) => {
                let list = Some(self.lists[Kind::Namespace as usize]);
                self.put_namespace(&namespace.name, list);
            }
            Object::Service(service) => self.put_service(service),
            Object::EndpointSlice(slice) => self.put_slice(slice),
            Object::Pod(pod) => self.put_pod(pod),
        }
    }

    /// Looks into the next namespace for objects that the list which has ended did not have.
    fn end_list(&mut self) {
        let Some(Ending { kind, namespaces }) = &mut self.pending.ending else {
            return;
        };
        let kind = *kind;
        if let Some(namespace) = namespaces.pop() {
            let gone = self.unlisted(kind, &namespace);
            self.pending.removed.extend(gone);
        } else {
            self.pending.follow(Following::Listed(kind));
            self.pending.ending = None;
        }
    }

    /// Notes that a part of the Service has changed.
    fn touch(&mut self, service: usize, dirty: Dirty) {
        let entry = &mut self.services[service];
        if entry.dirty == Dirty::Nothing {
            self.pending.services.push(service as u32);
        }
        entry.dirty = entry.dirty.max(dirty);
    }

    /// The number of the Service. A Service that the index does not have gets a new entry.
    fn service_number(&mut self, namespace: &str, name: &str) -> usize {
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
            dirty: Dirty::Nothing,
            object: None,
            slices: Slices::default(),
            state: ServiceState::default(),
        });
        entry.services.insert(name, number);
        self.touch(number, Dirty::Object);
        number
    }

    fn put_namespace(&mut self, name: &str, list: Option<u32>) {
        let (before, now) = (self.namespace_exists(name), list.is_some());
        if before != now {
            self.visit_pods_of(name);
        }
        let entry = self.namespaces.entry(name.into()).or_default();
        entry.list = list;
        self.visit_namespace(name, before);
        if before == now {
            return;
        }
        self.revision += 1;
        if let Some(entry) = self.namespaces.get(name) {
            self.pending.exposed.extend(entry.services.values());
        }
    }

    /// Notes whether a Namespace existed, unless it is noted already.
    fn visit_namespace(&mut self, name: &str, before: bool) {
        if !self.pending.namespaces.contains_key(name) {
            self.pending.namespaces.insert(name.into(), before);
        }
    }

    fn put_service(&mut self, service: Service) {
        let number = self.service_number(&service.namespace, &service.name);
        self.work += service.ports.len();
        self.services[number].list = self.lists[Kind::Service as usize];
        if self.services[number].object.as_deref() == Some(&service) {
            return;
        }
        self.revision += 1;
        self.touch(number, Dirty::Object);
        self.services[number].object = Some(Arc::new(service));
    }

    fn put_slice(&mut self, slice: EndpointSlice) {
        self.work += slice.entries();
        let list = self.lists[Kind::EndpointSlice as usize];
        let owner = (!slice.service.is_empty())
            .then(|| self.service_number(&slice.namespace, &slice.service));
        let namespace = self.namespaces.entry(slice.namespace.clone()).or_default();
        let place = SliceEntry {
            list,
            service: owner,
        };
        let before = namespace.slices.insert(slice.name.clone(), place);
        let before = before.and_then(|before| before.service);
        if let Some(before) = before.filter(|before| Some(*before) != owner) {
            self.take_slice(before, &slice.name);
        }
        let Some(owner) = owner else { return };
        let slices = &self.services[owner].slices;
        if slices.get(&slice.name).is_some_and(|same| **same == slice) {
            return;
        }
        let (slice, hidden) = if self.has_room(owner, &slice) {
            (Arc::new(slice), None)
        } else {
            let entries = slice.entries();
            (Arc::new(emptied(slice)), Some(entries))
        };
        let before = self.change_slices(owner, |slices| {
            let before = slices.put(Arc::clone(&slice));
            if let Some(entries) = hidden {
                slices.hide(&slice.name, entries - slice.entries());
            }
            before
        });
        let slices = &self.services[owner].slices;
        let outgrown = slices.entries() > self.entries_max && slices.counted().is_none();
        self.revision += 1;
        self.touch(owner, Dirty::Slices);
        if outgrown {
            self.count_slices(owner);
        } else {
            self.recount(owner, before.as_deref(), Some(&slice));
        }
    }

    /// Removes a slice from its Service.
    fn take_slice(&mut self, service: usize, name: &str) {
        let removed = self.change_slices(service, |slices| slices.remove(name));
        let Some(slice) = removed else {
            return;
        };
        self.revision += 1;
        self.touch(service, Dirty::Slices);
        self.recount(service, Some(&slice), None);
    }

    fn remove(&mut self, reference: &ObjectRef) {
        self.unselected.remove(reference);
        let ObjectRef {
            kind,
            namespace,
            name,
        } = reference;
        if *kind == Kind::Namespace {
            return self.put_namespace(name, None);
        }
        let Some(entry) = self.namespaces.get_mut(namespace) else {
            return;
        };
        match kind {
            Kind::Namespace | Kind::NetworkPolicy | Kind::ConfigMap => {}
            Kind::Service => {
                let number = entry.services.get(&**name).copied();
                let number = number.filter(|at| self.services[*at].object.is_some());
                if let Some(number) = number {
                    self.revision += 1;
                    self.touch(number, Dirty::Object);
                    self.services[number].object = None;
                }
            }
            Kind::EndpointSlice => {
                let before = entry.slices.remove(name);
                if let Some(service) = before.and_then(|before| before.service) {
                    self.take_slice(service, name);
                }
            }
            Kind::Pod => self.remove_pod(namespace, name),
        }
        let exists = entry_exists(&self.namespaces, namespace);
        self.visit_namespace(namespace, exists);
    }

    /// The objects of a kind in this namespace that the kind's last list did not have.
    fn unlisted(&mut self, kind: Kind, namespace: &str) -> Vec<ObjectRef> {
        let current = self.lists[kind as usize];
        let Some(entry) = self.namespaces.get(namespace) else {
            return Vec::new();
        };
        let mut gone = Vec::new();
        let mut put = |namespace: &str, name: &str, list: u32| {
            self.work += 1;
            if list != current {
                gone.push(ObjectRef {
                    kind,
                    namespace: namespace.into(),
                    name: name.into(),
                });
            }
        };
        match kind {
            Kind::NetworkPolicy | Kind::ConfigMap => {}
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
        gone
    }
}

/// The slice without its entries: any may exist.
fn emptied(slice: EndpointSlice) -> EndpointSlice {
    EndpointSlice {
        ports: Box::default(),
        endpoints: SliceEndpoints::default(),
        aliases: Box::default(),
        partial: true,
        ..slice
    }
}
