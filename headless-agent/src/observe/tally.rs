//! Splits the counters of the programs and of the agent into answers and passes.

use headless_ebpf::abi::{AnswerKind, Counter, Outcome, PassReason, Path};

/// Label of the agent's own answers, beside those of the programs.
pub const AGENT: &str = "agent";

/// The answers and passes of one path.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By kind and outcome.
    pub answers: Vec<(AnswerKind, Outcome, u64)>,
    /// By reason.
    pub passes: Vec<(PassReason, u64)>,
}

impl Tally {
    /// The answers and passes of one path, from counters in the order of their indices.
    pub fn of(path: Path, cells: &[u64]) -> Self {
        let cell = |Counter(index): Counter| cells.get(index as usize).copied().unwrap_or_default();
        let mut tally = Self::default();
        for kind in AnswerKind::ALL {
            for outcome in Outcome::ALL {
                let count = cell(Counter::answer(path, kind, outcome));
                tally.answers.push((kind, outcome, count));
            }
        }
        for &reason in PassReason::ALL {
            tally
                .passes
                .push((reason, cell(Counter::pass(path, reason))));
        }
        tally
    }

    /// All answers.
    pub fn answered(&self) -> u64 {
        self.answers.iter().map(|(_, _, count)| count).sum()
    }
}
