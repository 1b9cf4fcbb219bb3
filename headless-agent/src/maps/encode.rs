//! From what is known of a name to a map's record and chunks.
//!
//! Pure: the same input gives the same bytes, apart from the place of the chunks, which
//! the caller hands out.

mod details;

use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{
    CHUNK_BYTES, CHUNK_IPV4, CHUNK_IPV6, Chunk, ChunkId, ChunkKind, HashKey, INLINE_BYTES,
    NameFlags, NameRecord, SET_ADDRESSES_MAX,
};

use super::key::MapKey;
use crate::records::NameData;

/// What is stored for a name, before it has a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    record: NameRecord,
    chunks: Vec<Content>,
}

/// The content of a chunk, before it belongs to a set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    kind: ChunkKind,
    /// Which chunk of its kind.
    index: usize,
    bytes: [u8; CHUNK_BYTES],
}

/// Where a name's record and chunks belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// [`NameRecord::service`].
    pub service: u32,
    /// [`NameRecord::extent`].
    pub extent: u32,
    /// [`NameRecord::set`].
    pub set: u32,
}

impl Place {
    /// The place that a record names.
    pub fn of(record: &NameRecord) -> Self {
        Self {
            service: record.service,
            extent: record.extent,
            set: record.set,
        }
    }
}

/// Whether userspace answers for the name, so that no address is stored.
fn passes(data: &NameData) -> bool {
    data.flags.contains(NameFlags::PASS)
        || data.ipv4.len() > SET_ADDRESSES_MAX
        || data.ipv6.len() > SET_ADDRESSES_MAX
}

/// What is stored for a name.
pub fn encode(data: &NameData) -> Encoded {
    let mut encoded = Encoded::default();
    encoded.record.flags = data.flags;
    if passes(data) {
        return encoded.passing();
    }
    encoded.record.ipv4 = data.ipv4.len() as u16;
    encoded.record.ipv6 = data.ipv6.len() as u16;
    if NameRecord::fits_inline(data.ipv4.len(), data.ipv6.len()) {
        encoded.record.inline = inline(data);
    } else {
        encoded.flag(NameFlags::SET);
        encoded.put(
            ChunkKind::Ipv4,
            data.ipv4.chunks(CHUNK_IPV4),
            |run, bytes| {
                put_all(bytes, run.iter().map(Ipv4Addr::octets));
            },
        );
        encoded.put(
            ChunkKind::Ipv6,
            data.ipv6.chunks(CHUNK_IPV6),
            |run, bytes| {
                put_all(bytes, run.iter().map(Ipv6Addr::octets));
            },
        );
    }
    let details = data.details.as_deref();
    let own = details.and_then(|details| details.own.as_ref());
    let endpoints = details.and_then(|details| details.endpoints.as_ref());
    for (kind, flag, targets) in [
        (ChunkKind::Own, NameFlags::OWN, own),
        (ChunkKind::Endpoints, NameFlags::ENDPOINTS, endpoints),
    ] {
        let Some(runs) = targets.and_then(details::runs) else {
            continue;
        };
        if kind == ChunkKind::Own {
            encoded.record.own_chunks = runs.len() as u16;
        }
        encoded.flag(flag);
        encoded.put(kind, runs, |run, bytes| {
            put_all(bytes, run.into_iter().map(|byte| [byte]));
        });
    }
    encoded
}

/// Writes pieces one after the other.
fn put_all<const N: usize>(to: &mut [u8], pieces: impl Iterator<Item = [u8; N]>) {
    let places = to.as_chunks_mut::<N>().0;
    places
        .iter_mut()
        .zip(pieces)
        .for_each(|(to, from)| *to = from);
}

/// The addresses as a record holds them: IPv4, then IPv6, in network order.
fn inline(data: &NameData) -> [u8; INLINE_BYTES] {
    let mut inline = [0; INLINE_BYTES];
    put_all(&mut inline, data.ipv4.iter().map(Ipv4Addr::octets));
    put_all(
        &mut inline[(data.ipv4.len() * 4).min(INLINE_BYTES)..],
        data.ipv6.iter().map(Ipv6Addr::octets),
    );
    inline
}

impl Encoded {
    fn flag(&mut self, flag: NameFlags) {
        self.record.flags = self.record.flags.with(flag);
    }

    fn put<T>(
        &mut self,
        kind: ChunkKind,
        runs: impl IntoIterator<Item = T>,
        write: impl Fn(T, &mut [u8]),
    ) {
        let content = |(index, run)| {
            let mut bytes = [0; CHUNK_BYTES];
            write(run, &mut bytes);
            Content { kind, index, bytes }
        };
        self.chunks
            .extend(runs.into_iter().enumerate().map(content));
    }

    /// Number of chunks, which stand one after the other.
    pub fn len(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Whether there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The same name with all questions left to userspace: a record without addresses.
    #[must_use]
    pub fn passing(&self) -> Self {
        let chunked = NameFlags::SET
            .with(NameFlags::OWN)
            .with(NameFlags::ENDPOINTS);
        let kept = NameFlags(self.record.flags.0 & !chunked.0);
        Self {
            record: NameRecord {
                flags: kept.with(NameFlags::PASS),
                ..NameRecord::default()
            },
            chunks: Vec::new(),
        }
    }

    /// The sealed record under a key.
    pub fn record(&self, hash_key: &HashKey, key: &MapKey, place: Place) -> NameRecord {
        let Place {
            service,
            extent,
            set,
        } = place;
        let mut record = self.record;
        record.service = service;
        if !self.is_empty() {
            (record.extent, record.set) = (extent, set);
        }
        record.sealed(hash_key, key.hash(hash_key))
    }

    /// The sealed chunks of a set, in the order in which they stand.
    pub fn chunks(&self, hash_key: &HashKey, set: u32) -> impl Iterator<Item = Chunk> {
        self.chunks.iter().map(move |content| {
            let id = ChunkId::new(set, content.kind, content.index);
            Chunk::new(hash_key, id, &content.bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn data(ipv4: usize, ipv6: usize) -> NameData {
        NameData {
            flags: NameFlags::CLUSTER_IP,
            ipv4: (0..ipv4 as u32)
                .map(|i| Ipv4Addr::from(0x0a00_0000 + i))
                .collect(),
            ipv6: (0..ipv6 as u128)
                .map(|i| Ipv6Addr::from((0xfd << 120) + i))
                .collect(),
            details: None,
        }
    }

    fn record(encoded: &Encoded) -> NameRecord {
        let key = MapKey::of_name(b"\x03web\x07default").unwrap();
        let place = Place {
            service: 7,
            extent: 8,
            set: 9,
        };
        let hash_key = HashKey::from_seed(1);
        let record = encoded.record(&hash_key, &key, place);
        let sealed = record.sealed(&hash_key, key.hash(&hash_key));
        assert_eq!((record.service, record.seal), (7, sealed.seal));
        record
    }

    #[test]
    fn few_addresses_are_in_the_record() {
        let encoded = encode(&data(1, 1));
        assert!(encoded.is_empty());
        let found = record(&encoded);
        assert_eq!((found.ipv4, found.ipv6), (1, 1));
        assert_eq!((found.extent, found.set), (0, 0), "no chunks");
        assert_eq!(found.inline[..4], [10, 0, 0, 0]);
        assert_eq!(found.inline[4..6], [0xfd, 0]);
        assert_eq!(found.flags, NameFlags::CLUSTER_IP);
        let chunks = |ipv4, ipv6| encode(&data(ipv4, ipv6)).len();
        assert_eq!([chunks(5, 0), chunks(6, 0), chunks(2, 1)], [0, 1, 2]);
    }

    #[test]
    fn many_addresses_are_in_chunks() {
        let encoded = encode(&data(CHUNK_IPV4 + 1, 2 * CHUNK_IPV6 + 1));
        let found = record(&encoded);
        assert_eq!((found.extent, found.set), (8, 9));
        assert!(found.flags.contains(NameFlags::SET));
        assert_eq!((found.ipv4, found.ipv6), (29, 15));
        assert_eq!(encoded.len(), 2 + 3);
        assert_eq!(encoded.len(), found.chunks_before(ChunkKind::Own));
        let hash_key = HashKey::from_seed(1);
        let chunks: Vec<Chunk> = encoded.chunks(&hash_key, 9).collect();
        let last4 = chunks[1].words[0].to_le_bytes();
        assert_eq!(last4, [10, 0, 0, 28, 0, 0, 0, 0], "the rest is zero");
        assert!(chunks[1].is(&hash_key, ChunkId::new(9, ChunkKind::Ipv4, 1)));
        assert!(chunks[2].is(&hash_key, ChunkId::new(9, ChunkKind::Ipv6, 0)));
    }

    #[test]
    fn a_name_of_userspace_has_no_addresses() {
        let marked = NameData {
            flags: NameFlags::PASS,
            ..data(1, 0)
        };
        let too_many = encode(&data(SET_ADDRESSES_MAX + 1, 0));
        for encoded in [too_many, encode(&marked), encode(&data(60, 1)).passing()] {
            let found = record(&encoded);
            assert!(found.flags.contains(NameFlags::PASS) && encoded.is_empty());
            assert!(!found.flags.contains(NameFlags::SET));
            assert_eq!((found.ipv4, found.ipv6, found.set), (0, 0, 0));
        }
    }
}
