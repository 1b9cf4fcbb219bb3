//! When a decision about the node's pods is made, and which failures it tells.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::pace::{Bucket, Pace};
use crate::policy::{Decision, Objects, Rules};
use crate::watch::Kind;
use crate::watch::health::Health;
use crate::watch::node::NodeEvent;

/// How often decisions are made. A decision takes time in proportion to the pods of the node and
/// the policies of their namespaces, and the agent's other stages follow each one. A tenant may
/// change a label or an annotation as often as the API server lets it, so after a few changes at
/// once those of 200 ms share a decision. A stricter mode waits no longer than that.
pub(super) const DECISIONS: Pace = Pace {
    burst: 5,
    every: Duration::from_millis(200),
};

/// Objects and failures, and whether something has changed since the last decision.
pub(super) struct Deciding {
    objects: Objects,
    outages: Vec<(Kind, String)>,
    addresses: Vec<IpAddr>,
    changed: bool,
    bucket: Bucket,
}

impl Deciding {
    /// No objects. The first decision is due at once.
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            objects: Objects::new(rules),
            outages: Vec::new(),
            addresses: Vec::new(),
            changed: true,
            bucket: Bucket::new(Instant::now().into_std()),
        }
    }

    /// Takes a change.
    pub(super) fn take(&mut self, event: NodeEvent) {
        self.objects.take(event);
        self.changed = true;
    }

    /// Takes the addresses of the cluster's DNS, and the failures of the watches.
    pub(super) fn look(&mut self, addresses: Vec<IpAddr>, health: &Health) {
        let outages = health.outages();
        if (&addresses, &outages) == (&self.addresses, &self.outages) {
            return;
        }
        self.objects.set_dns_addresses(addresses.clone());
        (self.addresses, self.outages) = (addresses, outages);
        self.changed = true;
    }

    /// The time from which a decision may be made; `None` where nothing has changed.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.bucket.next_at(DECISIONS);
        self.changed.then(|| Instant::from_std(next))
    }

    /// The decision, with the failures of the watches among its problems; `None` where nothing has
    /// changed, or too many decisions were made just before. The evaluation takes time in
    /// proportion to pods and policies.
    pub(super) fn next(&mut self, now: Instant) -> Option<Decision> {
        if !self.changed || !self.bucket.take(DECISIONS, now.into_std()) {
            return None;
        }
        self.changed = false;
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
            let decision = deciding.next(Instant::now()).unwrap();
            assert!(!decision.settled, "{reason:?}");
            let [problem] = &decision.problems[..] else {
                panic!("{:?}", decision.problems);
            };
            assert!(problem.contains("are not known"), "{problem}");
            deciding.take(NodeEvent::Restart(Kind::Pod));
            deciding.take(NodeEvent::Restarted(Kind::Pod));
            assert!(deciding.next(Instant::now()).unwrap().settled, "{reason:?}");
        }
    }

    #[test]
    fn nothing_is_decided_where_nothing_has_changed() {
        let mut deciding = Deciding::new(Rules::default());
        let mut now = Instant::now();
        // Each time late enough for a decision.
        let mut late = || {
            now += DECISIONS.every;
            now
        };
        let health = Health::default();
        let mut look = |deciding: &mut Deciding, addresses: &[IpAddr]| {
            deciding.look(addresses.to_vec(), &health);
            deciding.next(late()).is_some()
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

    #[test]
    fn many_changes_share_a_decision() {
        let mut deciding = Deciding::new(Rules::default());
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let decide = |deciding: &mut Deciding, milliseconds| {
            deciding.take(NodeEvent::Restart(Kind::Pod));
            deciding.next(after(milliseconds)).is_some()
        };
        let times = 0..1000;
        let decided: Vec<_> = times.filter(|ms| decide(&mut deciding, *ms)).collect();
        assert_eq!(decided, [0, 1, 2, 3, 4, 200, 400, 600, 800]);
        // The last change is decided, as soon as that is due.
        let due = deciding.due().unwrap();
        assert!(deciding.next(after(999)).is_none());
        assert!(due <= after(1001));
        assert!(deciding.next(due).is_some());
        assert_eq!(deciding.due(), None);
        // After a rest nothing waits.
        assert!(decide(&mut deciding, 3000));
    }
}
