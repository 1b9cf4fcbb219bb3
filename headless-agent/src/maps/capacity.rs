//! How large the maps must be for a cluster.

mod bound;
mod counts;
mod estimate;

use std::fmt;

use headless_ebpf::abi::{ENDPOINT_ENTRIES, REVERSE_SLOTS};

pub use self::bound::default_bound;
pub use self::counts::Counts;
pub use super::capacities::Capacities;
use super::kind::MapKind;

/// The capacities for a cluster, and what they leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// The capacities.
    pub capacities: Capacities,
    /// What has no room within the bound.
    pub left_out: Option<LeftOut>,
}

/// What has no room within the bound of the maps' memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// The cluster can grow to this many hundredths of its size only.
    Growth(u64),
    /// The kernel answers no reverse names.
    ReverseNames,
    /// There is room for this many hundredths of the names only, and for no reverse
    /// names.
    Names(u64),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Growth(percent) => write!(
                f,
                "the maps have room for {percent} % of the cluster as it is now, not {HEADROOM} %"
            ),
            Self::ReverseNames => write!(f, "reverse names are left to userspace"),
            Self::Names(percent) => write!(
                f,
                "the maps have room for some {percent} % of the names: the others and reverse \
                 names are left to userspace, and negative answers are withheld"
            ),
        }
    }
}

/// How large the maps are in relation to the cluster, in hundredths.
const HEADROOM: u64 = 200;

/// With less headroom than this, in hundredths, reverse names give way.
const HEADROOM_LEAST: u64 = 125;

/// The table of short keys has this share of the room for them, in hundredths; the hash
/// map behind it, which takes memory only for what it holds, has the rest.
const TABLE_SHARE: u64 = 62;

/// The capacities for a cluster, so that all maps, full, take at most `bound` bytes, as
/// far as that is possible at all.
pub fn capacities(counts: &Counts, bound: u64) -> Sizing {
    let counts = counts.at_least(Counts::LEAST);
    let forward = Counts {
        addresses: 0,
        ..counts
    };
    let sizing = |capacities, left_out| Sizing {
        capacities,
        left_out,
    };
    let fits = |capacities: &Capacities| capacities.total_bytes() <= bound;
    for percent in (HEADROOM_LEAST..=HEADROOM).rev() {
        let capacities = sized(&counts, percent);
        if fits(&capacities) {
            let growth = (percent < HEADROOM).then_some(LeftOut::Growth(percent));
            return sizing(capacities, growth);
        }
    }
    for percent in (100..=HEADROOM).rev() {
        let capacities = sized(&forward, percent);
        if fits(&capacities) {
            return sizing(capacities, Some(LeftOut::ReverseNames));
        }
    }
    // Finer than hundredths: the bound may be very small.
    let parts = 1..FINE;
    let part = parts
        .rev()
        .find(|part| fits(&scaled(&forward, *part, FINE)));
    let part = part.unwrap_or_default();
    let percent = part * 100 / FINE;
    sizing(scaled(&forward, part, FINE), Some(LeftOut::Names(percent)))
}

/// Parts in which a cluster is divided that does not fit as a whole.
const FINE: u64 = 10_000;

/// Whether maps of these capacities have room for the cluster and some growth, or as much
/// room for each kind of entry as any maps within the bound.
pub fn suffice(capacities: &Capacities, counts: &Counts, bound: u64) -> bool {
    let needed = sized(counts, HEADROOM_LEAST);
    let possible = self::capacities(counts, bound).capacities;
    MapKind::ALL.into_iter().all(|map| {
        let entries = needed.entries(map).min(possible.entries(map));
        capacities.entries(map) >= entries
    })
}

/// Capacities that are `percent` hundredths of what is needed.
fn sized(counts: &Counts, percent: u64) -> Capacities {
    scaled(counts, percent, 100)
}

/// Capacities that are `part` in `whole` of what is needed.
fn scaled(counts: &Counts, part: u64, whole: u64) -> Capacities {
    let entries = |count: u64| u32::try_from((count * part).div_ceil(whole)).unwrap_or(u32::MAX);
    // The kernel has no maps without entries.
    let at_least_one = |count: u64| entries(count).max(1);
    let [short, medium, long] = counts.records;
    let table = short * TABLE_SHARE / 100;
    Capacities {
        table_slots: at_least_one(table),
        names_short: at_least_one(short - table),
        names_medium: at_least_one(medium),
        names_long: at_least_one(long),
        chunks: at_least_one(counts.chunks + 1).max(2),
        endpoint_buckets: at_least_one(counts.endpoints.div_ceil(ENDPOINT_ENTRIES as u64)),
        reverse_buckets: entries(counts.addresses.div_ceil(REVERSE_SLOTS as u64)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1_000_000;

    /// 10,000 Services with 150,000 endpoints.
    const LARGE: Counts = Counts {
        records: [60_000, 12_000, 1_000],
        chunks: 40_000,
        endpoints: 150_000,
        addresses: 160_000,
    };

    #[test]
    fn maps_suffice_while_the_cluster_can_grow_or_the_bound_allows_no_more() {
        let loaded = |counts: &Counts, bound| capacities(counts, bound).capacities;
        let suffices = |loaded: &Capacities, percent: u64, bound| {
            suffice(loaded, &LARGE.map(|count| count * percent / 100), bound)
        };
        let maps = loaded(&LARGE, u64::MAX);
        assert!(suffices(&maps, 1, u64::MAX));
        assert!(suffices(&maps, 159, u64::MAX));
        assert!(!suffices(&maps, 162, u64::MAX));
        for other in [
            Counts {
                chunks: 70_000,
                ..LARGE
            },
            Counts {
                endpoints: 250_000,
                ..LARGE
            },
            Counts {
                records: [60_000, 12_000, 2_000],
                ..LARGE
            },
        ] {
            assert!(!suffice(&maps, &other, u64::MAX), "{other:?}");
        }
        // Maps as large as the bound allows are not made a second time.
        let tight = loaded(&LARGE, 20 * MB);
        assert!(!suffices(&tight, 100, u64::MAX));
        assert!(suffices(&tight, 100, 20 * MB));
        // An estimate that was too high may have cost the reverse names.
        let high = LARGE.map(|count| count * 3);
        assert!(!suffices(&loaded(&high, 40 * MB), 100, 40 * MB));
        assert!(suffices(&loaded(&Counts::LEAST, u64::MAX), 0, u64::MAX));
    }

    #[test]
    fn a_large_cluster_has_room_to_double() {
        let Sizing {
            capacities,
            left_out,
        } = capacities(&LARGE, u64::MAX);
        assert_eq!(left_out, None);
        let Counts {
            records: [short, medium, long],
            chunks,
            endpoints,
            addresses,
        } = LARGE;
        let room = |map| capacities.entries(map);
        assert!(room(MapKind::Table) + room(MapKind::NamesShort) >= 2 * short);
        assert!(room(MapKind::NamesMedium) >= 2 * medium);
        assert!(room(MapKind::NamesLong) >= 2 * long);
        assert!(room(MapKind::Chunks) >= 2 * chunks);
        assert!(room(MapKind::Endpoints) >= 2 * endpoints);
        assert!(room(MapKind::Reverse) >= 2 * addresses);
    }

    #[test]
    fn an_empty_cluster_can_grow() {
        let Capacities {
            table_slots,
            chunks,
            ..
        } = capacities(&Counts::default(), u64::MAX).capacities;
        assert!(table_slots > 1000 && chunks > 2000);
    }

    /// First growth gives way, then reverse names, then names.
    #[test]
    fn a_bound_is_kept() {
        let mut before = None;
        for (bound, expected) in [
            (100 * MB, "None"),
            (25 * MB, "Growth"),
            (20 * MB, "ReverseNames"),
            (5 * MB, "Names"),
        ] {
            let Sizing {
                capacities,
                left_out,
            } = capacities(&LARGE, bound);
            let text = format!("{left_out:?}");
            assert!(text.contains(expected), "{bound}: {text}");
            assert!(capacities.total_bytes() <= bound, "{bound}");
            assert_ne!(before.replace(capacities), Some(capacities));
        }
        let least = capacities(&LARGE, 0);
        assert_eq!(least.left_out, Some(LeftOut::Names(0)));
        assert!(least.capacities.total_bytes() < MB, "as little as possible");
    }

    proptest! {
        #[test]
        fn capacities_never_exceed_a_bound_that_can_be_kept(
            short in 0_u64..1_000_000,
            chunks in 0_u64..1_000_000,
            endpoints in 0_u64..10_000_000,
            bound in 1_000_000_u64..1_000_000_000,
        ) {
            let counts = Counts {
                records: [short, short / 7, short / 100],
                chunks,
                endpoints,
                addresses: endpoints + short,
            };
            let sizing = capacities(&counts, bound);
            prop_assert!(sizing.capacities.total_bytes() <= bound, "{sizing:?}");
        }
    }
}
