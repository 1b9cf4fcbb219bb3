//! The stage that decides which pods of the node are answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::source::Source;
use crate::config;
use crate::observe::policy::Policy;
use crate::policy::{Decision, Objects, Rules};
use crate::watch::health::Health;
use crate::watch::kubernetes::{Client, NodeSelection, Patience, watch_node};
use crate::watch::node::NodeEvent;

/// Events that may wait for the stage.
const EVENTS_MAX: usize = 512;

/// How often failures of the watches are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The stage, with its parts.
pub(super) struct Stage {
    /// `None` where no pods are watched.
    watched: Option<(Client, NodeSelection, Patience)>,
    rules: Rules,
    health: Arc<Health>,
    decisions: watch::Sender<Arc<Decision>>,
}

impl Stage {
    /// The stage with the operator's choices. It watches the pods of the node that `pods` names,
    /// if it names one, at the server of `source`.
    pub(super) fn new(pods: config::Pods, source: &Source) -> Self {
        let config::Pods { rules, selection } = pods;
        let watched = selection.and_then(|selection| {
            let (client, patience) = source.server()?;
            Some((client, selection, patience))
        });
        let first = Decision {
            settled: watched.is_none(),
            watched: watched.is_some(),
            ..Decision::unwatched(&rules)
        };
        Self {
            watched,
            rules,
            health: Arc::default(),
            decisions: watch::Sender::new(Arc::new(first)),
        }
    }

    /// Where the decisions are published.
    pub(super) fn published(&self) -> Policy {
        Policy {
            decisions: self.decisions.subscribe(),
            health: Arc::clone(&self.health),
        }
    }

    /// Runs until a watch ends, which none should.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self {
            watched,
            rules,
            health,
            decisions,
        } = self;
        let Some((client, selection, patience)) = watched else {
            return std::future::pending().await;
        };
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let watching = watch_node(client, selection, patience, Arc::clone(&health), sender);
        let deciding = async {
            let mut objects = Objects::new(rules);
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut waiting: Vec<NodeEvent> = Vec::with_capacity(EVENTS_MAX);
            loop {
                tokio::select! {
                    _ = events.recv_many(&mut waiting, EVENTS_MAX) => {}
                    _ = looks.tick() => {}
                }
                for event in waiting.drain(..) {
                    objects.take(event);
                }
                publish(&decisions, decide(&objects, &health));
            }
        };
        tokio::select! {
            ended = watching => ended.context("the pods of this node"),
            () = deciding => Ok(()),
        }
    }
}

/// The decision, with the failures of the watches among its problems. A watch that has failed is
/// not waited for.
fn decide(objects: &Objects, health: &Health) -> Decision {
    let mut decision = objects.decide();
    let complete = decision.settled;
    for (_, why) in health.outages() {
        decision.settled = true;
        let mode = decision.fallback;
        decision.problems.push(if complete {
            format!("the modes of pods may have changed since: {why}")
        } else {
            format!("the modes of pods are not known, and the mode {mode} holds: {why}")
        });
    }
    decision
}

fn publish(decisions: &watch::Sender<Arc<Decision>>, decision: Decision) {
    decisions.send_if_modified(|before| {
        let changed = **before != decision;
        if changed {
            *before = Arc::new(decision);
        }
        changed
    });
}
