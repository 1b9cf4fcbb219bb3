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

impl Reply {
    /// Kind and outcome as one number.
    #[inline(always)]
    pub(super) const fn code(self) -> usize {
        self.kind as usize * OUTCOMES + self.outcome as usize
    }
}

const OUTCOMES: usize = Outcome::ALL.len();

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
    /// The answer with this [`Reply::code`].
    #[inline(always)]
    pub(super) const fn answer(code: usize) -> Self {
        let kind = match code / OUTCOMES {
            0 => AnswerKind::A,
            1 => AnswerKind::Aaaa,
            2 => AnswerKind::Srv,
            3 => AnswerKind::Ptr,
            _ => AnswerKind::Other,
        };
        let outcome = match code % OUTCOMES {
            0 => Outcome::Data,
            1 => Outcome::Truncated,
            2 => Outcome::NoData,
            _ => Outcome::NxDomain,
        };
        Self::Answer(kind, outcome)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_code() {
        for kind in AnswerKind::ALL {
            for outcome in Outcome::ALL {
                let reply = Reply {
                    len: 12,
                    kind,
                    outcome,
                };
                assert_eq!(
                    Verdict::answer(reply.code()),
                    Verdict::Answer(kind, outcome)
                );
            }
        }
    }
}
