//! The maps that the writer fills, and why one is not written or read.

use std::io;

use headless_ebpf::abi::{KeyClass, map};

/// The maps that the writer fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKind {
    /// Keys of up to 40 bytes that find no room in the table.
    NamesShort = 0,
    /// Keys of up to 104 bytes.
    NamesMedium = 1,
    /// Keys of up to 248 bytes.
    NamesLong = 2,
    /// Chunks.
    Chunks = 3,
    /// Served addresses.
    Served = 4,
    /// Addresses and their Services.
    Reverse = 5,
    /// The table of keys of up to 40 bytes.
    Table = 6,
    /// Endpoints that have no record.
    Endpoints = 7,
}

impl MapKind {
    /// Every kind, in the order of its number.
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

    /// The map's name in the object.
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

    /// Label in metrics.
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

/// Why a map was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The map has as many entries as it can have.
    #[error("map {} is full", map.name())]
    Full {
        /// Which map.
        map: MapKind,
    },
    /// Anything else.
    #[error("cannot {operation} map {map}")]
    Failed {
        /// Name of the map.
        map: &'static str,
        /// `read`, `write` ..
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
