//! 5. WHAT XDP PASSES. The agent's own answers.
//!
//! A packet that the program passes is unchanged and goes on as if headless
//! were not there. Where its destination is an address that the agent listens
//! on, the agent answers: first by the engine that the program runs, over the
//! index instead of the maps ([`lookup`]); what the engine passes, by all the
//! rules ([`crate::records`]).

pub mod lookup;
pub mod server;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use headless_ebpf::abi::{AnswerKind, COUNTERS, Counter, Outcome, PassReason, Path};

/// What the responder has done. The engine's verdicts are counted as the
/// programs count theirs, in the cells of the first path.
#[derive(Debug)]
pub struct Counts {
    cells: Vec<AtomicU64>,
    /// Messages answered by the rules outside the engine.
    pub resolved: AtomicU64,
    /// Messages that another server would have to answer.
    pub refused: AtomicU64,
    /// Messages that got no answer: not queries, or not DNS at all.
    pub ignored: AtomicU64,
    /// Replies that could not be sent.
    pub unsent: AtomicU64,
}

impl Default for Counts {
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

impl Counts {
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
