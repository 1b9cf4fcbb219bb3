//! What became of a packet.

use crate::abi::{AnswerKind, Counter, Outcome, PassReason, Path};

/// An answer that stands in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Length of the DNS message in bytes.
    pub len: usize,
    /// Question type, as far as counters tell types apart.
    pub kind: AnswerKind,
    /// What the answer says.
    pub outcome: Outcome,
}

/// What became of a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet is now the reply and goes back the way it came.
    Answer(AnswerKind, Outcome),
    /// The packet is as it was and goes on.
    Pass(PassReason),
    /// The packet was resized and then could not be written: a bug in the
    /// [`crate::wire::frame::Packet`], and the one case in which a packet is lost.
    Lost,
}

impl Verdict {
    /// The counter of this verdict; `None` for [`PassReason::NotDns`], which is not
    /// counted.
    #[inline(always)]
    pub const fn counter(self, path: Path) -> Option<Counter> {
        match self {
            Self::Answer(kind, outcome) => Some(Counter::answer(path, kind, outcome)),
            Self::Pass(PassReason::NotDns) => None,
            Self::Pass(reason) => Some(Counter::pass(path, reason)),
            Self::Lost => Some(Counter::pass(path, PassReason::Lost)),
        }
    }
}
