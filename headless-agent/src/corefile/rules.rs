//! The rules of a Corefile as plain values.

use std::fmt;
use std::time::Duration;

use headless_ebpf::abi::{PodsMode, State, Ttls};

use super::exposure::Exposure;
use super::token::Place;

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

/// A line of the Corefile, and which parts it leaves to CoreDNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The parts; empty for a mere remark.
    pub parts: Parts,
    /// The line; `None` where the whole Corefile is meant.
    pub place: Option<Place>,
    /// The reason.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.text)?;
        let zone = Parts::from(Part::Zone);
        let covered = Parts::from(Part::NxDomain) | Part::Denials.into();
        let parts = if self.parts.has(Part::Zone) {
            self.parts.differing(self.parts & covered) | zone
        } else {
            self.parts
        };
        for (i, part) in parts.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { ": " } else { ", " }, part.cost())?;
        }
        Ok(())
    }
}

impl std::ops::BitAnd for Parts {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The bounds of a cache on TTLs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamp {
    /// The least TTL.
    pub min: u32,
    /// The largest TTL. It wins where it is below the least.
    pub max: u32,
}

impl Clamp {
    /// The TTL within the bounds (`cache.go`, `computeTTL`).
    pub fn apply(self, ttl: u32) -> u32 {
        ttl.max(self.min).min(self.max)
    }
}

/// The bounds that `cache` puts on TTLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// For answers with records.
    pub success: Clamp,
    /// For denials.
    pub denial: Clamp,
}

impl Cache {
    /// The TTLs that clients see behind the cache.
    pub fn bound(self, ttls: Ttls) -> Ttls {
        let Self { success, denial } = self;
        Ttls {
            records: success.apply(ttls.records),
            minimum: ttls.minimum,
            authority: success.apply(ttls.authority),
            denial: denial.apply(ttls.denial),
            version: success.apply(ttls.version),
        }
    }
}

/// The options of the plugins that the agent takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The zone, in small letters with its final dot.
    pub zone: String,
    /// `pods` of `kubernetes`.
    pub pods: PodsMode,
    /// `ttl` of `kubernetes` in seconds.
    pub ttl: u32,
    /// `endpoint_pod_names` of `kubernetes`.
    pub endpoint_pod_names: bool,
    /// The options of `kubernetes` that say which objects have names.
    pub exposure: Exposure,
    /// `cache`, where it covers the zone.
    pub cache: Option<Cache>,
    /// The size in bytes to which `bufsize` lowers the client's.
    pub bufsize: Option<u16>,
    /// Whether a question of any class is answered as one of class IN.
    pub any_class: bool,
}

impl Options {
    /// The options of a `kubernetes` plugin without any (`kubernetes.go`, `setup.go`).
    pub(super) fn new(zone: String) -> Self {
        Self {
            zone,
            pods: PodsMode::Disabled,
            ttl: 5,
            endpoint_pod_names: false,
            exposure: Exposure::default(),
            cache: None,
            bufsize: None,
            any_class: false,
        }
    }
}

impl Options {
    /// The options that have other values than in `before`, in words.
    pub fn differences(&self, before: &Self) -> String {
        let of = |options: &Self| {
            let Self {
                zone,
                pods,
                ttl,
                endpoint_pod_names,
                exposure,
                cache,
                bufsize,
                any_class,
            } = options;
            let bounds = |clamp: Clamp| format!("{} to {}", clamp.min, clamp.max);
            let cache = cache.map_or_else(
                || "none".to_owned(),
                |Cache { success, denial }| format!("{} and {}", bounds(success), bounds(denial)),
            );
            [
                ("zone", zone.clone()),
                ("pods", format!("{pods:?}").to_lowercase()),
                ("ttl", ttl.to_string()),
                ("endpoint_pod_names", endpoint_pod_names.to_string()),
                ("namespaces", exposure.namespaces.to_string()),
                ("labels", format!("`{}`", exposure.labels)),
                ("noendpoints", exposure.no_endpoints.to_string()),
                ("ignore empty_service", exposure.ignore_empty.to_string()),
                ("cache", cache),
                (
                    "bufsize",
                    bufsize.map_or_else(|| "none".into(), |it| it.to_string()),
                ),
                ("answers to any class", any_class.to_string()),
            ]
        };
        let pairs = of(self).into_iter().zip(of(before));
        let differing = pairs.filter(|(new, old)| new != old);
        let texts =
            differing.map(|((name, new), (_, old))| format!("{name} {new} instead of {old}"));
        texts.collect::<Vec<_>>().join(", ")
    }
}

/// How CoreDNS hears about a changed Corefile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// CoreDNS reads its file when its pods are restarted.
    Never,
    /// CoreDNS looks at its file this often, jitter included.
    Every(Duration),
}

/// The rules of a Corefile about the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The options that the agent takes over; `None` where they are not known.
    pub options: Option<Options>,
    /// The lines that leave parts to CoreDNS, and remarks.
    pub findings: Vec<Finding>,
    /// How CoreDNS hears about a change.
    pub reload: Reload,
}

impl Rules {
    /// The rules where nothing is known but a reason to leave parts to CoreDNS.
    pub fn unknown(finding: Finding) -> Self {
        Self {
            options: None,
            findings: vec![finding],
            reload: Reload::Never,
        }
    }

    /// The parts that are left to CoreDNS.
    pub fn parts(&self) -> Parts {
        let parts = self.findings.iter().map(|finding| finding.parts);
        parts.fold(Parts::NONE, |all, parts| all | parts)
    }

    /// The parts on whose answers two Corefiles disagree.
    pub fn disagreement(&self, other: &Self) -> Parts {
        let mut parts = self.parts().differing(other.parts());
        let own = self.options.as_ref();
        let other = other.options.as_ref();
        if let (Some(own), Some(other)) = (own, other)
            && own != other
        {
            parts |= Parts::ALL;
        }
        parts
    }
}
