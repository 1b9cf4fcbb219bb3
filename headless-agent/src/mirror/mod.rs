//! The mirror of the cluster, and the loop that keeps index and maps in step
//! with it.
//!
//! [`Mirror`] is what others may read while the loop writes: the index and the last
//! [`Snapshot`]. [`Intake`] takes events into the index, while there are no maps yet by
//! itself, then as the first step of [`Keeper`], which is the loop. Every long piece of work is cut: a large
//! batch, the first fill and the full pass go on in steps, and heartbeats, readers of
//! the index and other tasks come in between.

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

/// What everybody may read while the loop writes.
#[derive(Debug)]
pub struct Mirror {
    index: RwLock<Index>,
    config: Config,
    source: Arc<Health>,
    published: watch::Sender<Arc<Snapshot>>,
    programming: Histogram,
}

impl Mirror {
    /// An empty one.
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

    /// The index. Held only for the time of one question or one step of a longer
    /// walk: the loop waits for readers.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// What the programs are configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The health of the source.
    pub fn source(&self) -> &Arc<Health> {
        &self.source
    }

    /// What the loop last published of itself.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.borrow())
    }

    /// Shows a new state. Readers of the last one keep it and hold nobody up.
    fn publish(&self, snapshot: &Snapshot) {
        self.published.send_replace(Arc::new(snapshot.clone()));
    }

    /// From the arrival of a batch's first change to the last map write that the
    /// batch caused.
    pub fn programming(&self) -> &Histogram {
        &self.programming
    }
}

#[cfg(test)]
mod tests;
