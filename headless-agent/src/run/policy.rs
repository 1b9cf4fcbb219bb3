//! The stage that decides which pods of the node are answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::source::Source;
use crate::config;
use crate::mirror::Mirror;
use crate::observe::policy::Policy;
use crate::policy::{Decision, Objects, Rules};
use crate::watch::health::Health;
use crate::watch::kubernetes::{Client, NodeSelection, Patience, dns_policies, watch_node};
use crate::watch::node::NodeEvent;

/// Events that may wait for the stage.
const EVENTS_MAX: usize = 512;

/// How often failures of the watches, and the addresses of the cluster's DNS, are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often the resources of the API are looked at. They change when somebody installs a CNI.
const DISCOVER: Duration = Duration::from_mins(5);

/// The same after a failure.
const DISCOVER_AGAIN: Duration = Duration::from_secs(30);

/// The stage, with its parts.
pub(super) struct Stage {
    /// `None` where objects come from a folder.
    server: Option<(Client, Patience)>,
    /// The objects that are watched; `None` where no pods are watched.
    selection: Option<NodeSelection>,
    rules: Rules,
    health: Arc<Health>,
    decisions: watch::Sender<Arc<Decision>>,
}

impl Stage {
    /// The stage with the operator's choices. It watches the pods of the node that `pods` names,
    /// if it names one, at the server of `source`.
    pub(super) fn new(pods: config::Pods, source: &Source) -> Self {
        let config::Pods { rules, selection } = pods;
        let server = source.server();
        let selection = selection.filter(|_| server.is_some());
        let first = Decision {
            settled: selection.is_none(),
            watched: selection.is_some(),
            ..Decision::unwatched(&rules)
        };
        Self {
            server,
            selection,
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

    /// Runs until a watch ends, which none should. `mirror` knows the addresses of the cluster's
    /// DNS.
    pub(super) async fn run(self, mirror: Arc<Mirror>) -> anyhow::Result<()> {
        let Some((client, patience)) = self.server.clone() else {
            return std::future::pending().await;
        };
        let discovering = discover(&client, patience, &self.decisions);
        let Some(selection) = self.selection.clone() else {
            discovering.await;
            return Ok(());
        };
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let health = Arc::clone(&self.health);
        let watching = watch_node(client.clone(), selection, patience, health, sender);
        tokio::select! {
            ended = watching => ended.context("the pods of this node"),
            () = self.follow(events, &mirror) => Ok(()),
            () = discovering => Ok(()),
        }
    }

    /// Decides after each change.
    async fn follow(&self, mut events: mpsc::Receiver<NodeEvent>, mirror: &Mirror) {
        let mut objects = Objects::new(self.rules.clone());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = Vec::with_capacity(EVENTS_MAX);
        loop {
            tokio::select! {
                _ = events.recv_many(&mut waiting, EVENTS_MAX) => {}
                _ = looks.tick() => objects.set_dns_addresses(self.dns_addresses(mirror)),
            }
            for event in waiting.drain(..) {
                objects.take(event);
            }
            let decision = decide(&objects, &self.health);
            self.decisions.send_if_modified(|before| {
                let decision = Decision {
                    dns_policies: before.dns_policies.clone(),
                    ..decision
                };
                let changed = **before != decision;
                *before = Arc::new(decision);
                changed
            });
        }
    }

    /// The addresses of the cluster's DNS, where policies are about them.
    fn dns_addresses(&self, mirror: &Mirror) -> Vec<IpAddr> {
        let about = self.rules.respect_policies_about.as_ref();
        about.map_or_else(Vec::new, |about| mirror.index().service_addresses(about))
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

/// Looks now and then whether the API has objects that make policy by names of DNS.
async fn discover(client: &Client, patience: Patience, decisions: &watch::Sender<Arc<Decision>>) {
    let mut failing = false;
    loop {
        let wait = match dns_policies(client, patience).await {
            Ok(found) => {
                failing = false;
                decisions.send_if_modified(|decision| {
                    let changed = decision.dns_policies != found;
                    if changed {
                        info!(
                            ?found,
                            "resources of the API that make policy by names of DNS"
                        );
                        Arc::make_mut(decision).dns_policies = found;
                    }
                    changed
                });
                DISCOVER
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!("objects that make policy by names of DNS are not noticed: {error:#}");
                }
                DISCOVER_AGAIN
            }
        };
        sleep(wait).await;
    }
}
