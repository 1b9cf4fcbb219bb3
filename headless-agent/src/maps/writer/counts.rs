//! Figures of the writer, for metrics and `status`.

use std::sync::atomic::{AtomicU64, Ordering};

use headless_ebpf::abi::State;
use parking_lot::Mutex;

use crate::maps::budget::Yielding;
use crate::maps::store::{MapKind, SinkError};

/// The most namespaces that [`WriteCounts::yielding`] names.
const YIELDING_SHOWN_MAX: usize = 16;

/// Figures of the writer. Other threads read them while the writer works.
#[derive(Debug, Default)]
pub struct WriteCounts {
    /// Number of entries by [`MapKind`].
    entries: [AtomicU64; MapKind::ALL.len()],
    /// Number of written elements since the start.
    pub written: AtomicU64,
    /// Number of writes since the start that found a map full.
    pub full: AtomicU64,
    /// Number of writes since the start that the kernel refused for another reason.
    pub failed: AtomicU64,
    /// Number of names whose last write failed. The writer tries them again. Negative answers
    /// are withheld until all are written.
    pub pending: AtomicU64,
    /// Number of names whose addresses or details find no room in `CHUNKS`. The programs
    /// leave these names to userspace.
    pub crowded: AtomicU64,
    /// Number of Services whose names or reverse names yield.
    pub yielding_services: AtomicU64,
    /// Number of namespaces with names that yield.
    pub yielding_namespaces: AtomicU64,
    /// The first 16 namespaces with names that yield.
    yielding: Mutex<Vec<String>>,
    /// Number of entries since the start that a full pass found to differ from the index.
    pub drift: AtomicU64,
    /// Number of full passes since the start.
    pub reconciles: AtomicU64,
    /// `CLOCK_MONOTONIC` of the last heartbeat in nanoseconds. 0 before the first heartbeat.
    pub beat_ns: AtomicU64,
    /// [`State::serial`] as last written.
    pub serial: AtomicU64,
    /// [`State::flags`] as last written.
    pub flags: AtomicU64,
}

impl WriteCounts {
    /// Number of entries of a map.
    pub fn entries(&self, map: MapKind) -> u64 {
        self.entries[map as usize].load(Ordering::Relaxed)
    }

    /// Whether the programs may give negative answers.
    pub fn complete(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & u64::from(State::COMPLETE) != 0
    }

    /// Namespaces with names that yield, in the order of their names, at most 16. Each comes with
    /// the number of its Services that yield, and says whether it has names without a record.
    pub fn yielding(&self) -> Vec<String> {
        self.yielding.lock().clone()
    }

    /// Replaces the figures about Services and namespaces that yield.
    pub(super) fn set_yielding(&self, services: u64, namespaces: Vec<Yielding>) {
        let show = |Yielding {
                        namespace,
                        services,
                        marked,
                    }: Yielding| {
            let more = if marked {
                ", others without a record"
            } else {
                ""
            };
            format!("{namespace} ({services} Services{more})")
        };
        let number = namespaces.len() as u64;
        self.yielding_services.store(services, Ordering::Relaxed);
        self.yielding_namespaces.store(number, Ordering::Relaxed);
        let shown = namespaces.into_iter().take(YIELDING_SHOWN_MAX);
        *self.yielding.lock() = shown.map(show).collect();
    }

    /// Counts written elements.
    pub(super) fn wrote(&self, elements: u64) {
        self.written.fetch_add(elements, Ordering::Relaxed);
    }

    /// Sets the number of entries of a map.
    pub(in crate::maps) fn set_entries(&self, map: MapKind, entries: u64) {
        self.entries[map as usize].store(entries, Ordering::Relaxed);
    }

    /// Adds to the number of entries of a map.
    pub(in crate::maps) fn add_entries(&self, map: MapKind, difference: i64) {
        let entries = &self.entries[map as usize];
        entries.fetch_add(difference.cast_unsigned(), Ordering::Relaxed);
    }

    /// Counts a failed write.
    pub(super) fn failure(&self, error: &SinkError) {
        match error {
            SinkError::Full { .. } => self.full.fetch_add(1, Ordering::Relaxed),
            SinkError::Failed { .. } | SinkError::PassedNames => {
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}
