//! All data that the agent and the BPF programs share: keys and values of maps, counters, names
//! of maps and of global variables.
//!
//! All structures are `repr(C)` without padding. [`LAYOUT`] is a digest of everything in this
//! module, so that an agent and an object with the same [`LAYOUT`] agree.

mod address;
mod chunk;
mod config;
mod counters;
mod details;
mod digest;
mod endpoints;
mod hash;
mod interface;
mod key;
mod layout;
mod passed;
mod record;
mod reverse;
mod served;
mod state;
mod table;

pub use self::{
    address::{Address, Family},
    chunk::{CHUNK_BYTES, CHUNK_IPV4, CHUNK_IPV6, Chunk, ChunkId, ChunkKind},
    config::{Config, PodsMode, Ttls},
    counters::{AnswerKind, COUNTERS, Counter, Outcome, PassReason, Path},
    details::{
        DETAILS_HEADER_LEN, DetailsHeader, PORT_HEADER_LEN, PORT_NAME_MAX, PORT_SCTP, PORT_TCP,
        PORT_UDP, PORT_UNDECLARED, PORTS_MAX, TARGET_ADDRESSES_MAX, TARGET_CONTINUES,
        TARGET_HEADER_LEN, TARGET_LABELS,
    },
    endpoints::{ENDPOINT_ENTRIES, EndpointBucket, EndpointEntry},
    hash::{
        HASH_CHUNK, HASH_ENDPOINT, HASH_NAME, HASH_RECORD, HASH_REVERSE, HASH_SERVED, HASH_WORDS,
        HashKey, KeyedHash,
    },
    interface::{INTERFACES_MAX, InterfaceRecord, MESSAGE_MAX},
    key::{KEY_WORDS_MAX, KeyClass, NameKey, endpoint_word},
    layout::{ENCODING, LAYOUT},
    passed::{PASSED_MAX, PassedNames},
    record::{INLINE_BYTES, NameFlags, NameRecord, SET_ADDRESSES_MAX},
    reverse::{REVERSE_SLOTS, ReverseBucket, ReversePlace, ReverseSlot},
    served::{SERVED_MAX, SERVED_PROBES, SERVED_SLOTS, ServedPlace, ServedSlot},
    state::State,
    table::{TABLE_HINTS, TableBucket, TableHint, TablePlace, TableSlot},
};

/// Names of the object's global variables. Each has one byte, which the agent's loader sets to 0
/// or 1 before the verifier runs.
pub mod global {
    /// Whether the programs log.
    pub const LOG: &str = "LOG";
    /// Whether one program can interrupt another one on the same CPU. This is so on kernels with
    /// `PREEMPT_RT`, where `/sys/kernel/realtime` is 1.
    pub const PREEMPTIBLE: &str = "PREEMPTIBLE";
    /// Whether the processor may reorder two loads. All processors but x86 may.
    pub const WEAKLY_ORDERED: &str = "WEAKLY_ORDERED";
}

/// Names of the maps, which the object declares and the agent opens.
pub mod map {
    /// `ARRAY[1]` of [`super::Config`], written before the programs are attached.
    pub const CONFIG: &str = "CONFIG";
    /// `ARRAY[1]` of [`super::State`], written once a second and around changes of names.
    pub const STATE: &str = "STATE";
    /// `ARRAY` of [`super::ServedSlot`]: the served addresses, in a table with open addressing.
    pub const SERVED: &str = "SERVED";
    /// `ARRAY` (mmapable) of [`super::TableBucket`]: hints, which lead to slots in
    /// [`TABLE_SLOTS`].
    pub const TABLE_BUCKETS: &str = "TABLE_BUCKETS";
    /// `ARRAY` (mmapable) of [`super::TableSlot`]: keys of up to 40 bytes with their name records.
    pub const TABLE_SLOTS: &str = "TABLE_SLOTS";
    /// `HASH` from keys of 40 bytes to [`super::NameRecord`]: keys that find no free slot or hint
    /// in the table.
    pub const NAMES_SHORT: &str = "NAMES_SHORT";
    /// `HASH` from keys of 104 bytes to [`super::NameRecord`].
    pub const NAMES_MEDIUM: &str = "NAMES_MEDIUM";
    /// `HASH` from keys of 248 bytes to [`super::NameRecord`].
    pub const NAMES_LONG: &str = "NAMES_LONG";
    /// `ARRAY` (mmapable) of [`super::Chunk`]. The chunk at index 0 is never used.
    pub const CHUNKS: &str = "CHUNKS";
    /// `ARRAY` (mmapable) of [`super::EndpointBucket`]: regular endpoints.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// `ARRAY` (mmapable) of [`super::ReverseBucket`]: hints, which lead from addresses to
    /// Services' names.
    pub const REVERSE: &str = "REVERSE";
    /// `HASH` from the index of an interface (`u32`) to [`super::InterfaceRecord`], for interfaces
    /// with the tc program.
    pub const INTERFACES: &str = "INTERFACES";
    /// `HASH` from the index of an interface (`u32`) to `u64`: TCP connections to served addresses
    /// for which the pod behind the interface has asked. The tc program counts them, for interfaces
    /// in [`INTERFACES`].
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// `PERCPU_ARRAY` of `u64`, indexed by [`super::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// `PERCPU_ARRAY[1]`: the working memory of one packet.
    pub const SCRATCH: &str = "SCRATCH";
}
