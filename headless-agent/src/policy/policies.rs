//! The `NetworkPolicies` about egress of all namespaces, within bounds for each namespace.

use std::collections::BTreeMap;

use super::listed::{List, Listed};
use crate::watch::convert::unreadable_policy;
use crate::watch::network::NetworkPolicy;
use crate::watch::{Kind, ObjectRef};

/// Most policies of a namespace that are evaluated, since they are evaluated for each pod of the
/// namespace. No pod of a namespace with more is allowed. All are kept, so that the others count as
/// soon as one is gone.
pub(super) const POLICIES_MAX: usize = 256;

/// Most bytes of policies that are kept of a namespace in one list. A policy takes some 30 KiB at
/// most, so this is room for [`POLICIES_MAX`] of the largest, and for some ten thousand common ones
/// with a rule or two. A policy without room stands for one that allows nothing, until it changes
/// or is listed again. During a relist the policies of the list before are kept too, and take no
/// room: whoever has replaced them all meanwhile would find none, and the last list would stay so.
pub(super) const POLICIES_BYTES_MAX: usize = 8 << 20;

/// A policy, or that it had no room.
#[derive(Clone, Debug)]
struct Kept {
    policy: NetworkPolicy,
    /// Whether `policy` only stands for one that had no room.
    is_left_out: bool,
}

/// The policies of a namespace in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    policies: usize,
    left_out: usize,
    /// Bytes of the others, as far as the current list has them.
    bytes: usize,
}

/// The policies of all namespaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    listed: Listed<Kept>,
    /// Namespaces that have policies.
    namespaces: BTreeMap<Box<str>, Held>,
}

impl Held {
    fn add(&mut self, kept: &Kept) {
        self.policies += 1;
        self.left_out += usize::from(kept.is_left_out);
        self.bytes += kept.bytes();
    }

    fn subtract(&mut self, kept: &Kept, is_current: bool) {
        self.policies -= 1;
        self.left_out -= usize::from(kept.is_left_out);
        if is_current {
            self.bytes -= kept.bytes();
        }
    }
}

impl Kept {
    /// Bytes that count towards [`POLICIES_BYTES_MAX`].
    fn bytes(&self) -> usize {
        if self.is_left_out {
            0
        } else {
            self.policy.bytes()
        }
    }
}

impl Policies {
    /// The policy exists; `None` where it is not about egress.
    pub(super) fn put(&mut self, reference: ObjectRef, policy: Option<NetworkPolicy>) {
        self.delete(&reference);
        let Some(policy) = policy else {
            return;
        };
        let namespace = reference.namespace.clone();
        let held = self.namespaces.entry(namespace).or_default();
        let is_left_out = held.bytes + policy.bytes() > POLICIES_BYTES_MAX;
        let kept = Kept {
            policy: if is_left_out {
                unreadable_policy()
            } else {
                policy
            },
            is_left_out,
        };
        held.add(&kept);
        self.listed.put(reference, Some(kept));
    }

    /// The policy is gone.
    pub(super) fn delete(&mut self, reference: &ObjectRef) {
        if let Some(kept) = self.listed.get(reference)
            && let Some(held) = self.namespaces.get_mut(&reference.namespace)
        {
            held.subtract(kept, self.listed.is_current(reference));
            if held.policies == 0 {
                self.namespaces.remove(&reference.namespace);
            }
        }
        self.listed.delete(reference);
    }

    /// Whether a list has been complete.
    pub(super) fn is_complete(&self) -> bool {
        self.listed.is_complete()
    }

    /// The policies of a namespace; `None` where these are more than [`POLICIES_MAX`].
    pub(super) fn evaluated(
        &self,
        namespace: &str,
    ) -> Option<impl Iterator<Item = &NetworkPolicy> + Clone> {
        let held = self.held(namespace);
        let kept = self.listed.in_namespace(Kind::NetworkPolicy, namespace);
        (held.policies <= POLICIES_MAX).then(|| kept.map(|kept| &kept.policy))
    }

    fn held(&self, namespace: &str) -> Held {
        self.namespaces.get(namespace).copied().unwrap_or_default()
    }

    /// Why policies of the namespace do not count, in a sentence; `None` where all do.
    pub(super) fn problem(&self, namespace: &str) -> Option<String> {
        let Held {
            policies, left_out, ..
        } = self.held(namespace);
        let are = format!("Namespace {namespace}: {policies} NetworkPolicies are about egress");
        if policies > POLICIES_MAX {
            return Some(format!(
                "{are}, more than {POLICIES_MAX}; the mode off holds for its pods"
            ));
        }
        (left_out > 0).then(|| {
            format!(
                "{are}, of which {left_out} had no room in {} MiB; they allow nothing until they \
                 change or are listed again",
                POLICIES_BYTES_MAX >> 20
            )
        })
    }
}

impl List for Policies {
    fn restart(&mut self) {
        self.listed.restart();
        for held in self.namespaces.values_mut() {
            held.bytes = 0;
        }
    }

    fn restarted(&mut self) {
        self.listed.restarted();
        self.namespaces.clear();
        for (reference, kept) in self.listed.iter() {
            let held = self.namespaces.entry(reference.namespace.clone());
            held.or_default().add(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Selector;
    use crate::watch::network::EgressRule;

    fn reference(number: usize) -> ObjectRef {
        ObjectRef {
            kind: Kind::NetworkPolicy,
            namespace: "shop".into(),
            name: format!("p-{number:05}").into(),
        }
    }

    /// A policy with this number of rules, each of which allows everything.
    fn policy(rules: usize) -> NetworkPolicy {
        NetworkPolicy {
            pods: Selector::default(),
            egress: Some(vec![EgressRule::default(); rules].into()),
        }
    }

    /// The numbers of the namespace, counted again.
    fn recounted(policies: &Policies) -> Held {
        let mut held = Held::default();
        policies.listed.iter().for_each(|(_, kept)| held.add(kept));
        held
    }

    #[test]
    fn policies_beyond_the_number_count_as_soon_as_others_are_gone() {
        let mut policies = Policies::default();
        let rules = |policies: &Policies| {
            let evaluated = policies.evaluated("shop")?;
            Some(evaluated.flat_map(|it| it.egress.iter().flatten()).count())
        };
        for number in 0..POLICIES_MAX + 2 {
            policies.put(reference(number), Some(policy(1)));
        }
        assert_eq!(rules(&policies), None);
        let problem = policies.problem("shop").unwrap_or_default();
        assert!(problem.contains("258 NetworkPolicies"), "{problem}");
        assert_eq!(policies.problem("other"), None);
        for number in 0..2 {
            policies.delete(&reference(number));
        }
        assert_eq!(rules(&policies), Some(POLICIES_MAX), "the last two count");
        assert_eq!(policies.problem("shop"), None);
        policies.put(reference(2), None);
        assert_eq!(rules(&policies), Some(POLICIES_MAX - 1));
    }

    #[test]
    fn the_bytes_of_a_namespace_are_bounded() {
        let mut policies = Policies::default();
        let large = policy(1000);
        let fitting = POLICIES_BYTES_MAX / large.bytes();
        for number in 0..2 * fitting {
            policies.put(reference(number), Some(large.clone()));
        }
        let held = policies.held("shop");
        assert_eq!((held.policies, held.left_out), (2 * fitting, fitting));
        assert!(held.bytes <= POLICIES_BYTES_MAX);
        // Once a few are gone, those without room are named, and allow nothing.
        for number in POLICIES_MAX / 2..2 * fitting - POLICIES_MAX / 2 {
            policies.delete(&reference(number));
        }
        let problem = policies.problem("shop").unwrap_or_default();
        assert!(
            problem.contains("of which 128 had no room in 8 MiB"),
            "{problem}"
        );
        let last = policies.evaluated("shop").and_then(Iterator::last);
        assert_eq!(last, Some(&unreadable_policy()));
        // A policy that is listed or changed again has room.
        policies.put(reference(2 * fitting - 1), Some(large.clone()));
        let last = policies.evaluated("shop").and_then(Iterator::last);
        assert_eq!(last, Some(&large));
        assert_eq!(policies.held("shop"), recounted(&policies));
    }

    #[test]
    fn policies_of_an_earlier_list_take_no_room() {
        let mut policies = Policies::default();
        let large = policy(1000);
        let fitting = POLICIES_BYTES_MAX / large.bytes();
        policies.restart();
        for number in 0..fitting {
            policies.put(reference(number), Some(large.clone()));
        }
        policies.restarted();
        // All are replaced while the watch is down. One has kept its name, another one goes.
        policies.restart();
        policies.delete(&reference(1));
        for number in [0].into_iter().chain(fitting..2 * fitting) {
            policies.put(reference(number), Some(large.clone()));
        }
        let held = policies.held("shop");
        assert_eq!((held.policies, held.left_out), (2 * fitting - 1, 1));
        assert!(held.bytes <= POLICIES_BYTES_MAX);
        policies.delete(&reference(0));
        policies.put(reference(2 * fitting - 1), Some(large));
        policies.restarted();
        let held = policies.held("shop");
        assert_eq!((held.policies, held.left_out), (fitting, 0));
        assert_eq!(held, recounted(&policies));
    }

    #[test]
    fn the_numbers_follow_every_change() {
        let mut policies = Policies::default();
        policies.restart();
        for (number, rules) in [(1, 1), (2, 5), (1, 3), (3, 2), (2, 0)] {
            policies.put(reference(number), Some(policy(rules)));
            assert_eq!(policies.held("shop"), recounted(&policies));
        }
        policies.delete(&reference(3));
        policies.delete(&reference(9));
        assert_eq!(policies.held("shop"), recounted(&policies));
        policies.restart();
        policies.put(reference(2), Some(policy(7)));
        policies.restarted();
        assert_eq!(policies.held("shop").policies, 1);
        assert_eq!(policies.held("shop"), recounted(&policies));
        policies.put(reference(2), None);
        assert!(policies.namespaces.is_empty());
    }
}
