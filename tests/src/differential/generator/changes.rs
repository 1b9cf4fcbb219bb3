//! Random changes of a cluster.

use headless_agent::watch::Kind;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Generator, choice, headless, namespace, percent, relabel, service};
use crate::differential::cluster::{Change, Cluster, Object};

impl Generator {
    /// Changes `count` random objects of a cluster. Returns the changes, which are applied
    /// already.
    pub fn changes(&mut self, cluster: &mut Cluster, count: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..count {
            let objects: Vec<Object> = cluster.objects().cloned().collect();
            let object = choice(&mut self.rng, &objects);
            for change in self.change(object, &objects) {
                cluster.apply(change.clone());
                changes.push(change);
            }
        }
        changes.extend(relabel(cluster));
        changes
    }

    fn change(&mut self, object: Object, objects: &[Object]) -> Vec<Change> {
        // CoreDNS finds its own Service by these objects, so they stay.
        if object.namespace() == "kube-system" && object.name().starts_with("kube-dns") {
            return Vec::new();
        }
        if object.kind() != Kind::EndpointSlice && percent(&mut self.rng, 30) {
            return vec![Change::Delete(object.key())];
        }
        match object {
            // A namespace that was deleted comes back, or a new one appears.
            Object::Namespace(_) => {
                let name = choice(&mut self.rng, &["ghost", "example", "com", "a", "new"]);
                vec![Change::Put(namespace(name))]
            }
            Object::Service(object) => {
                let (Some(name), Some(at)) = (object.metadata.name, object.metadata.namespace)
                else {
                    return Vec::new();
                };
                let ports = self.service_ports();
                let spec = if self.rng.bool() {
                    self.cluster_ip(ports)
                } else {
                    headless(ports)
                };
                vec![Change::Put(service(&at, &name, spec))]
            }
            Object::EndpointSlice(from) => self.moved(from, objects),
            Object::Pod(mut pod) => {
                if percent(&mut self.rng, 30) {
                    pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
                }
                if let Some(status) = &mut pod.status {
                    let phases = ["Running", "Succeeded", "Pending"];
                    status.phase = Some(choice(&mut self.rng, &phases).into());
                }
                vec![Change::Put(Object::Pod(pod))]
            }
        }
    }

    /// Changes the endpoints' conditions in a slice, or moves half of the endpoints to
    /// another slice of the same Service.
    fn moved(&mut self, mut from: EndpointSlice, objects: &[Object]) -> Vec<Change> {
        let same = |other: &EndpointSlice| {
            other.metadata.name != from.metadata.name
                && other.metadata.namespace == from.metadata.namespace
                && other.metadata.labels == from.metadata.labels
                && other.address_type == from.address_type
        };
        let other = objects.iter().find_map(|object| match object {
            Object::EndpointSlice(other) if same(other) => Some(other.clone()),
            _ => None,
        });
        let endpoints = from.endpoints.get_or_insert_default();
        if let Some(mut other) = other
            && self.rng.bool()
        {
            let half = endpoints.len() / 2;
            let moved = endpoints.split_off(half);
            other.endpoints.get_or_insert_default().extend(moved);
            return [other, from]
                .map(Object::EndpointSlice)
                .map(Change::Put)
                .into();
        }
        for endpoint in endpoints {
            if percent(&mut self.rng, 40) {
                self.touch(endpoint);
            }
        }
        vec![Change::Put(Object::EndpointSlice(from))]
    }
}
