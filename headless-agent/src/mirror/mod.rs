//! The mirror of the cluster, and the loop that keeps index and maps equal to it.
//!
//! Other stages read the [`Mirror`] while the loop writes it: the index, and the last
//! [`Snapshot`] of the loop. [`Intake`] applies events to the index. It works alone while
//! the maps are being made. Then it is the first step of the loop, [`Keeper`].
//!
//! Long work is cut into steps: a large batch, the first fill of the maps, the full pass.
//! Between two steps the loop beats, and readers of the index and other tasks have their
//! turn.

mod full_pass;
mod intake;
mod keeper;
mod reported;
mod served;
mod snapshot;

use std::sync::{Arc, OnceLock};

use headless_ebpf::abi::Config;
use parking_lot::{RwLock, RwLockReadGuard};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;

pub use self::intake::Intake;
pub use self::keeper::{Keeper, Policy};
pub use self::snapshot::{EventKind, Snapshot};
use crate::corefile::standing::Standing;
use crate::maps::heartbeat;
use crate::records::{EndpointScope, Index};
use crate::watch::choice::Choice;
use crate::watch::health::Health;

/// Upper bounds of the histogram of programming durations, in seconds.
const PROGRAMMING_BUCKETS: [f64; 10] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The index and the state of the loop, which other stages read.
#[derive(Debug)]
pub struct Mirror {
    index: RwLock<Index>,
    config: Config,
    standing: Arc<Standing>,
    source: Arc<Health>,
    choice: OnceLock<Choice>,
    published: watch::Sender<Arc<Snapshot>>,
    programming: Histogram,
}

impl Mirror {
    /// A mirror with `index`, to which no event has been applied yet.
    pub fn new(mut index: Index, config: Config) -> Self {
        index.set_serial(heartbeat::unix_serial());
        let snapshot = Snapshot::of(&index);
        Self {
            index: RwLock::new(index),
            config,
            standing: Arc::default(),
            source: Arc::default(),
            choice: OnceLock::new(),
            published: watch::Sender::new(Arc::new(snapshot)),
            programming: Histogram::new(PROGRAMMING_BUCKETS),
        }
    }

    /// The same mirror. `standing` says which questions are left to CoreDNS.
    #[must_use]
    pub fn standing_by(mut self, standing: Arc<Standing>) -> Self {
        self.standing = standing;
        self
    }

    /// The index, locked for reading. The loop waits for readers, so hold the lock for one
    /// query or for one step of a longer walk.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// Settings of the programs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Which questions are left to CoreDNS.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The health of the source.
    pub fn source(&self) -> &Arc<Health> {
        &self.source
    }

    /// Takes over the choice of the slices that are watched, before the first event.
    pub fn choose(&self, choice: Choice) {
        let scope = if choice.all() {
            EndpointScope::All
        } else {
            EndpointScope::Headless
        };
        self.index.write().set_endpoints(scope);
        self.choice.get_or_init(|| choice);
    }

    /// The choice, where the cluster's size has decided ([`Self::choose`]).
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.get()
    }

    /// The state of the loop as last published.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.borrow())
    }

    /// Waits until the index holds the whole cluster.
    pub async fn read(&self) {
        let mut published = self.published.subscribe();
        // The sender lives as long as `self`.
        published.wait_for(|snapshot| snapshot.synced()).await.ok();
    }

    /// Publishes a new state. Readers of an older state keep it, so nobody waits for them.
    fn publish(&self, snapshot: &Snapshot) {
        self.published.send_replace(Arc::new(snapshot.clone()));
    }

    /// Durations from the arrival of a batch's first event to the batch's last write to the
    /// maps. The writes of large Services that had to wait do not count.
    pub fn programming(&self) -> &Histogram {
        &self.programming
    }
}

#[cfg(test)]
mod tests;
