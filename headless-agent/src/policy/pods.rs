//! The modes of the node's pods.
//!
//! The first of these decides: the annotation of the pod, the annotation of its namespace, the
//! first selector of the operator that chooses the pod, the mode of the node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Mode;
use super::listed::{List, Listed};
use super::network::{self, Dns};
use super::policies::Policies;
use crate::selector::Selector;
use crate::watch::network::DnsService;
use crate::watch::node::{MODE_ANNOTATION, NodeEvent, NodeNamespace, NodeObject, NodePod};
use crate::watch::{Excerpt, Kind, ObjectRef, Printable, ServiceRef};

/// Most problems of objects that are kept. The others are counted.
const PROBLEMS_KEPT: usize = 20;

/// The operator's choices.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The mode of pods of which nothing else says so.
    pub node: Mode,
    /// Modes of pods by their labels. The first selector that chooses a pod decides.
    pub selectors: Vec<(Mode, Selector)>,
    /// The Service of the cluster's DNS, where pods whose `NetworkPolicies` do not allow questions
    /// to it are left to the node's stack.
    pub respect_policies_about: Option<ServiceRef>,
}

impl Rules {
    /// The mode of an interface whose pod is not known. It may be a pod that policies restrict.
    pub fn fallback(&self) -> Mode {
        if self.respect_policies_about.is_some() {
            Mode::Off
        } else {
            self.node
        }
    }
}

/// Why a pod, or an interface, has its mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The mode of the node (`--mode`).
    #[default]
    Node,
    /// The annotation of the pod.
    PodAnnotation,
    /// The annotation of the pod's namespace.
    NamespaceAnnotation,
    /// A selector of the operator (`--mode-selector`).
    Selector,
    /// `NetworkPolicies` do not allow the pod to ask the cluster's DNS, or that is not known.
    NetworkPolicy,
    /// The pod is not known, and `NetworkPolicies` may be about it.
    UnknownPod,
    /// The interface is new, and may be that of a pod whose mode is not the node's.
    NewInterface,
    /// The interface is that of several pods, and the strictest of their modes holds.
    SeveralPods,
}

impl Cause {
    /// The cause in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Node => "--mode",
            Self::PodAnnotation => "annotation of the pod",
            Self::NamespaceAnnotation => "annotation of the namespace",
            Self::Selector => "--mode-selector",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::UnknownPod => "NetworkPolicy of an unknown pod",
            Self::NewInterface => "new, its pod is not known yet",
            Self::SeveralPods => "several pods, the strictest mode holds",
        }
    }
}

/// A pod with its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedPod {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// The mode of the pod.
    pub mode: Mode,
    /// Why the pod has this mode.
    pub cause: Cause,
    /// Its addresses; none as long as its interface has none.
    pub addresses: Box<[IpAddr]>,
}

/// The modes of all pods of the node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the pods are known, or none are watched. The first programs wait for this for a
    /// limited time.
    pub settled: bool,
    /// Whether pods are watched.
    pub watched: bool,
    /// The mode of an interface whose pod is not known.
    pub fallback: Mode,
    /// Whether `NetworkPolicies` are respected.
    pub respects_policies: bool,
    /// The pods with interfaces of their own.
    pub pods: Vec<DecidedPod>,
    /// Problems, each in a sentence.
    pub problems: Vec<String>,
    /// Resources of the API that make policy by names of DNS, such as `ciliumnetworkpolicies`.
    /// If the API has one, names outside of the cluster belong to the CNI's DNS proxy.
    pub dns_policies: Vec<String>,
}

impl Decision {
    /// The decision where no pods are watched.
    pub fn unwatched(rules: &Rules) -> Self {
        Self {
            settled: true,
            fallback: rules.fallback(),
            respects_policies: rules.respect_policies_about.is_some(),
            ..Self::default()
        }
    }
}

/// The objects from which the modes follow.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    rules: Rules,
    pods: Listed<NodePod>,
    /// Namespaces with an annotation.
    namespaces: Listed<NodeNamespace>,
    policies: Policies,
    /// The Service of the cluster's DNS.
    service: Listed<DnsService>,
    /// The addresses of the Service and its pods.
    addresses: Vec<IpAddr>,
    /// Objects that cannot be read.
    unreadable: BTreeMap<Kind, Listed<String>>,
}

impl Objects {
    /// No objects.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Takes a change.
    pub fn take(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Apply(reference, object, problems) => {
                let problem = problems.kept().first().map(ToString::to_string);
                let unreadable = self.unreadable.entry(reference.kind).or_default();
                unreadable.put(reference.clone(), problem);
                self.put(reference, object);
            }
            NodeEvent::Delete(reference) => {
                let unreadable = self.unreadable.entry(reference.kind).or_default();
                unreadable.delete(&reference);
                self.put(reference, None);
            }
            NodeEvent::Restart(kind) => self.lists(kind).for_each(List::restart),
            NodeEvent::Restarted(kind) => self.lists(kind).for_each(List::restarted),
        }
    }

    /// The objects of a kind, and the objects of this kind that cannot be read.
    fn lists(&mut self, kind: Kind) -> impl Iterator<Item = &mut dyn List> {
        let objects: Option<&mut dyn List> = match kind {
            Kind::Pod => Some(&mut self.pods),
            Kind::Namespace => Some(&mut self.namespaces),
            Kind::NetworkPolicy => Some(&mut self.policies),
            Kind::Service => Some(&mut self.service),
            Kind::EndpointSlice | Kind::ConfigMap => None,
        };
        let unreadable: &mut dyn List = self.unreadable.entry(kind).or_default();
        objects.into_iter().chain([unreadable])
    }

    fn put(&mut self, reference: ObjectRef, object: Option<NodeObject>) {
        match (reference.kind, object) {
            (_, Some(NodeObject::Pod(pod))) => self.pods.put(reference, Some(pod)),
            (_, Some(NodeObject::Namespace(namespace))) => {
                let is_kept = namespace.mode.is_some() || namespace.labels.is_some();
                self.namespaces.put(reference, is_kept.then_some(namespace));
            }
            (_, Some(NodeObject::NetworkPolicy(policy))) => {
                let is_kept = policy.egress.is_some();
                self.policies.put(reference, is_kept.then_some(policy));
            }
            (_, Some(NodeObject::DnsService(service))) => {
                self.service.put(reference, Some(service));
            }
            (Kind::NetworkPolicy, None) => self.policies.delete(&reference),
            (Kind::Service, None) => self.service.delete(&reference),
            (Kind::Namespace, None) => self.namespaces.delete(&reference),
            (_, None) => self.pods.delete(&reference),
        }
    }

    /// Whether all objects have been read once.
    fn is_complete(&self) -> bool {
        let respects = self.rules.respect_policies_about.is_some();
        self.pods.is_complete()
            && self.namespaces.is_complete()
            && (!respects || self.knows_policies())
    }

    fn knows_policies(&self) -> bool {
        self.policies.is_complete() && self.service.is_complete()
    }

    /// Sets the addresses of the cluster's DNS: its Service's and its pods'.
    pub fn set_dns_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.addresses = addresses;
    }

    /// The cluster's DNS, if its `NetworkPolicies` are respected and known.
    fn dns(&self) -> Option<Dns> {
        let about = self.rules.respect_policies_about.as_ref()?;
        if !self.knows_policies() {
            return Some(Dns::default());
        }
        let namespace = namespace_ref(&about.namespace);
        let namespace = self.namespaces.get(&namespace);
        let service = self.service.iter().next().map(|(_, service)| service);
        Some(Dns {
            namespace: about.namespace.as_str().into(),
            namespace_labels: namespace.and_then(|it| it.labels.clone()),
            labels: service.and_then(|it| it.labels.clone()),
            ports: service.map(|it| it.ports.clone()).unwrap_or_default(),
            addresses: self.addresses.clone(),
        })
    }

    /// Whether policies let the pod ask the cluster's DNS.
    fn may_ask(&self, reference: &ObjectRef, pod: &NodePod, dns: Option<&Dns>) -> bool {
        let Some(dns) = dns else {
            return true;
        };
        let namespace = &*reference.namespace;
        let policies = self.policies.evaluated(namespace);
        let labels = pod.labels.as_ref();
        let allow = |policies| network::allows(policies, namespace, labels, dns);
        self.knows_policies() && policies.is_some_and(allow)
    }

    /// Why policies of namespaces that have pods on this node do not count.
    fn uncounted_policies(&self) -> impl Iterator<Item = String> {
        let mut namespaces: Vec<_> = self.pods.iter().map(|(it, _)| &it.namespace).collect();
        namespaces.dedup();
        let problems = namespaces.into_iter();
        problems.filter_map(|namespace| self.policies.problem(namespace))
    }

    /// The modes at this moment.
    pub fn decide(&self) -> Decision {
        let mut problems = Problems::default();
        let dns = self.dns();
        let pods = self.pods.iter().filter(|(_, pod)| pod.has_interface);
        let pods = pods.map(|(reference, pod)| {
            let (mut mode, mut cause) = self.mode_of(reference, pod, &mut problems);
            if mode != Mode::Off && !self.may_ask(reference, pod, dns.as_ref()) {
                (mode, cause) = (Mode::Off, Cause::NetworkPolicy);
            }
            DecidedPod {
                pod: format!("{}/{}", reference.namespace, reference.name),
                mode,
                cause,
                addresses: pod.addresses.clone(),
            }
        });
        let pods = pods.collect();
        for (reference, namespace) in self.namespaces.iter() {
            annotated(reference, namespace.mode.as_ref(), &mut problems);
        }
        let unreadable = self.unreadable.values();
        for (reference, problem) in unreadable.flat_map(Listed::iter) {
            let holds = if reference.kind == Kind::NetworkPolicy {
                Mode::Off
            } else {
                self.rules.node
            };
            problems.add(|| format!("{problem}; the mode {holds} holds"));
        }
        for problem in self.uncounted_policies() {
            problems.add(|| problem);
        }
        Decision {
            settled: self.is_complete(),
            watched: true,
            fallback: self.rules.fallback(),
            respects_policies: dns.is_some(),
            pods,
            problems: problems.lines(),
            dns_policies: Vec::new(),
        }
    }

    fn mode_of(
        &self,
        reference: &ObjectRef,
        pod: &NodePod,
        problems: &mut Problems,
    ) -> (Mode, Cause) {
        if let Some(mode) = annotated(reference, pod.mode.as_ref(), problems) {
            return (mode, Cause::PodAnnotation);
        }
        let namespace = self.namespaces.get(&namespace_ref(&reference.namespace));
        let mode = namespace.and_then(|namespace| mode(namespace.mode.as_ref()));
        if let Some(mode) = mode {
            return (mode, Cause::NamespaceAnnotation);
        }
        let Rules {
            node, selectors, ..
        } = &self.rules;
        let Some(labels) = &pod.labels else {
            if !selectors.is_empty() {
                let text = "its labels are too long for --mode-selector";
                problems.add(|| format!("{reference}: {text}; the mode {node} holds"));
            }
            return (*node, Cause::Node);
        };
        let chosen = selectors.iter().find(|(_, it)| it.matches(labels));
        chosen.map_or((*node, Cause::Node), |(mode, _)| (*mode, Cause::Selector))
    }
}

fn namespace_ref(name: &str) -> ObjectRef {
    ObjectRef {
        kind: Kind::Namespace,
        namespace: "".into(),
        name: name.into(),
    }
}

/// The mode that an annotation names, if it names one.
fn mode(annotation: Option<&Excerpt>) -> Option<Mode> {
    annotation.and_then(|text| text.to_string().parse().ok())
}

/// The mode that an object's annotation names. An annotation that names none is a problem.
fn annotated(
    reference: &ObjectRef,
    annotation: Option<&Excerpt>,
    problems: &mut Problems,
) -> Option<Mode> {
    let found = mode(annotation);
    if let (Some(text), None) = (annotation, found) {
        problems.add(|| {
            let (reference, text) = (Printable(reference), Printable(text));
            format!(
                "{reference}: annotation {MODE_ANNOTATION}: `{text}` is none of on, observe, off, \
                 and is ignored"
            )
        });
    }
    found
}

/// The first problems, and the number of the others.
#[derive(Default)]
struct Problems {
    kept: Vec<String>,
    others: usize,
}

impl Problems {
    fn add(&mut self, problem: impl FnOnce() -> String) {
        if self.kept.len() < PROBLEMS_KEPT {
            self.kept.push(problem());
        } else {
            self.others += 1;
        }
    }

    fn lines(mut self) -> Vec<String> {
        if self.others > 0 {
            let line = format!("{} more pods and namespaces with problems", self.others);
            self.kept.push(line);
        }
        self.kept
    }
}

#[cfg(test)]
mod tests;
