//! The capacities of the maps for a cluster, within a bound of memory.
//!
//! [`EntryCounts`] are the entries that a cluster needs. The maps get twice as many if the bound
//! allows it. If it does not, all maps are smaller by the same part. When they are smaller than
//! the cluster, `budget` says which names yield. So a tenant with very many names takes
//! no kind of answer from others.

mod bound;
mod counts;
mod estimate;

use std::fmt;

use headless_ebpf::abi::{ENDPOINT_ENTRIES, REVERSE_SLOTS};

pub use self::bound::default_bound;
pub use self::counts::EntryCounts;
pub use super::store::Capacities;
use super::store::MapKind;

/// The capacities of the maps, and what the bound leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// The capacities.
    pub capacities: Capacities,
    /// The part of the cluster or of its growth that finds no room within the bound.
    pub left_out: Option<LeftOut>,
}

/// The part of a cluster or of its growth that finds no room within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// The maps have room for this many hundredths of the cluster, and for no more growth.
    Growth(u64),
    /// The maps have room for this many hundredths of the names.
    Names(u64),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Growth(percent) => write!(
                f,
                "the maps have room for {percent} % of the cluster as it is now, instead of \
                 {HEADROOM} %"
            ),
            Self::Names(percent) => write!(
                f,
                "the maps have room for about {percent} % of the names: the programs leave \
                 the largest Services of the largest namespaces to userspace"
            ),
        }
    }
}

/// Size of the maps in hundredths of the cluster, if the bound allows it.
const HEADROOM: u64 = 200;

/// Maps with less than this many hundredths of the cluster are made again, larger.
const HEADROOM_LEAST: u64 = 125;

/// Share of the table in the capacity for short keys, in hundredths. With a headroom of 200
/// the table alone holds 1.24 times the cluster's short keys. The rest is capacity of the
/// hash map `NAMES_SHORT`, which takes memory only for entries that it has.
const TABLE_SHARE: u64 = 62;

/// The capacities for a cluster. When all maps are full, they take at most `bound` bytes.
/// A bound that is too small even for maps of one entry each is exceeded.
pub fn capacities(counts: &EntryCounts, bound: u64) -> Sizing {
    let counts = counts.at_least(EntryCounts::LEAST);
    let fits = |capacities: &Capacities| capacities.total_bytes() <= bound;
    // The bound may be far smaller than the cluster, so hundredths are too coarse.
    let (mut least, mut most) = (0, HEADROOM * FINE / 100);
    while least < most {
        let part = (least + most).div_ceil(2);
        if fits(&scaled(&counts, part, FINE)) {
            least = part;
        } else {
            most = part - 1;
        }
    }
    let percent = least * 100 / FINE;
    Sizing {
        capacities: scaled(&counts, least, FINE),
        left_out: match percent {
            HEADROOM.. => None,
            100.. => Some(LeftOut::Growth(percent)),
            _ => Some(LeftOut::Names(percent)),
        },
    }
}

/// Parts into which a cluster is divided to find the part that fits.
const FINE: u64 = 10_000;

/// Whether each map has room for 1.25 times the cluster's entries, or as much room as the
/// bound allows. If not, larger maps are worth loading the programs a second time.
pub fn suffice(capacities: &Capacities, counts: &EntryCounts, bound: u64) -> bool {
    let needed = sized(counts, HEADROOM_LEAST);
    let possible = self::capacities(counts, bound).capacities;
    MapKind::ALL.into_iter().all(|map| {
        let entries = needed.entries(map).min(possible.entries(map));
        capacities.entries(map) >= entries
    })
}

/// Capacities for `percent` hundredths of the cluster.
fn sized(counts: &EntryCounts, percent: u64) -> Capacities {
    scaled(counts, percent, 100)
}

/// Capacities for `part` out of `whole` parts of the cluster. A count beyond 32 bits becomes
/// the largest number of entries that a map can have.
fn scaled(counts: &EntryCounts, part: u64, whole: u64) -> Capacities {
    let entries = |count: u64| {
        let scaled = count.saturating_mul(part).div_ceil(whole);
        u32::try_from(scaled).unwrap_or(u32::MAX)
    };
    // The kernel refuses a map of no entries.
    let at_least_one = |count: u64| entries(count).max(1);
    let [short, medium, long] = counts.records;
    let table = short.saturating_mul(TABLE_SHARE) / 100;
    Capacities {
        table_slots: at_least_one(table),
        names_short: at_least_one(short - table),
        names_medium: at_least_one(medium),
        names_long: at_least_one(long),
        // One more, because the chunk at index 0 is never used.
        chunks: at_least_one(counts.chunks.saturating_add(1)).max(2),
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
    const LARGE: EntryCounts = EntryCounts {
        records: [60_000, 12_000, 1_000],
        chunks: 40_000,
        endpoints: 150_000,
        addresses: 160_000,
    };

    #[test]
    fn maps_suffice_if_they_have_headroom_or_fill_the_bound() {
        let loaded = |counts: &EntryCounts, bound| capacities(counts, bound).capacities;
        let suffices = |loaded: &Capacities, percent: u64, bound| {
            suffice(loaded, &LARGE.map(|count| count * percent / 100), bound)
        };
        let maps = loaded(&LARGE, u64::MAX);
        assert!(suffices(&maps, 1, u64::MAX));
        assert!(suffices(&maps, 159, u64::MAX));
        assert!(!suffices(&maps, 162, u64::MAX));
        for other in [
            EntryCounts {
                chunks: 70_000,
                ..LARGE
            },
            EntryCounts {
                endpoints: 250_000,
                ..LARGE
            },
            EntryCounts {
                records: [60_000, 12_000, 2_000],
                ..LARGE
            },
        ] {
            assert!(!suffice(&maps, &other, u64::MAX), "{other:?}");
        }
        // The programs are not loaded again if the bound allows no larger maps.
        let tight = loaded(&LARGE, 20 * MB);
        assert!(!suffices(&tight, 100, u64::MAX));
        assert!(suffices(&tight, 100, 20 * MB));
        // An estimate that was too high leaves out no kind of name.
        let high = LARGE.map(|count| count * 3);
        assert!(suffices(&loaded(&high, 40 * MB), 100, 40 * MB));
        assert!(suffices(
            &loaded(&EntryCounts::LEAST, u64::MAX),
            0,
            u64::MAX
        ));
    }

    #[test]
    fn a_large_cluster_has_room_to_double() {
        let Sizing {
            capacities,
            left_out,
        } = capacities(&LARGE, u64::MAX);
        assert_eq!(left_out, None);
        let EntryCounts {
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
        } = capacities(&EntryCounts::default(), u64::MAX).capacities;
        assert!(table_slots > 1000 && chunks > 2000);
    }

    /// A tight bound first cuts growth, then names, of all kinds by the same part.
    #[test]
    fn a_bound_is_kept() {
        let mut before = None;
        for (bound, expected) in [(100 * MB, "None"), (25 * MB, "Growth"), (5 * MB, "Names")] {
            let Sizing {
                capacities,
                left_out,
            } = capacities(&LARGE, bound);
            let text = format!("{left_out:?}");
            assert!(text.contains(expected), "{bound}: {text}");
            assert!(capacities.total_bytes() <= bound, "{bound}");
            assert!(
                capacities.reverse_buckets > 0,
                "reverse names are not left out"
            );
            assert_ne!(before.replace(capacities), Some(capacities));
        }
        let least = capacities(&LARGE, 0);
        assert_eq!(least.left_out, Some(LeftOut::Names(0)));
        assert!(least.capacities.total_bytes() < MB, "as little as possible");
    }

    /// A server may report any number of objects.
    #[test]
    fn an_absurd_estimate_keeps_the_bound() {
        let absurd = LARGE.map(|_| u64::MAX);
        let sizing = capacities(&absurd, 100 * MB);
        assert!(matches!(sizing.left_out, Some(LeftOut::Names(_))));
        assert!(sizing.capacities.total_bytes() <= 100 * MB);
    }

    proptest! {
        #[test]
        fn capacities_never_exceed_a_bound_that_can_be_kept(
            short in 0_u64..1_000_000,
            chunks in 0_u64..1_000_000,
            endpoints in 0_u64..10_000_000,
            bound in 1_000_000_u64..1_000_000_000,
        ) {
            let counts = EntryCounts {
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
