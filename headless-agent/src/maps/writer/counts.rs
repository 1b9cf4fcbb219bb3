//! Figures of the writer, for metrics and `status`.

use std::sync::atomic::{AtomicU64, Ordering};

use headless_ebpf::abi::State;

use crate::maps::store::{MapKind, SinkError};

/// Figures of the writer. Other threads read them without a lock.
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
            SinkError::Failed { .. } => self.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}
