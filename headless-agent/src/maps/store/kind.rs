//! The maps that the writer fills, and the errors of reading and writing them.

use std::io;

use headless_ebpf::abi::{KeyClass, PASSED_MAX, map};

/// A map that the writer fills. [`Self::Table`] stands for two maps, slots and buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKind {
    /// Hash map of keys of up to 40 bytes that find no place in the table.
    NamesShort = 0,
    /// Hash map of keys of up to 104 bytes.
    NamesMedium = 1,
    /// Hash map of keys of up to 248 bytes.
    NamesLong = 2,
    /// Chunks.
    Chunks = 3,
    /// Served addresses.
    Served = 4,
    /// Hints from addresses to the names of their Services.
    Reverse = 5,
    /// The table of keys of up to 40 bytes.
    Table = 6,
    /// Regular endpoints.
    Endpoints = 7,
}

impl MapKind {
    /// Every kind, in the order of the kinds' numbers.
    pub const ALL: [Self; 8] = [
        Self::NamesShort,
        Self::NamesMedium,
        Self::NamesLong,
        Self::Chunks,
        Self::Served,
        Self::Reverse,
        Self::Table,
        Self::Endpoints,
    ];

    /// The hash map for keys of this class.
    pub fn of_class(class: KeyClass) -> Self {
        match class {
            KeyClass::Short => Self::NamesShort,
            KeyClass::Medium => Self::NamesMedium,
            KeyClass::Long => Self::NamesLong,
        }
    }

    /// The map's name in the BPF object.
    pub fn name(self) -> &'static str {
        match self {
            Self::NamesShort => map::NAMES_SHORT,
            Self::NamesMedium => map::NAMES_MEDIUM,
            Self::NamesLong => map::NAMES_LONG,
            Self::Chunks => map::CHUNKS,
            Self::Served => map::SERVED,
            Self::Reverse => map::REVERSE,
            Self::Table => map::TABLE_SLOTS,
            Self::Endpoints => map::ENDPOINTS,
        }
    }

    /// The map's label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NamesShort => "names_short",
            Self::NamesMedium => "names_medium",
            Self::NamesLong => "names_long",
            Self::Chunks => "chunks",
            Self::Served => "served",
            Self::Reverse => "reverse",
            Self::Table => "names_table",
            Self::Endpoints => "endpoints",
        }
    }
}

/// Why a map could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The map has as many entries as its capacity.
    #[error("map {} is full", map.name())]
    Full {
        /// The map.
        map: MapKind,
    },
    /// The names that are left to CoreDNS do not fit into the settings.
    #[error(
        "more than {PASSED_MAX} names are left to CoreDNS, or one has more than 247 characters \
         before the zone"
    )]
    PassedNames,
    /// The kernel refused the system call.
    #[error("cannot {operation} map {map}")]
    Failed {
        /// The map's name in the BPF object.
        map: &'static str,
        /// The operation as a verb: `read`, `write`, `delete from`.
        operation: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}
