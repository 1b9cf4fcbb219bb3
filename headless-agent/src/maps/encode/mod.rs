//! A name becomes a key, a name record and chunks.
//!
//! This module does no I/O and remembers nothing: the same name in the same place gives the
//! same bytes. The caller chooses the place, that is the Service's number, the extent and
//! the version of the set.

mod details;
mod key;
mod name;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{
    CHUNK_BYTES, CHUNK_IPV4, CHUNK_IPV6, Chunk, ChunkId, ChunkKind, Config, HashKey, INLINE_BYTES,
    NameFlags, NameRecord, PassedNames, SET_ADDRESSES_MAX,
};

pub use self::key::MapKey;
pub(super) use self::name::{EndpointName, endpoint_entry, is_service, namespace_of};
use crate::records::NameData;

/// The record and the chunks of a name, before they have a place and seals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    record: NameRecord,
    chunks: Vec<Content>,
}

/// The content of a chunk, before the chunk belongs to a set and has a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    kind: ChunkKind,
    /// Number of the chunk among the set's chunks of this kind, from 0.
    index: usize,
    bytes: [u8; CHUNK_BYTES],
}

/// The fields of a name record that do not follow from the name's data.
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
    /// The place that a record has.
    pub fn of(record: &NameRecord) -> Self {
        Self {
            service: record.service,
            extent: record.extent,
            set: record.set,
        }
    }
}

/// [`PassedNames::hash`] of names of the zone, which are given without the zone. `None` where one
/// is too long.
pub fn passed_hashes(key: &HashKey, names: &BTreeSet<Box<str>>) -> Option<Vec<u64>> {
    let hash = |name: &str| {
        let labels = name.split('.').filter(|label| !label.is_empty());
        PassedNames::hash(key, labels.map(str::as_bytes))
    };
    names.iter().map(|name| hash(name)).collect()
}

/// Exactly these names of the zone, which are given without the zone. They keep the places that
/// they have in `config`. `None` where they are too many or too long.
pub fn passed_names(config: &Config, names: &BTreeSet<Box<str>>) -> Option<PassedNames> {
    config.passed.with(&passed_hashes(&config.hash_key, names)?)
}

/// Whether the programs leave the name to userspace, so that the maps need no addresses.
fn passes(data: &NameData) -> bool {
    data.flags.contains(NameFlags::PASS)
        || data.ipv4.len() > SET_ADDRESSES_MAX
        || data.ipv6.len() > SET_ADDRESSES_MAX
}

/// Encodes the data of a name. Ports and targets that the layout cannot express are left
/// out, and the programs then leave SRV queries for the name to userspace.
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
                put_items(bytes, run.iter().map(Ipv4Addr::octets));
            },
        );
        encoded.put(
            ChunkKind::Ipv6,
            data.ipv6.chunks(CHUNK_IPV6),
            |run, bytes| {
                put_items(bytes, run.iter().map(Ipv6Addr::octets));
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
            bytes[..run.len()].copy_from_slice(&run);
        });
    }
    encoded
}

/// Writes items of `N` bytes one after the other to the beginning of `bytes`.
fn put_items<const N: usize>(bytes: &mut [u8], items: impl Iterator<Item = [u8; N]>) {
    let places = bytes.as_chunks_mut::<N>().0;
    places
        .iter_mut()
        .zip(items)
        .for_each(|(place, item)| *place = item);
}

/// The addresses as a record holds them: IPv4 addresses, then IPv6 addresses, each in
/// network byte order.
fn inline(data: &NameData) -> [u8; INLINE_BYTES] {
    let mut inline = [0; INLINE_BYTES];
    put_items(&mut inline, data.ipv4.iter().map(Ipv4Addr::octets));
    put_items(
        &mut inline[(data.ipv4.len() * 4).min(INLINE_BYTES)..],
        data.ipv6.iter().map(Ipv6Addr::octets),
    );
    inline
}

impl Encoded {
    fn flag(&mut self, flag: NameFlags) {
        self.record.flags = self.record.flags.with(flag);
    }

    /// Adds a chunk for each of the runs, whose content `write` writes.
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

    /// Number of chunks, which is the length of the extent.
    pub fn len(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Whether the record alone holds everything, without chunks.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The record of the same name without addresses, which leaves all queries for the name
    /// to userspace.
    #[must_use]
    pub fn passing(&self) -> Self {
        let in_chunks = NameFlags::SET
            .with(NameFlags::OWN)
            .with(NameFlags::ENDPOINTS);
        let kept = NameFlags(self.record.flags.0 & !in_chunks.0);
        Self {
            record: NameRecord {
                flags: kept.with(NameFlags::PASS),
                ..NameRecord::default()
            },
            chunks: Vec::new(),
        }
    }

    /// The sealed record of a key. A record without chunks has neither extent nor set.
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

    /// The sealed chunks of the set with this version, in the order of the extent.
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
    fn few_addresses_fit_into_the_record() {
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
        assert_eq!(
            last4,
            [10, 0, 0, 28, 0, 0, 0, 0],
            "bytes behind the content are zero"
        );
        assert!(chunks[1].is(&hash_key, ChunkId::new(9, ChunkKind::Ipv4, 1)));
        assert!(chunks[2].is(&hash_key, ChunkId::new(9, ChunkKind::Ipv6, 0)));
    }

    #[test]
    fn a_name_that_is_left_to_userspace_has_no_addresses() {
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
