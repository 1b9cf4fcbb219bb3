//! How the source is doing: what it fails at, and since when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::Kind;

/// Why a request to the API server failed, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureReason {
    /// The server does not know who asks (401).
    Unauthorized,
    /// Who asks may not do this (403).
    Forbidden,
    /// The server no longer knows the version that was asked for (410). What
    /// follows is a new list.
    Gone,
    /// Another answer that is none.
    Refused,
    /// No answer, or one that broke off.
    Unreachable,
}

impl FailureReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::Gone,
        Self::Refused,
        Self::Unreachable,
    ];

    /// Label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A request that failed and will be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of what sort.
    pub reason: FailureReason,
    /// What an operator can do something with: the verb, the resource and what
    /// the server said.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A watch that does not run.
#[derive(Debug)]
struct Outage {
    kind: Kind,
    since: Instant,
    message: String,
}

/// The state of every watch, for whoever looks.
#[derive(Debug, Default)]
pub struct Health {
    outages: Mutex<BTreeMap<&'static str, Outage>>,
    failures: Mutex<BTreeMap<(Kind, FailureReason), u64>>,
}

impl Health {
    /// The watch has failed and will be tried again. Logged when it is news.
    pub fn failed(&self, watch: &'static str, kind: Kind, failure: &Failure) {
        *self
            .failures
            .lock()
            .entry((kind, failure.reason))
            .or_default() += 1;
        let mut outages = self.outages.lock();
        let outage = outages.entry(watch).or_insert_with(|| Outage {
            kind,
            since: Instant::now(),
            message: String::new(),
        });
        if outage.message == failure.message {
            debug!("{failure}");
        } else {
            warn!("{failure}");
            outage.message.clone_from(&failure.message);
        }
    }

    /// The watch runs.
    pub fn runs(&self, watch: &'static str) {
        if let Some(outage) = self.outages.lock().remove(watch) {
            let seconds = outage.since.elapsed().as_secs_f64();
            info!("the watch of {watch} runs again after {seconds:.1} s");
        }
    }

    /// How long what is known of the cluster may be behind it: the time since
    /// the first of the watches that do not run stopped running; zero where all
    /// run.
    pub fn age(&self) -> Duration {
        let outages = self.outages.lock();
        let ages = outages.values().map(|outage| outage.since.elapsed());
        ages.max().unwrap_or_default()
    }

    /// What each watch that does not run last failed at.
    pub fn outages(&self) -> Vec<(Kind, String)> {
        let outages = self.outages.lock();
        outages
            .values()
            .map(|outage| (outage.kind, outage.message.clone()))
            .collect()
    }

    /// Failures since the start.
    pub fn failures(&self, kind: Kind, reason: FailureReason) -> u64 {
        let failures = self.failures.lock();
        failures.get(&(kind, reason)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Failure {
        Failure {
            reason: FailureReason::Unreachable,
            message: message.into(),
        }
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_until_the_watch_runs() {
        let health = Health::default();
        assert_eq!(health.age(), Duration::ZERO);
        health.failed("pods", Kind::Pod, &failure("a"));
        let since = health.outages.lock()["pods"].since;
        health.failed("pods", Kind::Pod, &failure("b"));
        assert_eq!(health.outages.lock()["pods"].since, since);
        assert!(health.age() >= since.elapsed().saturating_sub(Duration::from_secs(1)));
        assert_eq!(health.outages(), [(Kind::Pod, "b".to_owned())]);
        health.failed("services", Kind::Service, &failure("c"));
        health.runs("pods");
        assert_eq!(health.outages(), [(Kind::Service, "c".to_owned())]);
        health.runs("services");
        assert_eq!(health.age(), Duration::ZERO);
        assert_eq!(health.failures(Kind::Pod, FailureReason::Unreachable), 2);
        assert_eq!(health.failures(Kind::Pod, FailureReason::Gone), 0);
    }
}
