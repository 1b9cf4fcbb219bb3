//! What crosses the boundary between the agent and the BPF programs.
//!
//! Everything here is `repr(C)` without padding and has its size asserted, so
//! that an object and an agent of the same [`ABI_VERSION`] cannot disagree.

mod config;
mod counters;
mod details;
mod key;
mod record;
mod reverse;
mod seal;
mod table;

pub use self::{
    config::{
        Config, INTERFACES_MAX, Interface, PodsMode, SERVER_PROBES, SERVER_SLOTS, ServerAddress,
        ServerSlot, State,
    },
    counters::{AnswerKind, COUNTERS, Counter, Outcome, PassReason, Path},
    details::{
        DETAILS_HEADER_LEN, DetailsHeader, PORT_HEADER_LEN, PORT_NAME_MAX, PORT_SCTP, PORT_TCP,
        PORT_UDP, PORT_UNDECLARED, PORTS_MAX, TARGET_ADDRESSES_MAX, TARGET_CONTINUES,
        TARGET_HEADER_LEN, TARGET_LABELS,
    },
    key::{KEY_WORDS_MAX, KeyClass, NameKey},
    record::{
        CHUNK_BYTES, CHUNK_IPV4, CHUNK_IPV6, Chunk, ChunkKey, ChunkKind, Family, INLINE_BYTES,
        NameFlags, NameRecord, SET_ADDRESSES_MAX, SET_NUMBER_MAX,
    },
    reverse::{REVERSE_SLOTS, ReverseAddress, ReverseBucket, ReverseSlot},
    seal::Seal,
    table::{TABLE_HINTS, TableBucket, TableHint, TablePlace, TableSlot},
};

/// Version of every layout in this module. It is part of the pin path and of
/// the object (symbol `ABI`), and is raised with every change of layout or
/// meaning.
pub const ABI_VERSION: u32 = 4;

/// Names of the maps, as the object declares them and the agent opens them.
pub mod map {
    /// `ARRAY[1]` of [`super::Config`]: what the operator chose; written before
    /// the programs are attached.
    pub const CONFIG: &str = "CONFIG";
    /// `ARRAY[1]` of [`super::State`]: liveness, written once a second.
    pub const STATE: &str = "STATE";
    /// `ARRAY` of [`super::ServerSlot`]: the addresses whose port 53 is answered,
    /// as a table with open addressing.
    pub const SERVERS: &str = "SERVERS";
    /// `ARRAY` of [`super::TableBucket`]: where in [`TABLE_SLOTS`] names are.
    pub const TABLE_BUCKETS: &str = "TABLE_BUCKETS";
    /// `ARRAY` of [`super::TableSlot`]: names of up to 40 bytes.
    pub const TABLE_SLOTS: &str = "TABLE_SLOTS";
    /// `HASH` of 40-byte keys to [`super::NameRecord`]: what has no room in the table.
    pub const NAMES_SHORT: &str = "NAMES_SHORT";
    /// `HASH` of 104-byte keys to [`super::NameRecord`].
    pub const NAMES_MEDIUM: &str = "NAMES_MEDIUM";
    /// `HASH` of 248-byte keys to [`super::NameRecord`].
    pub const NAMES_LONG: &str = "NAMES_LONG";
    /// `HASH` of [`super::ChunkKey`] to [`super::Chunk`].
    pub const CHUNKS: &str = "CHUNKS";
    /// `ARRAY` of [`super::ReverseBucket`]: which Service has an address.
    pub const REVERSE: &str = "REVERSE";
    /// `HASH` of the index of an interface (`u32`) to [`super::Interface`]: those with
    /// the tc program.
    pub const INTERFACES: &str = "INTERFACES";
    /// `PERCPU_ARRAY` of `u64`, indexed by [`super::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// `PERCPU_ARRAY[1]`: working memory of one packet.
    pub const SCRATCH: &str = "SCRATCH";
}

/// Most addresses in [`map::SERVERS`]: few enough for its slots that each finds
/// one among those where it is looked for.
pub const SERVERS_MAX: u32 = 64;
