//! The slim forms of `NetworkPolicies` and of the Service of the cluster's DNS.

use k8s_openapi::api::networking::v1::{
    NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::read::{ReadDnsService, ReadNetworkPolicy};
use crate::selector::{Requirement, Selector, Test};
use crate::watch::network::{
    Block, DnsService, EgressRule, NetworkPolicy, PARTS_BYTES_MAX, PARTS_MAX, Peer, PortRule,
    TargetPort,
};

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
    if !about_egress {
        return NetworkPolicy::default();
    }
    let rules = spec.egress.as_deref().unwrap_or_default();
    let mut cost = Cost::default();
    let all = LabelSelector::default();
    let chosen = spec.pod_selector.as_ref().unwrap_or(&all);
    cost.selector(chosen);
    let pods = cost.fits().then(|| selector(chosen)).flatten();
    for rule in rules {
        cost.rule(rule);
    }
    let kept = if cost.fits() && pods.is_some() {
        rules
    } else {
        &[]
    };
    NetworkPolicy {
        pods: pods.unwrap_or_default(),
        egress: Some(kept.iter().map(egress_rule).collect()),
    }
}

/// The size of a policy, which is kept up to [`PARTS_MAX`] and [`PARTS_BYTES_MAX`].
#[derive(Default)]
struct Cost {
    parts: usize,
    bytes: usize,
}

impl Cost {
    fn fits(&self) -> bool {
        self.parts <= PARTS_MAX && self.bytes <= PARTS_BYTES_MAX
    }

    fn part(&mut self, text: &str) {
        self.parts += 1;
        self.bytes += text.len();
    }

    fn selector(&mut self, selector: &LabelSelector) {
        for (key, value) in selector.match_labels.iter().flatten() {
            self.part(key);
            self.bytes += value.len();
        }
        for expression in selector.match_expressions.iter().flatten() {
            self.part(&expression.key);
            expression
                .values
                .iter()
                .flatten()
                .for_each(|value| self.part(value));
        }
    }

    fn rule(&mut self, rule: &NetworkPolicyEgressRule) {
        self.parts += 1;
        for port in rule.ports.iter().flatten() {
            self.part(match &port.port {
                Some(IntOrString::String(name)) => name,
                Some(IntOrString::Int(_)) | None => "",
            });
        }
        for peer in rule.to.iter().flatten() {
            self.parts += 1;
            let block = peer.ip_block.as_ref();
            self.parts += block.and_then(|it| it.except.as_ref()).map_or(0, Vec::len);
            let selectors = [&peer.namespace_selector, &peer.pod_selector];
            selectors
                .into_iter()
                .flatten()
                .for_each(|it| self.selector(it));
        }
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

/// A selector of the API; `None` for one with unknown parts.
fn selector(selector: &LabelSelector) -> Option<Selector> {
    let labels = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::{Value, json};

    use super::*;

    fn policy(selector: &Value, rules: &Value) -> NetworkPolicy {
        let object = json!({ "metadata": { "namespace": "shop", "name": "p" }, "spec": {
            "podSelector": selector, "policyTypes": ["Egress"], "egress": rules } });
        network_policy(&serde_json::from_str(&object.to_string()).unwrap())
    }

    fn values(number: usize, bytes: usize) -> Value {
        let values: Vec<_> = (0..number).map(|it| format!("{it:0bytes$}")).collect();
        json!({ "matchExpressions": [{ "key": "a", "operator": "In", "values": values }] })
    }

    #[test]
    fn one_budget_bounds_the_whole_policy() {
        let fits = |selector: &Value, rules: &Value| {
            let policy = policy(selector, rules);
            assert!(
                policy.bytes() < PARTS_BYTES_MAX + 200 * PARTS_MAX,
                "{}",
                policy.bytes()
            );
            !policy.egress.unwrap().is_empty()
        };
        let to = |selectors: &[Value]| {
            let peers = selectors.iter().map(|it| json!({ "podSelector": it }));
            json!([{ "to": peers.collect::<Vec<_>>() }])
        };
        assert!(fits(&json!({}), &to(&[values(PARTS_MAX - 3, 3)])));
        assert!(!fits(&json!({}), &to(&[values(PARTS_MAX - 2, 3)])));
        assert!(!fits(&json!({}), &to(&[values(64, 3), values(64, 3)])));
        assert!(!fits(&values(64, 3), &to(&[values(64, 3)])));
        let half = PARTS_BYTES_MAX / 2;
        assert!(fits(&json!({}), &to(&[values(1, half)])));
        assert!(!fits(&values(1, half), &to(&[values(1, half)])));
        let ports: Vec<_> = (0..PARTS_MAX)
            .map(|it| json!({ "port": it, "protocol": "UDP" }))
            .collect();
        assert!(!fits(&json!({}), &json!([{ "ports": ports }])));
        // A selector alone may be too large: then the policy selects every pod.
        let large = policy(&values(1000, 3), &json!([{}]));
        assert_eq!(large, unreadable_policy());
    }

    #[test]
    fn the_size_counts_the_texts() {
        let size = |bytes| {
            let rules = json!([{ "to": [{ "podSelector": values(8, bytes) }] }]);
            policy(&json!({}), &rules).bytes()
        };
        assert_eq!(size(103) - size(3), 800);
    }
}
