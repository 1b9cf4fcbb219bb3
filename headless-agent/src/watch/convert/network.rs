//! The slim forms of `NetworkPolicies` and of the Service of the cluster's DNS.

use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::read::{ReadDnsService, ReadNetworkPolicy};
use crate::watch::network::{
    Block, DnsService, EgressRule, NetworkPolicy, PARTS_MAX, Peer, PortRule, TargetPort,
};
use crate::watch::selector::{Requirement, Selector, Test};

/// Port of DNS.
const DNS: i32 = 53;

/// The slim form of a policy. What cannot be read of it allows nothing, and selects every pod.
pub fn network_policy(object: &ReadNetworkPolicy) -> NetworkPolicy {
    let spec = &object.spec;
    let types = spec.policy_types.as_deref().unwrap_or_default();
    // The API server fills the types in: egress is among them if there are rules for it.
    let about_egress = if types.is_empty() {
        spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())
    } else {
        types.iter().any(|of| of == "Egress")
    };
    let rules = spec.egress.as_deref().unwrap_or_default();
    let parts = |rule: &NetworkPolicyEgressRule| {
        let ports = rule.ports.as_ref().map_or(0, Vec::len);
        let peers = rule.to.iter().flatten().map(|peer| {
            let block = peer.ip_block.as_ref();
            1 + block.and_then(|it| it.except.as_ref()).map_or(0, Vec::len)
        });
        1 + ports + peers.sum::<usize>()
    };
    let fits = rules.iter().map(parts).sum::<usize>() <= PARTS_MAX;
    let pods = match &spec.pod_selector {
        Some(pods) => selector(pods),
        None => Some(Selector::default()),
    };
    let kept = if fits && pods.is_some() { rules } else { &[] };
    NetworkPolicy {
        pods: pods.unwrap_or_default(),
        egress: about_egress.then(|| kept.iter().map(egress_rule).collect()),
    }
}

fn egress_rule(rule: &NetworkPolicyEgressRule) -> EgressRule {
    let ports = rule.ports.as_deref().unwrap_or_default();
    let peers = rule.to.as_deref().unwrap_or_default();
    EgressRule {
        ports: (!ports.is_empty()).then(|| ports.iter().filter_map(port_rule).collect()),
        peers: (!peers.is_empty()).then(|| peers.iter().map(peer).collect()),
    }
}

/// The ports of UDP that a part of a rule is about; `None` for another protocol and for what
/// cannot be read.
fn port_rule(port: &NetworkPolicyPort) -> Option<PortRule> {
    if port.protocol.as_deref() != Some("UDP") {
        return None;
    }
    let number = |number: i32| u16::try_from(number).ok();
    Some(match (&port.port, port.end_port) {
        (None, None) => PortRule::All,
        (Some(IntOrString::Int(first)), None) => PortRule::Range(number(*first)?, number(*first)?),
        (Some(IntOrString::Int(first)), Some(last)) => {
            PortRule::Range(number(*first)?, number(last)?)
        }
        (Some(IntOrString::String(name)), None) => PortRule::Name(name.as_str().into()),
        (_, Some(_)) => return None,
    })
}

fn peer(peer: &NetworkPolicyPeer) -> Peer {
    let NetworkPolicyPeer {
        ip_block,
        namespace_selector,
        pod_selector,
    } = peer;
    let read = || match (ip_block, namespace_selector, pod_selector) {
        (Some(block), None, None) => {
            let except = block.except.iter().flatten();
            Some(Peer::Block(Block {
                network: block.cidr.parse().ok()?,
                except: except.map(|it| it.parse().ok()).collect::<Option<_>>()?,
            }))
        }
        (None, None, None) | (Some(_), ..) => None,
        (None, namespaces, pods) => Some(Peer::Pods {
            namespaces: match namespaces {
                Some(namespaces) => Some(selector(namespaces)?),
                None => None,
            },
            pods: match pods {
                Some(pods) => selector(pods)?,
                None => Selector::default(),
            },
        }),
    };
    read().unwrap_or(Peer::Unknown)
}

/// A selector of the API; `None` for one with too many or unknown parts.
fn selector(selector: &LabelSelector) -> Option<Selector> {
    let labels = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    let values = expressions
        .iter()
        .map(|it| 1 + it.values.as_ref().map_or(0, Vec::len));
    if labels.clone().count() + values.sum::<usize>() > PARTS_MAX {
        return None;
    }
    let labels = labels.map(|(key, value)| {
        Some(Requirement {
            key: key.as_str().into(),
            test: Test::In([value.as_str().into()].into()),
        })
    });
    let expressions = expressions.iter().map(|it| {
        let values = it.values.iter().flatten();
        let values = values.map(|value| value.as_str().into()).collect();
        Some(Requirement {
            key: it.key.as_str().into(),
            test: match it.operator.as_str() {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Missing,
                _ => return None,
            },
        })
    });
    let requirements = labels.chain(expressions).collect::<Option<Vec<_>>>()?;
    Some(Selector::new(requirements))
}

/// The slim form of the Service of the cluster's DNS.
pub fn dns_service(object: &ReadDnsService) -> DnsService {
    let ports = object.spec.ports.iter().flatten();
    let ports = ports.filter(|port| port.port == DNS && port.protocol.as_deref() == Some("UDP"));
    let ports = ports.filter_map(|port| match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(TargetPort::Number(53)),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok().map(TargetPort::Number),
        Some(IntOrString::String(name)) => Some(TargetPort::Name(name.as_str().into())),
    });
    let labels = object.spec.selector.clone();
    DnsService {
        labels: labels.filter(|labels| !labels.is_empty()),
        ports: ports.collect(),
    }
}

/// The slim form of a policy that does not decode: it selects every pod and allows nothing.
pub fn unreadable_policy() -> NetworkPolicy {
    NetworkPolicy {
        pods: Selector::default(),
        egress: Some([].into()),
    }
}
