//! The stage that decides which pods of the node are answered.

mod deciding;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};

use self::deciding::Deciding;
use super::source::Source;
use crate::config;
use crate::mirror::Mirror;
use crate::observe::policy::Policy;
use crate::policy::{Decision, Rules};
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
            () = self.follow(events, || self.dns_addresses(&mirror)) => Ok(()),
            () = discovering => Ok(()),
        }
    }

    /// Decides after each change, in the pace that [`Deciding`] keeps.
    async fn follow(
        &self,
        mut events: mpsc::Receiver<NodeEvent>,
        dns_addresses: impl Fn() -> Vec<IpAddr>,
    ) {
        let mut deciding = Deciding::new(self.rules.clone());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = Vec::with_capacity(EVENTS_MAX);
        loop {
            tokio::select! {
                _ = events.recv_many(&mut waiting, EVENTS_MAX) => {}
                _ = looks.tick() => deciding.look(dns_addresses(), &self.health),
                () = until(deciding.due()) => {}
            }
            for event in waiting.drain(..) {
                deciding.take(event);
            }
            let Some(decision) = deciding.next(Instant::now()) else {
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

/// Waits until this time; without one, for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
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

    use super::deciding::DECISIONS;
    use super::*;
    use crate::policy::Mode;
    use crate::watch::node::{NodeObject, NodePod};
    use crate::watch::{Kind, ObjectRef, Problems};

    /// A pod with this annotation.
    fn annotated(mode: Mode) -> NodeEvent {
        let reference = ObjectRef {
            kind: Kind::Pod,
            namespace: "shop".into(),
            name: "a".into(),
        };
        let pod = NodePod {
            mode: Some(mode.label().into()),
            labels: None,
            addresses: Box::default(),
            has_interface: true,
        };
        NodeEvent::Apply(reference, Some(NodeObject::Pod(pod)), Problems::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_changes_all_the_time_is_decided_a_few_times_a_second() {
        let stage = Stage {
            server: None,
            selection: None,
            rules: Rules::default(),
            health: Arc::default(),
            decisions: watch::Sender::default(),
        };
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let mut decisions = stage.decisions.subscribe();
        let changing = async {
            for turn in 0..610 {
                let mode = if turn % 2 == 0 { Mode::Off } else { Mode::On };
                sender.send(annotated(mode)).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            sender.send(annotated(Mode::Observe)).await.unwrap();
        };
        let counting = async {
            let mut count = 0;
            loop {
                decisions.changed().await.unwrap();
                count += 1;
                let decision = decisions.borrow_and_update();
                if decision
                    .pods
                    .first()
                    .is_some_and(|it| it.mode == Mode::Observe)
                {
                    return count;
                }
            }
        };
        let start = Instant::now();
        let count = tokio::select! {
            () = stage.follow(events, Vec::new) => unreachable!("it follows for ever"),
            (count, ()) = async { tokio::join!(counting, changing) } => count,
        };
        assert!((5..=9).contains(&count), "{count} decisions");
        // The last change has waited for its turn, and for nothing else.
        let turn = start + 4 * DECISIONS.every;
        assert!(Instant::now() < turn + Duration::from_millis(2));
    }
}
