//! The rules of a Corefile as plain values.

use std::fmt;
use std::time::Duration;

use headless_ebpf::abi::{PodsMode, Ttls};

use super::exposure::Exposure;
use super::left::Left;
pub use super::parts::{Part, Parts};
use super::token::Place;

/// A line of the Corefile, and which questions it leaves to CoreDNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The questions; none for a mere remark.
    pub left: Left,
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
        let Left { parts, names } = &self.left;
        let parts = if parts.has(Part::Zone) {
            parts.differing(*parts & covered) | zone
        } else {
            *parts
        };
        for (i, part) in parts.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { ": " } else { ", " }, part.cost())?;
        }
        let separator = if parts.is_empty() { ": " } else { ", " };
        match names.len() {
            0 => Ok(()),
            1 => write!(f, "{separator}this name is left to CoreDNS"),
            len => write!(f, "{separator}these {len} names are left to CoreDNS"),
        }
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

/// How CoreDNS hears about a changed Corefile. The slower way is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reload {
    /// CoreDNS looks at its file this often, jitter included.
    Every(Duration),
    /// CoreDNS reads its file when its pods are restarted.
    Never,
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
    /// Why a folder cannot be read in which the text names files. The other fields are then no
    /// rules of CoreDNS, which may read the files.
    pub unread: Option<String>,
}

impl Rules {
    /// The rules where nothing is known but a reason to leave parts to CoreDNS.
    pub fn unknown(finding: Finding) -> Self {
        Self {
            options: None,
            findings: vec![finding],
            reload: Reload::Never,
            unread: None,
        }
    }

    /// The questions that are left to CoreDNS.
    pub fn left(&self) -> Left {
        let left = self.findings.iter().map(|finding| &finding.left);
        left.fold(Left::NOTHING, Left::and)
    }

    /// The parts that are left to CoreDNS.
    pub fn parts(&self) -> Parts {
        self.left().parts
    }

    /// The questions about which two Corefiles disagree.
    pub fn disagreement(&self, other: &Self) -> Left {
        let left = self.left().differing(&other.left());
        let own = self.options.as_ref();
        let other = other.options.as_ref();
        if let (Some(own), Some(other)) = (own, other)
            && own != other
        {
            return Left::ALL;
        }
        left
    }
}
