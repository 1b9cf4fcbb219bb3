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
use crate::watch::Kind;
use crate::watch::health::Health;
use crate::watch::kubernetes::{Client, NodeSelection, Patience, dns_policies, watch_node};
use crate::watch::node::NodeEvent;

/// Events that may wait for the stage.
const EVENTS_MAX: usize = 512;

/// How often failures of the watches, and the addresses of the cluster's DNS, are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often the resources of the API are looked at. They change when somebody installs a CNI.
const DISCOVER: Duration = Duration::from_mins(5);

/// How soon the resources are looked at again after a failure.
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

    /// The receivers of decisions and failures.
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
        let mut deciding = Deciding::new(self.rules.clone());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = Vec::with_capacity(EVENTS_MAX);
        loop {
            tokio::select! {
                _ = events.recv_many(&mut waiting, EVENTS_MAX) => {}
                _ = looks.tick() => deciding.look(self.dns_addresses(mirror), &self.health),
            }
            for event in waiting.drain(..) {
                deciding.take(event);
            }
            let Some(decision) = deciding.next() else {
                continue;
            };
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

/// Objects and failures, and whether something has changed since the last decision.
#[derive(Default)]
struct Deciding {
    objects: Objects,
    outages: Vec<(Kind, String)>,
    addresses: Vec<IpAddr>,
    changed: bool,
}

impl Deciding {
    fn new(rules: Rules) -> Self {
        Self {
            objects: Objects::new(rules),
            changed: true,
            ..Self::default()
        }
    }

    fn take(&mut self, event: NodeEvent) {
        self.objects.take(event);
        self.changed = true;
    }

    /// Takes the addresses of the cluster's DNS, and the failures of the watches.
    fn look(&mut self, addresses: Vec<IpAddr>, health: &Health) {
        let outages = health.outages();
        if (&addresses, &outages) == (&self.addresses, &self.outages) {
            return;
        }
        self.objects.set_dns_addresses(addresses.clone());
        (self.addresses, self.outages) = (addresses, outages);
        self.changed = true;
    }

    /// The decision, with the failures of the watches among its problems; `None` where nothing has
    /// changed. The evaluation takes time in proportion to pods and policies.
    fn next(&mut self) -> Option<Decision> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut decision = self.objects.decide();
        let complete = decision.settled;
        let mode = decision.fallback;
        let problems = self.outages.iter().map(|(_, why)| {
            if complete {
                format!("the modes of pods may have changed since: {why}")
            } else {
                format!("the modes of pods are not known, and the mode {mode} holds: {why}")
            }
        });
        decision.problems.extend(problems);
        Some(decision)
    }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::watch::health::{Failure, FailureReason};

    fn failed(health: &Health, watch: &'static str, kind: Kind, reason: FailureReason) {
        let message = format!("{watch}: {}", reason.label());
        health.failed(watch, kind, &Failure { reason, message });
    }

    /// A server that starts forbids for some seconds what it allows later.
    #[test]
    fn a_decision_waits_for_the_lists_whatever_the_server_says() {
        for reason in FailureReason::ALL {
            let mut deciding = Deciding::new(Rules::default());
            deciding.take(NodeEvent::Restart(Kind::Namespace));
            deciding.take(NodeEvent::Restarted(Kind::Namespace));
            let health = Health::default();
            failed(&health, "pods", Kind::Pod, reason);
            deciding.look(Vec::new(), &health);
            let decision = deciding.next().unwrap();
            assert!(!decision.settled, "{reason:?}");
            let [problem] = &decision.problems[..] else {
                panic!("{:?}", decision.problems);
            };
            assert!(problem.contains("are not known"), "{problem}");
            deciding.take(NodeEvent::Restart(Kind::Pod));
            deciding.take(NodeEvent::Restarted(Kind::Pod));
            assert!(deciding.next().unwrap().settled, "{reason:?}");
        }
    }

    #[test]
    fn nothing_is_decided_where_nothing_has_changed() {
        let mut deciding = Deciding::new(Rules::default());
        let health = Health::default();
        let look = |deciding: &mut Deciding, addresses: &[IpAddr]| {
            deciding.look(addresses.to_vec(), &health);
            deciding.next().is_some()
        };
        assert!(look(&mut deciding, &[]), "the first decision");
        assert!(!look(&mut deciding, &[]));
        let addresses = ["10.96.0.10".parse().unwrap()];
        assert!(look(&mut deciding, &addresses));
        assert!(!look(&mut deciding, &addresses));
        failed(&health, "pods", Kind::Pod, FailureReason::Refused);
        assert!(look(&mut deciding, &addresses));
        assert!(!look(&mut deciding, &addresses));
        health.runs("pods");
        assert!(look(&mut deciding, &addresses));
        deciding.take(NodeEvent::Restart(Kind::Pod));
        assert!(look(&mut deciding, &addresses));
        assert!(!look(&mut deciding, &addresses));
    }
}
