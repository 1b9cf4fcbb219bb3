//! Which pods are answered, as `status` shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::policy::{Decision, Mode};
use crate::watch::health::Health;

/// Names of pods that a sentence has.
const NAMES_SHOWN_MAX: usize = 5;

/// Where the stage that decides about pods publishes.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The decision about the node's pods.
    pub decisions: watch::Receiver<Arc<Decision>>,
    /// Failures of the watches that the decision needs.
    pub health: Arc<Health>,
}

/// The part of the status about pods.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The mode of interfaces whose pod is not known.
    pub mode: Mode,
    /// Whether the modes of single pods are known: pods are watched.
    pub watched: bool,
    /// Pods of this node with interfaces of their own, by mode.
    pub pods: BTreeMap<Mode, usize>,
    /// Pods whose mode does not hold, because their interface is not known.
    pub untold: Vec<String>,
    /// Resources of the API that make policy by names of DNS.
    pub dns_policies: Vec<String>,
}

impl PolicyStatus {
    /// The part of the status that follows from a decision.
    pub fn new(decision: &Decision, untold: &[String]) -> Self {
        let count = |mode: Mode| decision.pods.iter().filter(|pod| pod.mode == mode).count();
        let pods = Mode::ALL.map(|mode| (mode, count(mode)));
        Self {
            mode: decision.fallback,
            watched: decision.watched,
            pods: if decision.watched {
                pods.into()
            } else {
                BTreeMap::new()
            },
            untold: untold.to_vec(),
            dns_policies: decision.dns_policies.clone(),
        }
    }

    /// The modes as a line of the table.
    pub fn line(&self) -> String {
        let counts = self
            .pods
            .iter()
            .map(|(mode, count)| format!("{count} {mode}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        if self.watched {
            format!("mode {}  pods {counts}", self.mode)
        } else {
            format!("mode {}  pods are not watched (--node-name)", self.mode)
        }
    }
}

/// The problems of a decision, each in a sentence.
pub(super) fn problems(decision: &Decision, untold: &[String]) -> Vec<String> {
    let mut problems = decision.problems.clone();
    if !untold.is_empty() {
        let names = untold.iter().take(NAMES_SHOWN_MAX).map(String::as_str);
        let names = names.collect::<Vec<_>>().join(", ");
        let rest = if untold.len() > NAMES_SHOWN_MAX {
            ", ..."
        } else {
            ""
        };
        problems.push(format!(
            "the interfaces of {} pods are not known, so that the mode {} holds instead of their \
             own: {names}{rest}",
            untold.len(),
            decision.fallback,
        ));
    }
    problems
}

/// The choices that follow from a decision, each in a sentence.
pub(super) fn notes(decision: &Decision) -> Vec<String> {
    let mut notes = Vec::new();
    if !decision.dns_policies.is_empty() {
        notes.push(format!(
            "the API has {}: names outside of the cluster stay with the CNI's DNS proxy, names of \
             the cluster are answered",
            decision.dns_policies.join(", ")
        ));
    }
    notes
}
