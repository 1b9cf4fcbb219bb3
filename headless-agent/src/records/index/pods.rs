//! The pods of each namespace, whose names exist with `pods verified`.

use std::net::IpAddr;

use super::{Index, NamespaceEntry, PodEntry};
use crate::watch::{Kind, Pod};

impl NamespaceEntry {
    /// The addresses that have names of pods, each with the number of its pods. There is none
    /// without the Namespace object, as in CoreDNS (`findPods` in
    /// `plugin/kubernetes/kubernetes.go`). Such names would take room in the maps, and the writer
    /// would find no record of their namespace to say that some have left.
    pub(super) fn named_pods(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        let exists = self.list.is_some();
        let counts = self.pod_addresses.iter().filter(move |_| exists);
        counts.map(|(address, count)| (*address, *count))
    }

    /// Takes one from the number of pods with this address.
    fn release(&mut self, address: IpAddr) {
        if let Some(count) = self.pod_addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.pod_addresses.remove(&address);
            }
        }
    }
}

impl Index {
    /// Number of pods of the namespace that have this as their first address; 0 without the
    /// Namespace object.
    pub(in crate::records) fn pods(&self, namespace: &str, address: IpAddr) -> u32 {
        let namespace = self.namespaces.get(namespace);
        let count = namespace
            .filter(|entry| entry.list.is_some())
            .and_then(|entry| entry.pod_addresses.get(&address));
        count.copied().unwrap_or_default()
    }

    /// CoreDNS leaves out each state of a pod that is terminating (`errPodTerminating` in
    /// `plugin/kubernetes/object/informer.go`). So a pod that was there before stays as it was
    /// until it is gone, even over a relist, and one that was not there does not come.
    pub(super) fn put_pod(&mut self, pod: Pod) {
        if pod.terminating {
            return self.keep_pod(&pod);
        }
        let list = self.lists[Kind::Pod as usize];
        let Pod {
            namespace,
            name,
            address,
            ..
        } = pod;
        let entry = self.namespaces.entry(namespace.clone()).or_default();
        let before = entry.pods.insert(name, PodEntry { list, address });
        let before = before.and_then(|before| before.address);
        if before == address {
            return;
        }
        self.revision += 1;
        for address in before.into_iter().chain(address) {
            self.visit_pods(&namespace, address);
        }
        let entry = self.namespaces.entry(namespace).or_default();
        if let Some(before) = before {
            entry.release(before);
        }
        if let Some(address) = address {
            *entry.pod_addresses.entry(address).or_default() += 1;
        }
    }

    /// Takes notice that a pod is still in the list.
    fn keep_pod(&mut self, pod: &Pod) {
        let list = self.lists[Kind::Pod as usize];
        let namespace = self.namespaces.get_mut(&pod.namespace);
        if let Some(entry) = namespace.and_then(|of| of.pods.get_mut(&pod.name)) {
            entry.list = list;
        }
    }

    pub(super) fn remove_pod(&mut self, namespace: &str, name: &str) {
        let entry = self.namespaces.get_mut(namespace);
        let pod = entry.and_then(|entry| entry.pods.remove(name));
        let Some(address) = pod.and_then(|pod| pod.address) else {
            return;
        };
        self.revision += 1;
        self.visit_pods(namespace, address);
        if let Some(entry) = self.namespaces.get_mut(namespace) {
            entry.release(address);
        }
    }

    /// Notes the number of pods with this address before it changes, unless it is noted already.
    fn visit_pods(&mut self, namespace: &str, address: IpAddr) {
        let before = self.pods(namespace, address);
        let key = (namespace.into(), address);
        self.pending.pods.entry(key).or_insert(before);
    }

    /// [`Self::visit_pods`] for all addresses of a namespace, whose Namespace object is about to
    /// come or go.
    pub(super) fn visit_pods_of(&mut self, namespace: &str) {
        let entry = self.namespaces.get(namespace);
        let addresses = entry.into_iter().flat_map(|of| of.pod_addresses.keys());
        let addresses: Vec<_> = addresses.copied().collect();
        self.work += addresses.len();
        for address in addresses {
            self.visit_pods(namespace, address);
        }
    }
}
