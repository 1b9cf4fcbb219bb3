//! Stage three: the names of the index become map entries, which the programs look up.
//!
//! [`encode`] turns a name into bytes. A [`RecordSink`] is the maps' home: BPF maps
//! ([`kernel`]) or memory ([`memory`], for tests). Most maps are [`arrays`] of words
//! that the agent writes by plain stores. [`writer`] decides which entry is written in
//! which order, [`reconcile`] compares all of them with the index, and [`heartbeat`]
//! tells the programs that all of this still happens. [`capacity`] says how large maps
//! must be.

pub mod arrays;
pub mod capacity;
mod counts;
pub mod encode;
mod endpoints;
mod extents;
pub mod heartbeat;
pub mod kernel;
pub mod key;
pub mod memory;
mod name;
pub mod read;
pub mod reconcile;
mod reverse;
mod served;
mod sets;
mod table;
mod words;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;

use headless_ebpf::abi::{
    Config, HASH_WORDS, HashKey, KeyClass, NameRecord, ServedSlot, State, map,
};

use self::arrays::Arrays;
pub use self::counts::WriteCounts;
pub use self::key::MapKey;

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

/// The maps' home. The arrays are written directly; this is what takes a system call in
/// the kernel.
pub trait RecordSink {
    /// The maps that are arrays of words.
    fn arrays(&self) -> &Arrays;
    /// The operator's choices.
    fn config(&self) -> Result<Config, SinkError>;
    /// Replaces the operator's choices.
    fn put_config(&mut self, config: &Config) -> Result<(), SinkError>;
    /// The liveness entry.
    fn state(&self) -> Result<State, SinkError>;
    /// Replaces the liveness entry.
    fn put_state(&mut self, state: State) -> Result<(), SinkError>;
    /// A slot of the table of served addresses.
    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError>;
    /// Replaces a slot of the table of served addresses.
    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError>;
    /// The record under a key in the hash map of the key's class.
    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError>;
    /// Stores a record in the hash map of its key's class; whether the key is new.
    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError>;
    /// Removes a record from the hash map of its key's class; whether it was there.
    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError>;
    /// Visits all records of the hash map of a class, in no order.
    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError>;
}

impl<S: RecordSink> RecordSink for &mut S {
    fn arrays(&self) -> &Arrays {
        (**self).arrays()
    }

    fn config(&self) -> Result<Config, SinkError> {
        (**self).config()
    }

    fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        (**self).put_config(config)
    }

    fn state(&self) -> Result<State, SinkError> {
        (**self).state()
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        (**self).put_state(state)
    }

    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError> {
        (**self).served_slot(at)
    }

    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        (**self).put_served_slot(at, slot)
    }

    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
        (**self).get(key)
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        (**self).put(key, record)
    }

    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError> {
        (**self).delete(key)
    }

    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError> {
        (**self).for_each(class, visit)
    }
}

/// A new key for hashes and seals, from the system's random source.
pub fn new_hash_key() -> Result<HashKey, getrandom::Error> {
    let mut bytes = [0; HASH_WORDS * size_of::<u64>()];
    getrandom::fill(&mut bytes)?;
    Ok(bytemuck::cast(bytes))
}
