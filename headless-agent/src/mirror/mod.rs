//! The mirror of the cluster, and the loop that keeps index and maps in step
//! with it.
//!
//! Other stages read the [`Mirror`] while the loop writes it: the index, and the last
//! [`Snapshot`] of the loop. [`Intake`] takes events into the index. It works alone while
//! the maps are being made, and then as the first step of the loop, [`Keeper`].
//!
//! Long work is cut into steps: a large batch, the first fill, the full pass. Heartbeats,
//! readers of the index and other tasks come between the steps.

mod full_pass;
mod intake;
mod keeper;
mod reported;
mod served;
mod snapshot;

use std::sync::Arc;

use headless_ebpf::abi::Config;
use parking_lot::{RwLock, RwLockReadGuard};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;

pub use self::intake::Intake;
pub use self::keeper::{Keeper, Policy};
pub use self::snapshot::{EventKind, Snapshot};
use crate::maps::heartbeat;
use crate::records::Index;
use crate::watch::health::Health;

/// Upper bounds of the buckets of the programming duration, in seconds.
const PROGRAMMING_BUCKETS: [f64; 10] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The index, and the state of the loop, for readers in other stages.
#[derive(Debug)]
pub struct Mirror {
    index: RwLock<Index>,
    config: Config,
    source: Arc<Health>,
    published: watch::Sender<Arc<Snapshot>>,
    programming: Histogram,
}

impl Mirror {
    /// A mirror with this index, which has listed nothing yet.
    pub fn new(mut index: Index, config: Config) -> Self {
        index.set_serial(heartbeat::unix_serial());
        let snapshot = Snapshot::of(&index);
        Self {
            index: RwLock::new(index),
            config,
            source: Arc::default(),
            published: watch::Sender::new(Arc::new(snapshot)),
            programming: Histogram::new(PROGRAMMING_BUCKETS),
        }
    }

    /// The index. The loop waits for its readers, so a reader holds it for one question
    /// or for one step of a longer walk.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// Settings of the programs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The health of the source.
    pub fn source(&self) -> &Arc<Health> {
        &self.source
    }

    /// The state that the loop published last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.borrow())
    }

    /// Waits until the whole cluster has been read.
    pub async fn read(&self) {
        let mut published = self.published.subscribe();
        // The sender lives as long as `self`.
        published.wait_for(|snapshot| snapshot.synced()).await.ok();
    }

    /// Publishes a new state. Readers of the state before keep it and delay nobody.
    fn publish(&self, snapshot: &Snapshot) {
        self.published.send_replace(Arc::new(snapshot.clone()));
    }

    /// Durations from the arrival of a batch's first change to the last map write of the
    /// batch.
    pub fn programming(&self) -> &Histogram {
        &self.programming
    }
}

#[cfg(test)]
mod tests;
