//! The counters of verdicts. Each verdict of each program has a number, the index of a per-CPU
//! counter in [`super::map::COUNTERS`], and a label, which metrics and `status` show.

use core::ops::Range;

use super::digest::Digest;

/// The program that answered a packet or let it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Path {
    /// The XDP program.
    Xdp = 0,
    /// The tc program.
    Tc = 1,
}

impl Path {
    /// Every path, in the order of the numbers.
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

/// The type of an answered question, as far as counters distinguish types.
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
    /// Every kind, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::A, Self::Aaaa, Self::Srv, Self::Ptr, Self::Other];

    /// The kind with this number. [`Self::Other`] where no kind has it.
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

/// The outcome of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// NOERROR with records.
    Data = 0,
    /// NOERROR with records and TC=1: the client does not take all records.
    Truncated = 1,
    /// NOERROR without records (RFC 2308, section 2.2).
    NoData = 2,
    /// NXDOMAIN (RFC 2308, section 2.1).
    NxDomain = 3,
}

impl Outcome {
    /// Every outcome, in the order of the numbers.
    pub const ALL: [Self; 4] = [Self::Data, Self::Truncated, Self::NoData, Self::NxDomain];

    /// The outcome with the number `number % 4`.
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
        /// Why a packet passes, bit for bit as it came.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum PassReason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl PassReason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason with this number. [`Self::Lost`] where no reason has it.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Self {
                // Branches instead of a table: the compiler compares one copy of the index
                // and uses another, and the verifier does not know that both are the same.
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
    /// The packet is no query over UDP, and nothing that may be one at a served address. The
    /// kernel does not count this reason: it is the pods' other traffic, which should not pay for
    /// a counter.
    NotDns = 0, "not_dns";
    /// The deadline has passed, or the agent has not written one yet.
    AgentStale = 1, "agent_stale";
    /// The packet may be a query to a served address, but is a fragment, has IPv4 options, a wrong
    /// IPv4 checksum or IPv6 extension headers, or has another IP version than its Ethernet type
    /// says.
    IpHeader = 2, "ip_header";
    /// The lengths of IP, UDP and frame contradict each other, or the packet holds several joined
    /// datagrams.
    Length = 3, "length";
    /// The frame has more bytes than the engine reads.
    TooLong = 4, "too_long";
    /// The message is a response (QR=1).
    Response = 5, "response";
    /// The opcode is not QUERY.
    Opcode = 6, "opcode";
    /// The query is truncated (TC=1).
    Truncated = 7, "truncated";
    /// The query has not exactly one question, or has records that a query does not have.
    Counts = 8, "counts";
    /// The class is not IN.
    Class = 9, "class";
    /// The name has a label of more than 63 bytes or a compression pointer, does not end, or has
    /// more than 255 bytes.
    Name = 10, "name";
    /// Bytes that are not an OPT record follow the question.
    Trailing = 11, "trailing";
    /// The record behind the question is no OPT record, or does not end with the message.
    Edns = 12, "edns";
    /// The name is outside the zone.
    OutsideZone = 13, "outside_zone";
    /// Userspace answers questions of this type.
    Qtype = 14, "qtype";
    /// Userspace answers questions for this name.
    Userspace = 15, "userspace";
    /// The answer would be a denial, and the maps are incomplete.
    Incomplete = 16, "incomplete";
    /// The agent wrote over a name or a chunk while the maps were read.
    Changed = 17, "changed";
    /// The reply is larger than this program can make, or than the packet can carry.
    TooLarge = 18, "too_large";
    /// The kernel refused to give the packet the size of the reply.
    NoRoom = 19, "no_room";
    /// A map or its only element is missing, which is a fault of the agent; or in tc, the
    /// interface has no record.
    Map = 20, "map";
    /// The packet is for port 53 over UDP, but not for a served address.
    NotServed = 21, "not_served";
    /// The packet was resized and then not written, so that it is lost. Always zero unless there
    /// is a bug.
    Lost = 22, "lost";
    /// The CPU was answering another packet, which happens on kernels with `PREEMPT_RT` only.
    Busy = 23, "busy";
    /// The packet would be answered, but its interface is only observed.
    Observed = 24, "observed";
    /// The OPT record has another version than 0.
    EdnsVersion = 25, "edns_version";
    /// The OPT record has more than four options.
    EdnsCount = 26, "edns_count";
    /// The OPT record has more than 64 bytes of options.
    EdnsLength = 27, "edns_length";
    /// An EDNS option overruns the OPT record or has a length that CoreDNS refuses, or it is a
    /// report channel.
    EdnsOption = 28, "edns_option";
    /// The EDNS option with the client's subnet has an address family or a prefix length that
    /// CoreDNS refuses.
    EdnsSubnet = 29, "edns_subnet";
    /// The packet asks for a TCP connection to port 53 of a served address. A client that gets a
    /// truncated reply does so.
    Tcp = 30, "tcp";
    /// CoreDNS may answer the question otherwise, by what its Corefile says.
    Corefile = 31, "corefile";
}

/// The index of a per-CPU counter. The counters of a path follow each other: first the passes,
/// then the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub u32);

/// Counters for passes on each path. Some are not used, so that a new reason moves no index.
const PASSES: u32 = 40;
/// Counters for answers on each path.
const ANSWERS: u32 = (AnswerKind::ALL.len() * Outcome::ALL.len()) as u32;
/// Counters on each path.
const PER_PATH: u32 = PASSES + ANSWERS;

/// Number of counters.
pub const COUNTERS: u32 = PER_PATH * Path::ALL.len() as u32;

const _: () = assert!(PassReason::ALL.len() <= PASSES as usize);

impl Counter {
    /// The counter of the same verdict on another path.
    #[inline(always)]
    #[must_use]
    pub const fn on(self, path: Path) -> Self {
        Self(path as u32 * PER_PATH + self.0 % PER_PATH)
    }

    /// The indices of all counters for answers on a path.
    pub const fn answers(path: Path) -> Range<u32> {
        let first = path as u32 * PER_PATH + PASSES;
        first..first + ANSWERS
    }

    /// The counter of packets that passed for `reason`.
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

/// Digest of all numbers and labels.
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
