//! Whether `NetworkPolicies` allow a pod to ask the cluster's DNS, by the semantics of the API
//! (<https://kubernetes.io/docs/concepts/services-networking/network-policies/>).
//!
//! A packet to the cluster's DNS is allowed if no policy that selects the pod is about egress, or
//! if one of these policies has a rule for its port and its destination. Where that cannot be
//! told, it does not count as allowed:
//!
//! - Of the DNS pods only the labels of their Service's selector are known. A selector of pods
//!   must choose every pod with these labels.
//! - Whether a CNI compares the Service's address or the pod's is up to the CNI. A block of
//!   addresses must have both.
//! - The port is the port of the DNS pods. A number does not tell whether it is the port of this
//!   name.

use std::net::IpAddr;

use crate::selector::Labels;
use crate::watch::network::{Block, EgressRule, NetworkPolicy, Peer, PortRule, TargetPort};

/// The cluster's DNS, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dns {
    /// The namespace of its Service and pods.
    pub(super) namespace: Box<str>,
    /// All labels of that namespace.
    pub(super) namespace_labels: Option<Labels>,
    /// Labels that its pods have, and perhaps others.
    pub(super) labels: Option<Labels>,
    /// The ports of its pods for questions over UDP.
    pub(super) ports: Box<[TargetPort]>,
    /// The addresses of its Service and its pods.
    pub(super) addresses: Vec<IpAddr>,
}

/// Whether a pod may ask the cluster's DNS. `policies` are those of the pod's namespace, `labels`
/// the pod's labels; `None` where they are not known.
pub(super) fn allows<'a>(
    policies: impl Iterator<Item = &'a NetworkPolicy> + Clone,
    namespace: &str,
    labels: Option<&Labels>,
    dns: &Dns,
) -> bool {
    let mut egress = policies.filter(|policy| policy.egress.is_some());
    let Some(labels) = labels else {
        return egress.next().is_none();
    };
    let selecting = egress.filter(|policy| policy.pods.matches(labels));
    if selecting.clone().next().is_none() {
        return true;
    }
    let rules = selecting.flat_map(|policy| policy.egress.iter().flatten());
    let rules = rules.filter(|rule| has_ports(rule, dns));
    let reaches = |address: Option<IpAddr>| {
        rules
            .clone()
            .any(|rule| has_destination(rule, namespace, address, dns))
    };
    if dns.addresses.is_empty() {
        return reaches(None);
    }
    dns.addresses.iter().all(|address| reaches(Some(*address)))
}

/// Whether a rule is about every port of the DNS pods.
fn has_ports(rule: &EgressRule, dns: &Dns) -> bool {
    let Some(ports) = &rule.ports else {
        return true;
    };
    if ports.contains(&PortRule::All) {
        return true;
    }
    let has = |port: &TargetPort| {
        ports.iter().any(|rule| match (rule, port) {
            (PortRule::All, _) => true,
            (PortRule::Range(first, last), TargetPort::Number(number)) => {
                (first..=last).contains(&number)
            }
            (PortRule::Range(first, last), TargetPort::Name(_)) => (*first, *last) == (1, u16::MAX),
            (PortRule::Name(name), TargetPort::Name(other)) => name == other,
            (PortRule::Name(_), TargetPort::Number(_)) => false,
        })
    };
    !dns.ports.is_empty() && dns.ports.iter().all(has)
}

/// Whether a rule is about packets to this address of the cluster's DNS.
fn has_destination(rule: &EgressRule, namespace: &str, address: Option<IpAddr>, dns: &Dns) -> bool {
    let Some(peers) = &rule.peers else {
        return true;
    };
    peers.iter().any(|peer| match peer {
        Peer::Block(block) => address.is_some_and(|address| contains(block, address)),
        Peer::Pods { namespaces, pods } => {
            let in_namespace = match namespaces {
                None => *dns.namespace == *namespace,
                Some(selector) => {
                    let labels = dns.namespace_labels.as_ref();
                    labels.is_some_and(|labels| selector.matches(labels))
                }
            };
            let labels = dns.labels.as_ref();
            in_namespace && labels.is_some_and(|labels| pods.matches_all_with(labels))
        }
        Peer::Unknown => false,
    })
}

fn contains(block: &Block, address: IpAddr) -> bool {
    let excepted = block.except.iter().any(|network| network.contains(address));
    block.network.contains(address) && !excepted
}

#[cfg(test)]
mod tests;
