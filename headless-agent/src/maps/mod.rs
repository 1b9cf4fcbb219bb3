//! 3. WRITE MAPS. What the index knows becomes what the programs look up.
//!
//! [`encode`] turns a name into bytes, a [`RecordSink`] takes them ([`kernel`]:
//! BPF maps, [`memory`]: hash maps for tests), [`writer`] decides what is
//! written in which order, [`reconcile`] compares the whole, and
//! [`heartbeat`] tells the programs that all of this still happens.

pub mod encode;
pub mod heartbeat;
pub mod kernel;
pub mod memory;
pub mod reconcile;
mod reverse;
pub mod table;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use headless_ebpf::abi::{
    Chunk, ChunkKey, KeyClass, NameRecord, REVERSE_SLOTS, ReverseBucket, ReverseSlot, SERVER_SLOTS,
    ServerAddress, ServerSlot, State, TableBucket, TableSlot, map,
};

pub use self::encode::MapName;

/// The maps that the writer fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MapKind {
    /// Names of up to 40 bytes that have no room in the table.
    NamesShort = 0,
    /// Names of up to 104 bytes.
    NamesMedium = 1,
    /// Names of up to 248 bytes.
    NamesLong = 2,
    /// Chunks.
    Chunks = 3,
    /// Served addresses.
    Servers = 4,
    /// Addresses and their Services.
    Reverse = 5,
    /// Names of up to 40 bytes, as many as have room.
    Table = 6,
}

impl MapKind {
    /// All of them, in order of their number.
    pub const ALL: [Self; 7] = [
        Self::NamesShort,
        Self::NamesMedium,
        Self::NamesLong,
        Self::Chunks,
        Self::Servers,
        Self::Reverse,
        Self::Table,
    ];

    /// The map of the names of this class.
    pub fn of_class(class: KeyClass) -> Self {
        match class {
            KeyClass::Short => Self::NamesShort,
            KeyClass::Medium => Self::NamesMedium,
            KeyClass::Long => Self::NamesLong,
        }
    }

    /// Its name in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::NamesShort => map::NAMES_SHORT,
            Self::NamesMedium => map::NAMES_MEDIUM,
            Self::NamesLong => map::NAMES_LONG,
            Self::Chunks => map::CHUNKS,
            Self::Servers => map::SERVERS,
            Self::Reverse => map::REVERSE,
            Self::Table => map::TABLE_SLOTS,
        }
    }

    /// Label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NamesShort => "names_short",
            Self::NamesMedium => "names_medium",
            Self::NamesLong => "names_long",
            Self::Chunks => "chunks",
            Self::Servers => "servers",
            Self::Reverse => "reverse",
            Self::Table => "names_table",
        }
    }

    /// What the kernel allocates for an element, in bytes: 48 of header
    /// (`struct htab_elem`), the key and the value, rounded up to a size of
    /// `bpf_mem_alloc` (kernel commit `7c8199e24fa0`) with its free-list node.
    fn element_bytes(self) -> u64 {
        match self {
            Self::NamesShort => 128,
            Self::NamesMedium | Self::Chunks => 192,
            Self::NamesLong => 512,
            // Arrays: all of them is there from the start.
            Self::Servers | Self::Reverse | Self::Table => 0,
        }
    }

    /// Estimate of the kernel memory of this map in bytes: its elements and
    /// the 16-byte buckets, a power of two of them.
    pub fn bytes(self, entries: u64, capacity: u64) -> u64 {
        match self {
            Self::Servers => (SERVER_SLOTS * size_of::<ServerSlot>().next_multiple_of(8)) as u64,
            Self::Reverse => capacity * size_of::<ReverseSlot>() as u64,
            Self::Table => {
                let buckets = u64::from(table::buckets(capacity as u32));
                capacity * size_of::<TableSlot>() as u64 + buckets * size_of::<TableBucket>() as u64
            }
            _ => entries * self.element_bytes() + capacity.next_power_of_two() * 16,
        }
    }
}

/// How many buckets of the table of addresses so many addresses get: half of the slots
/// are for them, since not all buckets are filled alike.
pub fn buckets(addresses: u32) -> u32 {
    const ADDRESSES: u32 = REVERSE_SLOTS as u32 / 2;
    addresses.div_ceil(ADDRESSES).next_power_of_two()
}

/// Why a map was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// As many entries as it can have.
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

/// Where records go. Every `put` replaces what is there and says whether the
/// key is new; every `delete` says whether there was one.
pub trait RecordSink {
    /// Stores the record of a name; the map in which the name is new, if it is.
    fn put_name(
        &mut self,
        name: &MapName,
        record: NameRecord,
    ) -> Result<Option<MapKind>, SinkError>;
    /// Removes the record of a name; the map in which it was, if it was in any.
    fn delete_name(&mut self, name: &MapName) -> Result<Option<MapKind>, SinkError>;
    /// How many names are in the table of short names.
    fn table_len(&self) -> u64;
    /// The record of a name.
    fn name(&self, name: &MapName) -> Result<Option<NameRecord>, SinkError>;
    /// Visits all records of a class, in no order.
    fn for_each_name(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapName, NameRecord),
    ) -> Result<(), SinkError>;
    /// Stores a chunk.
    fn put_chunk(&mut self, key: ChunkKey, chunk: Chunk) -> Result<bool, SinkError>;
    /// Removes a chunk.
    fn delete_chunk(&mut self, key: ChunkKey) -> Result<bool, SinkError>;
    /// A chunk.
    fn chunk(&self, key: ChunkKey) -> Result<Option<Chunk>, SinkError>;
    /// Keys of all chunks, in no order.
    fn chunk_keys(&self) -> Result<Vec<ChunkKey>, SinkError>;
    /// Stores a served address with its index.
    fn put_server(&mut self, address: ServerAddress, index: u32) -> Result<bool, SinkError>;
    /// Removes a served address.
    fn delete_server(&mut self, address: ServerAddress) -> Result<bool, SinkError>;
    /// All served addresses with their indices, in no order.
    fn servers(&self) -> Result<Vec<(ServerAddress, u32)>, SinkError>;
    /// Buckets of the table of addresses, a power of two; 0 where there is none.
    fn reverse_buckets(&self) -> u32;
    /// A bucket of it.
    fn reverse_bucket(&self, index: u32) -> Result<ReverseBucket, SinkError>;
    /// Replaces a bucket.
    fn put_reverse_bucket(&mut self, index: u32, bucket: ReverseBucket) -> Result<(), SinkError>;
    /// Replaces the liveness entry.
    fn put_state(&mut self, state: State) -> Result<(), SinkError>;
}

/// What the writer has done, for metrics and `status`. Shared and lock-free.
#[derive(Debug, Default)]
pub struct WriteCounts {
    /// Entries by [`MapKind`].
    entries: [AtomicU64; MapKind::ALL.len()],
    /// Writes that succeeded.
    pub written: AtomicU64,
    /// Writes that failed for want of room.
    pub full: AtomicU64,
    /// Writes that failed otherwise.
    pub failed: AtomicU64,
    /// Names whose last write failed and that are tried again.
    pub pending: AtomicU64,
    /// Entries that a full pass found to differ from the index.
    pub drift: AtomicU64,
    /// Full passes.
    pub reconciles: AtomicU64,
    /// `CLOCK_MONOTONIC` of the last heartbeat in nanoseconds; 0 before the
    /// first.
    pub beat_ns: AtomicU64,
    /// The last written [`State`]'s serial.
    pub serial: AtomicU64,
    /// The last written [`State`]'s flags.
    pub flags: AtomicU64,
}

impl WriteCounts {
    /// Entries of a map.
    pub fn entries(&self, map: MapKind) -> u64 {
        self.entries[map as usize].load(Ordering::Relaxed)
    }

    /// Whether the programs may give negative answers.
    pub fn complete(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & u64::from(State::COMPLETE) != 0
    }

    fn added(&self, map: MapKind, new: bool) {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.entries[map as usize].fetch_add(u64::from(new), Ordering::Relaxed);
    }

    fn removed(&self, map: MapKind, existed: bool) {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.entries[map as usize].fetch_sub(u64::from(existed), Ordering::Relaxed);
    }

    fn set_entries(&self, map: MapKind, entries: u64) {
        self.entries[map as usize].store(entries, Ordering::Relaxed);
    }

    fn failure(&self, error: &SinkError) {
        match error {
            SinkError::Full { .. } => self.full.fetch_add(1, Ordering::Relaxed),
            SinkError::Failed { .. } => self.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}
