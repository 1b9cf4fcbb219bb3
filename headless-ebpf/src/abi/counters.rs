//! Every way a packet can take, numbered: the number is the index of a per-CPU
//! counter in the kernel, the label is what metrics and `status` print.

use core::ops::Range;

use super::digest::Digest;

/// Which program gave the answer or the packet up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Path {
    /// The XDP program.
    Xdp = 0,
    /// The tc program.
    Tc = 1,
}

impl Path {
    /// Every path, in order of its number.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    /// Label in metrics.
    #[inline(always)]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }
}

/// Question type of an answer, as far as counters tell types apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum AnswerKind {
    /// A (RFC 1035).
    A = 0,
    /// AAAA (RFC 3596).
    Aaaa = 1,
    /// SRV (RFC 2782).
    Srv = 2,
    /// PTR (RFC 1035).
    Ptr = 3,
    /// Any other type.
    Other = 4,
}

impl AnswerKind {
    /// Every kind, in order of its number.
    pub const ALL: [Self; 5] = [Self::A, Self::Aaaa, Self::Srv, Self::Ptr, Self::Other];

    /// The kind with this number, [`Self::Other`] if there is none.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::A,
            1 => Self::Aaaa,
            2 => Self::Srv,
            3 => Self::Ptr,
            _ => Self::Other,
        }
    }

    /// Label in metrics.
    #[inline(always)]
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
            Self::Ptr => "PTR",
            Self::Other => "other",
        }
    }
}

/// What an answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// NOERROR with records.
    Data = 0,
    /// NOERROR with records and TC=1: more than the client takes.
    Truncated = 1,
    /// NOERROR without records (RFC 2308, section 2.2).
    NoData = 2,
    /// NXDOMAIN (RFC 2308, section 2.1).
    NxDomain = 3,
}

impl Outcome {
    /// Every outcome, in order of its number.
    pub const ALL: [Self; 4] = [Self::Data, Self::Truncated, Self::NoData, Self::NxDomain];

    /// The outcome of the number that has these two lowest bits.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number % 4 {
            0 => Self::Data,
            1 => Self::Truncated,
            2 => Self::NoData,
            _ => Self::NxDomain,
        }
    }

    /// Label in metrics.
    #[inline(always)]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Truncated => "truncated",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
        }
    }
}

macro_rules! pass_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $label:literal;)+) => {
        /// Why a packet was left to userspace, bit for bit as it came.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum PassReason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl PassReason {
            /// Every reason, in order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason with this number, [`Self::Lost`] if there is none.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Self {
                // Branches and not a table: the verifier does not connect the comparison
                // of an index with the compiler's copy of the index.
                match number {
                    $($number => Self::$name,)+
                    _ => Self::Lost,
                }
            }

            /// Label in metrics.
            #[inline(always)]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

pass_reasons! {
    /// Not a DNS query to a served address over UDP. Not counted in the kernel:
    /// this is the pod's other traffic, and counting would be its cost.
    NotDns = 0, "not_dns";
    /// The agent's deadline has passed, or it has not written one yet.
    AgentStale = 1, "agent_stale";
    /// A fragment, IPv4 options or a wrong checksum of them, IPv6 extension headers,
    /// or a version that the Ethernet type contradicts.
    IpHeader = 2, "ip_header";
    /// Lengths of IP, UDP and frame contradict each other.
    Length = 3, "length";
    /// More bytes than the engine reads.
    TooLong = 4, "too_long";
    /// QR=1: a response, not a query.
    Response = 5, "response";
    /// An opcode other than QUERY.
    Opcode = 6, "opcode";
    /// TC=1 in a query.
    Truncated = 7, "truncated";
    /// Not exactly one question, or records where a query has none.
    Counts = 8, "counts";
    /// A class other than IN.
    Class = 9, "class";
    /// A label longer than 63 bytes, a compression pointer, a name that ends
    /// early, or a name of more than 255 bytes.
    Name = 10, "name";
    /// Bytes after the question that are not an OPT record.
    Trailing = 11, "trailing";
    /// An OPT record with options, of another version, or ill-formed.
    Edns = 12, "edns";
    /// A name outside the zone.
    OutsideZone = 13, "outside_zone";
    /// A question type that is answered in userspace.
    Qtype = 14, "qtype";
    /// A name or record kind that is answered in userspace.
    Userspace = 15, "userspace";
    /// A negative answer that may not be given while the maps are incomplete.
    Incomplete = 16, "incomplete";
    /// The value changed while it was read.
    Changed = 17, "changed";
    /// The reply is larger than this program can make it.
    TooLarge = 18, "too_large";
    /// The packet could not be given the size of the reply.
    NoRoom = 19, "no_room";
    /// A map or its only entry is missing: an agent of another version.
    Map = 20, "map";
    /// Over UDP to port 53, but not of a served address.
    NotServed = 21, "not_served";
    /// Resized and then not written: the packet is lost. Always zero.
    Lost = 22, "lost";
    /// Another packet was being answered on this CPU, which only happens on kernels
    /// with `PREEMPT_RT`.
    Busy = 23, "busy";
}

/// Index of a per-CPU counter: path by path, the passes before the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub u32);

/// Most pass reasons a path can have, so that new ones move no index.
const PASSES: u32 = 40;
const ANSWERS: u32 = (AnswerKind::ALL.len() * Outcome::ALL.len()) as u32;
const PER_PATH: u32 = PASSES + ANSWERS;

/// Number of counters.
pub const COUNTERS: u32 = PER_PATH * Path::ALL.len() as u32;

const _: () = assert!(PassReason::ALL.len() <= PASSES as usize);

impl Counter {
    /// The counter with this index on another path.
    #[inline(always)]
    #[must_use]
    pub const fn on(self, path: Path) -> Self {
        Self(path as u32 * PER_PATH + self.0 % PER_PATH)
    }

    /// The indices of all answers of a path.
    pub const fn answers(path: Path) -> Range<u32> {
        let first = path as u32 * PER_PATH + PASSES;
        first..first + ANSWERS
    }

    /// The counter of packets passed for `reason`.
    #[inline(always)]
    pub const fn pass(path: Path, reason: PassReason) -> Self {
        Self(path as u32 * PER_PATH + reason as u32)
    }

    /// The counter of answers of this kind and outcome.
    #[inline(always)]
    pub const fn answer(path: Path, kind: AnswerKind, outcome: Outcome) -> Self {
        Self(
            path as u32 * PER_PATH
                + PASSES
                + kind as u32 * Outcome::ALL.len() as u32
                + outcome as u32,
        )
    }
}

/// Digest of the counters' numbers and labels.
pub(super) const COUNTERS_DIGEST: u64 = {
    let mut digest = Digest::NEW.number(COUNTERS as u64);
    let mut i = 0;
    while i < PassReason::ALL.len() {
        let reason = PassReason::ALL[i];
        digest = digest.number(reason as u64).text(reason.label());
        i += 1;
    }
    i = 0;
    while i < Path::ALL.len() {
        digest = digest
            .number(Path::ALL[i] as u64)
            .text(Path::ALL[i].label());
        i += 1;
    }
    i = 0;
    while i < AnswerKind::ALL.len() {
        let kind = AnswerKind::ALL[i];
        digest = digest.number(kind as u64).text(kind.label());
        i += 1;
    }
    i = 0;
    while i < Outcome::ALL.len() {
        let outcome = Outcome::ALL[i];
        digest = digest.number(outcome as u64).text(outcome.label());
        i += 1;
    }
    digest.value()
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_among_the_answers_of_its_path() {
        for path in Path::ALL {
            let mut expected = Counter::answers(path);
            for kind in AnswerKind::ALL {
                for outcome in Outcome::ALL {
                    let Counter(index) = Counter::answer(path, kind, outcome);
                    assert_eq!(expected.next(), Some(index));
                }
            }
            assert_eq!(expected.next(), None);
        }
    }
}
