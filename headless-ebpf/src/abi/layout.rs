//! The layout version: one number for all data that the agent and the programs share.

use super::{
    address::Address,
    chunk::{CHUNK_BYTES, Chunk, ChunkKind},
    config::Config,
    counters::COUNTERS_DIGEST,
    details::{DETAILS_DIGEST, DetailsHeader},
    digest::{Described, Digest, digest_of},
    endpoints::{ENDPOINT_ENTRIES, EndpointEntry},
    hash::HASH_WORDS,
    interface::InterfaceRecord,
    key::{KEY_WORDS_MAX, KeyClass},
    passed::PassedNames,
    record::{INLINE_BYTES, NameFlags, NameRecord},
    reverse::{REVERSE_SLOTS, ReverseSlot},
    served::{SERVED_PROBES, SERVED_SLOTS, ServedSlot},
    state::State,
    table::{TABLE_HINTS, TableHint, TableSlot},
};

/// Digest of all map bytes that the agent writes for a fixed cluster under a fixed hash key. A
/// test of the agent calculates the digest, and shows the new value after hashes or encodings
/// have changed.
pub const ENCODING: u64 = 0x28bf_9ffd_ead3_270b;

/// The layout version: a digest of all structures (names, sizes, fields with types and offsets),
/// of the constants that they use, and of [`ENCODING`]. The object holds it under the symbol
/// `LAYOUT`, and the agent's loader refuses an object with another version.
pub const LAYOUT: u64 = Digest::NEW
    .number(<Address as Described>::DIGEST)
    .number(<Chunk as Described>::DIGEST)
    .number(<Config as Described>::DIGEST)
    .number(<DetailsHeader as Described>::DIGEST)
    .number(<InterfaceRecord as Described>::DIGEST)
    .number(<NameRecord as Described>::DIGEST)
    .number(<PassedNames as Described>::DIGEST)
    .number(<ServedSlot as Described>::DIGEST)
    .number(<State as Described>::DIGEST)
    .number(<TableSlot as Described>::DIGEST)
    .number(NameFlags::DIGEST)
    .number(ChunkKind::DIGEST)
    .number(DETAILS_DIGEST)
    .number(COUNTERS_DIGEST)
    .number(NUMBERS_DIGEST)
    .number(ENCODING)
    .value();

const NUMBERS_DIGEST: u64 = digest_of! {
    CHUNK_BYTES = CHUNK_BYTES,
    INLINE_BYTES = INLINE_BYTES,
    HASH_WORDS = HASH_WORDS,
    KEY_WORDS_MAX = KEY_WORDS_MAX,
    SHORT = KeyClass::Short.bytes(),
    MEDIUM = KeyClass::Medium.bytes(),
    LONG = KeyClass::Long.bytes(),
    TABLE_HINTS = TABLE_HINTS,
    TABLE_HINT = size_of::<TableHint>(),
    ENDPOINT_ENTRIES = ENDPOINT_ENTRIES,
    ENDPOINT_ENTRY = size_of::<EndpointEntry>(),
    REVERSE_SLOTS = REVERSE_SLOTS,
    REVERSE_SLOT = size_of::<ReverseSlot>(),
    SERVED_SLOTS = SERVED_SLOTS,
    SERVED_PROBES = SERVED_PROBES,
    STATE_COMPLETE = State::COMPLETE,
    STATE_YIELDING = State::YIELDING,
    STATE_PASS_NAMES = State::PASS_NAMES,
    STATE_GENERATION = State::GENERATION,
};
