//! The verdict about a packet: answer, pass, or lost. Each verdict has a counter.

use crate::abi::{AnswerKind, Counter, Outcome, PassReason, Path};

/// A reply in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Length of the DNS message in bytes.
    pub len: usize,
    /// The kind of question, for counters.
    pub kind: AnswerKind,
    /// The kind of answer, for counters.
    pub outcome: Outcome,
}

/// The verdict about a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet is the reply now and goes back to the pod.
    Answer(AnswerKind, Outcome),
    /// The packet is as it came and goes on.
    Pass(PassReason),
    /// The packet was resized and then could not be written, which is a bug of the
    /// [`crate::wire::frame::Packet`]. This is the only case in which a packet is lost.
    Lost,
}

impl Verdict {
    /// The counter of this verdict. `None` for [`PassReason::NotDns`], which is not counted.
    pub fn counter(self, path: Path) -> Option<Counter> {
        VerdictCode::of(self).counter(path)
    }
}

/// A verdict as one number: the index of its counter on the path [`Path::Xdp`]. The programs
/// count this number and compare it with the ranges of answers and passes.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictCode(u32);

/// The code of passes that are not counted.
const NOT_DNS: VerdictCode = VerdictCode::pass(PassReason::NotDns);

/// Number of outcomes of each kind of answer.
const OUTCOMES: u32 = Outcome::ALL.len() as u32;

/// The code of the first segments of TCP connections.
const CONNECTION: VerdictCode = VerdictCode::pass(PassReason::Tcp);

/// The code of [`Verdict::Lost`].
const LOST: VerdictCode = VerdictCode::pass(PassReason::Lost);

impl VerdictCode {
    const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Answer(kind, outcome) => Self::answer(kind, outcome),
            Verdict::Pass(reason) => Self::pass(reason),
            Verdict::Lost => LOST,
        }
    }

    /// The code of [`Verdict::Answer`].
    #[inline(always)]
    pub(super) const fn answer(kind: AnswerKind, outcome: Outcome) -> Self {
        Self(Counter::answer(Path::Xdp, kind, outcome).0)
    }

    /// The code of [`Verdict::Pass`].
    #[inline(always)]
    pub(super) const fn pass(reason: PassReason) -> Self {
        Self(Counter::pass(Path::Xdp, reason).0)
    }

    /// The code of [`Verdict::Lost`].
    #[inline(always)]
    pub(super) const fn lost() -> Self {
        LOST
    }

    /// The code as a number.
    #[inline(always)]
    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }

    /// The code with this [`Self::number`].
    #[inline(always)]
    pub(super) const fn from_number(number: usize) -> Self {
        Self(number as u32)
    }

    /// The counter of the verdict. `None` for [`PassReason::NotDns`], which is not counted.
    #[inline(always)]
    pub const fn counter(self, path: Path) -> Option<Counter> {
        if self.0 == NOT_DNS.0 {
            None
        } else {
            Some(Counter(self.0 + Counter(0).on(path).0))
        }
    }

    /// Whether this is [`Verdict::Answer`].
    #[inline(always)]
    pub const fn is_answer(self) -> bool {
        self.0 >= Counter::answers(Path::Xdp).start
    }

    /// Whether this is [`Verdict::Lost`].
    #[inline(always)]
    pub const fn is_lost(self) -> bool {
        self.0 == LOST.0
    }

    /// Whether the packet asks for a TCP connection to a served address.
    #[inline(always)]
    pub const fn is_connection(self) -> bool {
        self.0 == CONNECTION.0
    }

    /// The verdict with this code.
    #[inline(always)]
    pub fn verdict(self) -> Verdict {
        if self.is_answer() {
            let number = self.0 - Counter::answers(Path::Xdp).start;
            let kind = AnswerKind::from_number(number / OUTCOMES);
            return Verdict::Answer(kind, Outcome::from_number(number % OUTCOMES));
        }
        match PassReason::from_number(self.0) {
            PassReason::Lost => Verdict::Lost,
            reason => Verdict::Pass(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_verdict_has_a_code_and_a_counter() {
        let answers = AnswerKind::ALL.into_iter().flat_map(|kind| {
            let answer = move |outcome| (Verdict::Answer(kind, outcome), kind, outcome);
            Outcome::ALL.into_iter().map(answer)
        });
        for (verdict, kind, outcome) in answers {
            assert_eq!(VerdictCode::of(verdict).verdict(), verdict);
            assert!(VerdictCode::of(verdict).is_answer());
            for path in Path::ALL {
                let counter = Counter::answer(path, kind, outcome);
                assert_eq!(verdict.counter(path), Some(counter));
            }
        }
        let passes: Vec<_> = PassReason::ALL
            .iter()
            .filter(|reason| **reason != PassReason::Lost)
            .collect();
        for reason in passes {
            let verdict = Verdict::Pass(*reason);
            assert_eq!(VerdictCode::of(verdict).verdict(), verdict);
            assert!(!VerdictCode::of(verdict).is_answer());
            for path in Path::ALL {
                let counter = Counter::pass(path, *reason);
                let expected = (*reason != PassReason::NotDns).then_some(counter);
                assert_eq!(verdict.counter(path), expected);
            }
        }
        assert_eq!(VerdictCode::lost().verdict(), Verdict::Lost);
        assert!(VerdictCode::lost().is_lost());
    }
}
