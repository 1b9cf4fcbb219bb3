//! The agent's own answers to queries that the programs pass.
//!
//! A passed packet goes on as if headless were not there. If its destination is an
//! address that the agent listens on, the agent answers. It asks the engine of the
//! programs first, over the index instead of the maps ([`lookup`]), and the resolver
//! with all rules ([`crate::records`]) for queries that the engine passes.

pub mod lookup;
pub mod server;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use headless_ebpf::abi::{AnswerKind, COUNTERS, Counter, Outcome, PassReason, Path};

/// Counters of the responder. Verdicts of the engine are counted in the same cells as
/// the XDP program's.
#[derive(Debug)]
pub struct ResponderCounts {
    cells: Vec<AtomicU64>,
    /// Messages answered by the resolver.
    pub resolved: AtomicU64,
    /// Messages refused, because another server would have to answer.
    pub refused: AtomicU64,
    /// Messages without an answer: no queries, or no DNS at all.
    pub ignored: AtomicU64,
    /// Replies that could not be sent.
    pub unsent: AtomicU64,
}

impl Default for ResponderCounts {
    fn default() -> Self {
        Self {
            cells: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            resolved: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
        }
    }
}

impl ResponderCounts {
    fn count(&self, Counter(index): Counter) {
        if let Some(cell) = self.cells.get(index as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer of the engine.
    pub fn answered(&self, kind: AnswerKind, outcome: Outcome) {
        self.count(Counter::answer(Path::Xdp, kind, outcome));
    }

    /// Counts a message that the engine passed.
    pub fn passed(&self, reason: PassReason) {
        self.count(Counter::pass(Path::Xdp, reason));
    }

    /// Every counter of the engine, by index.
    pub fn read(&self) -> Vec<u64> {
        let cells = self.cells.iter();
        cells.map(|cell| cell.load(Ordering::Relaxed)).collect()
    }
}
