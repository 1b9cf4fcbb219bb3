//! What the writer has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use headless_ebpf::abi::State;

use super::kind::{MapKind, SinkError};

/// What the writer has done, for metrics and `status`. Shared and lock-free.
#[derive(Debug, Default)]
pub struct WriteCounts {
    /// Entries by [`MapKind`].
    entries: [AtomicU64; MapKind::ALL.len()],
    /// Writes that succeeded.
    pub written: AtomicU64,
    /// Writes that failed for want of room.
    pub full: AtomicU64,
    /// Writes that failed otherwise.
    pub failed: AtomicU64,
    /// Names whose last write failed and that are tried again. Negative answers are
    /// withheld meanwhile.
    pub pending: AtomicU64,
    /// Names whose addresses find no room: the programs leave these names to
    /// userspace.
    pub crowded: AtomicU64,
    /// Entries that a full pass found to differ from the index.
    pub drift: AtomicU64,
    /// Full passes.
    pub reconciles: AtomicU64,
    /// `CLOCK_MONOTONIC` of the last heartbeat in nanoseconds; 0 before the
    /// first.
    pub beat_ns: AtomicU64,
    /// The last written [`State`]'s serial.
    pub serial: AtomicU64,
    /// The last written [`State`]'s flags.
    pub flags: AtomicU64,
}

impl WriteCounts {
    /// Entries of a map.
    pub fn entries(&self, map: MapKind) -> u64 {
        self.entries[map as usize].load(Ordering::Relaxed)
    }

    /// Whether the programs may give negative answers.
    pub fn complete(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & u64::from(State::COMPLETE) != 0
    }

    pub(super) fn wrote(&self, entries: u64) {
        self.written.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn set_entries(&self, map: MapKind, entries: u64) {
        self.entries[map as usize].store(entries, Ordering::Relaxed);
    }

    /// One entry more or less.
    pub(super) fn add_entries(&self, map: MapKind, difference: i64) {
        let entries = &self.entries[map as usize];
        entries.fetch_add(difference.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn failure(&self, error: &SinkError) {
        match error {
            SinkError::Full { .. } => self.full.fetch_add(1, Ordering::Relaxed),
            SinkError::Failed { .. } => self.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}
