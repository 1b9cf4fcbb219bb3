//! The record of a key, in the table or in a hash map, and the extent that it names.

use headless_ebpf::abi::{
    ChunkId, ChunkKind, Config, DetailsHeader, HashKey, KeyClass, NameFlags, NameRecord,
};

use super::extents::Extent;
use super::table::{self, TableRecord};
use crate::maps::encode::{Encoded, MapKey, Place};
use crate::maps::store::{Arrays, RecordSink, SinkError};

/// A record, and where it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::maps) enum Located {
    /// In the table.
    Table(TableRecord),
    /// In the hash map of the key's class.
    Map(NameRecord),
}

impl Located {
    /// The record.
    pub(in crate::maps) fn record(&self) -> NameRecord {
        match self {
            Self::Table(found) => found.record,
            Self::Map(record) => *record,
        }
    }
}

/// Looks up the record of a key. `config` says which hash maps have entries.
///
/// # Errors
/// When the kernel refuses to read a hash map.
pub(in crate::maps) fn locate(
    sink: &impl RecordSink,
    config: &Config,
    key: &MapKey,
) -> Result<Option<Located>, SinkError> {
    if key.class() == KeyClass::Short
        && let Some(found) = table::find(sink.arrays(), &config.hash_key, key)
    {
        return Ok(Some(Located::Table(found)));
    }
    if !config.has_names(key.class()) {
        return Ok(None);
    }
    Ok(sink.get(key)?.map(Located::Map))
}

/// The extent that a record names.
///
/// `None` if the record has no chunks, or if the seal of the record, of the extent's first
/// chunk or of the details' first chunk is broken.
pub(in crate::maps) fn extent(
    arrays: &Arrays,
    hash_key: &HashKey,
    key: &MapKey,
    record: &NameRecord,
) -> Option<Extent> {
    let flags = record.flags;
    let first = if flags.contains(NameFlags::SET) && record.ipv4 > 0 {
        ChunkKind::Ipv4
    } else if flags.contains(NameFlags::SET) {
        ChunkKind::Ipv6
    } else if flags.contains(NameFlags::OWN) {
        ChunkKind::Own
    } else if flags.contains(NameFlags::ENDPOINTS) {
        ChunkKind::Endpoints
    } else {
        return None;
    };
    let chunk_of = |at: u32, kind| {
        let chunk = arrays.chunk(record.extent.wrapping_add(at));
        let id = ChunkId::new(record.set, kind, 0);
        chunk.is(hash_key, id).then_some(chunk)
    };
    chunk_of(0, first)?;
    if record.seal != record.sealed(hash_key, key.hash(hash_key)).seal {
        return None;
    }
    let mut len = record.chunks_before(ChunkKind::Endpoints);
    if flags.contains(NameFlags::ENDPOINTS) {
        // Only the header says how many chunks the details of the endpoints have.
        let header = chunk_of(len, ChunkKind::Endpoints)?;
        len += u32::from(DetailsHeader::from_word(header.words[0]).chunks);
    }
    Some(record.extent..record.extent.checked_add(len)?)
}

/// Whether record and chunks have the content and the seals that the writer would give them
/// in the same place.
pub(in crate::maps) fn holds(
    arrays: &Arrays,
    hash_key: &HashKey,
    key: &MapKey,
    record: &NameRecord,
    encoded: &Encoded,
) -> bool {
    let place = Place::of(record);
    let mut chunks = (place.extent..).zip(encoded.chunks(hash_key, place.set));
    encoded.record(hash_key, key, place) == *record
        && chunks.all(|(index, chunk)| arrays.chunk(index) == chunk)
}
