//! The health of the source: the watches that fail, with the times of their failures, and
//! the time at which the server last sent something on each watch.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Kind;

/// How long a server may refuse a request (401, 403) until the agent believes it. The rules of
/// RBAC reach each API server by a watch of its own. So a server that starts, or rules that are
/// made together with the agent, forbid for some seconds what they allow later.
pub const FORBIDDEN_FOR: Duration = Duration::from_secs(30);

/// Why a request to the API server failed, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureReason {
    /// The server does not know the client (401).
    Unauthorized,
    /// The client may not do this (403).
    Forbidden,
    /// The server no longer knows the requested version (410). A new list
    /// follows.
    Gone,
    /// The server does not have the resource (404).
    NotFound,
    /// Any other status that is not a success.
    Refused,
    /// No answer, or one that broke off.
    Unreachable,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::Gone,
        Self::NotFound,
        Self::Refused,
        Self::Unreachable,
    ];

    /// The reason of an answer with this HTTP status, which is not a success.
    pub const fn of(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            410 => Self::Gone,
            _ => Self::Refused,
        }
    }

    /// Label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A request that failed and will be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, as metrics tell it.
    pub reason: FailureReason,
    /// A sentence for the operator, with the verb, the resource and the server's words.
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
    reason: FailureReason,
    message: String,
}

/// The watch that has been silent for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The name of the watch.
    pub watch: &'static str,
    /// The time since the API server last sent anything on it: changes, bookmarks,
    /// or the head of an answer.
    pub age: Duration,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { watch, age } = self;
        write!(
            f,
            "the API server has sent nothing on the watch of {watch} for {} s",
            age.as_secs()
        )
    }
}

/// Records when the API server last sent something on a watch.
#[derive(Clone, Debug)]
pub struct Ear(std::sync::Arc<watch::Sender<Instant>>);

impl Ear {
    /// Records that the server has sent something just now.
    pub fn heard(&self) {
        self.0.send_replace(Instant::now());
    }

    /// A receiver that changes whenever the server sends something.
    pub fn subscribe(&self) -> watch::Receiver<Instant> {
        self.0.subscribe()
    }
}

/// The state of every watch, for readers in other stages. Its locks are held only to read
/// or change a few entries.
#[derive(Debug, Default)]
pub struct Health {
    outages: Mutex<BTreeMap<String, Outage>>,
    failures: Mutex<BTreeMap<(Kind, FailureReason), u64>>,
    /// When each watch was last heard.
    heard: RwLock<Vec<(&'static str, watch::Receiver<Instant>)>>,
}

impl Health {
    /// Begins to measure the silence of a watch.
    pub fn listen(&self, watch: &'static str) -> Ear {
        let (sender, receiver) = watch::channel(Instant::now());
        self.heard.write().push((watch, receiver));
        Ear(std::sync::Arc::new(sender))
    }

    /// The watch that has been silent for longest; `None` where there is no watch.
    pub fn silence(&self) -> Option<Silence> {
        let heard = self.heard.read();
        let silences = heard.iter().map(|(watch, heard)| Silence {
            watch,
            age: heard.borrow().elapsed(),
        });
        silences.max_by_key(|silence| silence.age)
    }

    /// The watch has failed and will be tried again. Logged when it is news.
    pub fn failed(&self, watch: &str, kind: Kind, failure: &Failure) {
        *self
            .failures
            .lock()
            .entry((kind, failure.reason))
            .or_default() += 1;
        let mut outages = self.outages.lock();
        let outage = outages.entry(watch.to_owned()).or_insert_with(|| Outage {
            kind,
            since: Instant::now(),
            reason: failure.reason,
            message: String::new(),
        });
        outage.reason = failure.reason;
        if outage.message == failure.message {
            debug!("{failure}");
        } else {
            warn!("{failure}");
            outage.message.clone_from(&failure.message);
        }
    }

    /// The watch runs.
    pub fn runs(&self, watch: &str) {
        if let Some(outage) = self.outages.lock().remove(watch) {
            let seconds = outage.since.elapsed().as_secs_f64();
            info!("the watch of {watch} runs again after {seconds:.1} s");
        }
    }

    /// How far the agent's knowledge may be behind the cluster: the time since the
    /// first failure of the watches that do not run; zero while all run.
    pub fn age(&self) -> Duration {
        let outages = self.outages.lock();
        let ages = outages.values().map(|outage| outage.since.elapsed());
        ages.max().unwrap_or_default()
    }

    /// The last failure of each watch that does not run.
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
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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
    #[tokio::test(start_paused = true)]
    async fn the_longest_silence_counts_and_ends_with_a_word() {
        let health = Health::default();
        assert_eq!(health.silence(), None);
        let pods = health.listen("pods");
        tokio::time::advance(Duration::from_secs(5)).await;
        let services = health.listen("services");
        tokio::time::advance(Duration::from_secs(5)).await;
        let silence = |watch, seconds| {
            let age = Duration::from_secs(seconds);
            Some(Silence { watch, age })
        };
        assert_eq!(health.silence(), silence("pods", 10));
        pods.heard();
        assert_eq!(health.silence(), silence("services", 5));
        services.heard();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(health.silence().unwrap().age, Duration::from_secs(3));
    }
}
