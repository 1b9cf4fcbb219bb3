//! Parts of the questions.

use std::fmt;

use headless_ebpf::abi::State;

/// A part of the questions, which the programs can leave to CoreDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Every question for a name in the zone.
    Zone,
    /// Questions for names in the zone that do not exist.
    NxDomain,
    /// Questions to which the answer would be a denial: NXDOMAIN or NODATA.
    Denials,
    /// Questions for reverse names.
    Reverse,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Zone, Self::NxDomain, Self::Denials, Self::Reverse];

    /// Label in metrics and in the status.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::NxDomain => "nxdomain",
            Self::Denials => "denials",
            Self::Reverse => "reverse",
        }
    }

    /// The cost of leaving the part to CoreDNS, in words.
    pub const fn cost(self) -> &'static str {
        match self {
            Self::Zone => "all names of the zone are left to CoreDNS",
            Self::NxDomain => "names that do not exist are left to CoreDNS",
            Self::Denials => "answers without records are left to CoreDNS",
            Self::Reverse => "reverse names are left to CoreDNS",
        }
    }

    /// The bit of the part in [`State::flags`].
    const fn bit(self) -> u32 {
        match self {
            Self::Zone => State::PASS_ZONE,
            Self::NxDomain => State::PASS_NXDOMAIN,
            Self::Denials => State::PASS_DENIALS,
            Self::Reverse => State::PASS_REVERSE,
        }
    }
}

/// A set of parts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts(u32);

impl Parts {
    /// No part.
    pub const NONE: Self = Self(0);
    /// All parts.
    pub const ALL: Self = Self(State::PASSES);

    /// The parts as bits of [`State::flags`].
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The parts whose bits are set in [`State::flags`].
    pub const fn from_bits(flags: u32) -> Self {
        Self(flags & State::PASSES)
    }

    /// Whether the set holds `part`.
    pub const fn has(self, part: Part) -> bool {
        self.0 & part.bit() != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The parts, each once.
    pub fn iter(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.has(*part))
    }

    /// The parts that one of the sets has and the other has not.
    #[must_use]
    pub const fn differing(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Self(part.bit())
    }
}

impl std::ops::BitOr for Parts {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Parts {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl std::ops::BitAnd for Parts {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
