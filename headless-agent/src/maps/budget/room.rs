//! The kinds of elements that namespaces share, and how full each may become.

use headless_ebpf::abi::KeyClass;

use crate::maps::capacity::EntryCounts;
use crate::maps::store::MapKind;

/// A kind of elements of the maps that all namespaces share. The table and `NAMES_SHORT` are
/// one kind, since a name goes to whichever of the two has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::maps) enum Room {
    /// Records with keys of up to 40 bytes.
    Short = 0,
    /// Records with keys of up to 104 bytes.
    Medium = 1,
    /// Records with keys of up to 248 bytes.
    Long = 2,
    /// Chunks.
    Chunks = 3,
    /// Entries of regular endpoints. An endpoint without an entry gets a record.
    Endpoints = 4,
    /// Hints for reverse names.
    Reverse = 5,
}

/// Numbers of elements, by [`Room`].
pub(in crate::maps) type Elements = [u32; Room::ALL.len()];

impl Room {
    /// Every kind, in the order of the kinds' numbers.
    pub(in crate::maps) const ALL: [Self; 6] = [
        Self::Short,
        Self::Medium,
        Self::Long,
        Self::Chunks,
        Self::Endpoints,
        Self::Reverse,
    ];

    /// The kind of records with keys of this class.
    pub(in crate::maps) const fn of_class(class: KeyClass) -> Self {
        match class {
            KeyClass::Short => Self::Short,
            KeyClass::Medium => Self::Medium,
            KeyClass::Long => Self::Long,
        }
    }

    /// The kind of a map's elements. `None` for served addresses, which no namespace has.
    pub(in crate::maps) const fn of_map(map: MapKind) -> Option<Self> {
        Some(match map {
            MapKind::Table | MapKind::NamesShort => Self::Short,
            MapKind::NamesMedium => Self::Medium,
            MapKind::NamesLong => Self::Long,
            MapKind::Chunks => Self::Chunks,
            MapKind::Endpoints => Self::Endpoints,
            MapKind::Reverse => Self::Reverse,
            MapKind::Served => return None,
        })
    }

    /// Whether the elements are records.
    pub(in crate::maps) const fn is_record(self) -> bool {
        matches!(self, Self::Short | Self::Medium | Self::Long)
    }

    /// The map or maps in messages.
    pub(in crate::maps) const fn label(self) -> &'static str {
        match self {
            Self::Short => "the table of short names",
            Self::Medium => "NAMES_MEDIUM",
            Self::Long => "NAMES_LONG",
            Self::Chunks => "CHUNKS",
            Self::Endpoints => "ENDPOINTS",
            Self::Reverse => "REVERSE",
        }
    }

    /// The most elements before the largest namespace yields: fifteen sixteenths. The rest is
    /// for the changes until it has yielded.
    ///
    /// An address has only one bucket of `REVERSE`. From three quarters on, one address in 25
    /// finds its bucket full, whosever the address is.
    pub(in crate::maps) const fn high(self, capacity: u64) -> u64 {
        match self {
            Self::Reverse => capacity - capacity / 4,
            _ => capacity - capacity / 16,
        }
    }

    /// The most elements after a namespace has yielded, and after names have come back: seven
    /// eighths. Between the two marks nothing yields and nothing comes back, so that a change
    /// that is undone and made again moves no other name.
    pub(in crate::maps) const fn low(self, capacity: u64) -> u64 {
        match self {
            Self::Reverse => capacity - (3 * capacity).div_ceil(8),
            _ => capacity - capacity.div_ceil(8),
        }
    }
}

/// The elements that these counts stand for.
pub(in crate::maps) fn elements(counts: &EntryCounts) -> Elements {
    let EntryCounts {
        records: [short, medium, long],
        chunks,
        endpoints,
        addresses,
    } = *counts;
    let all = [short, medium, long, chunks, endpoints, addresses];
    all.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_space_between_the_marks() {
        for room in Room::ALL {
            for capacity in (2..2000).chain([1_000_000]) {
                let (low, high) = (room.low(capacity), room.high(capacity));
                assert!(low < high && high <= capacity, "{room:?} {capacity}");
            }
            assert_eq!(room.high(0), 0, "{room:?}");
        }
    }
}
