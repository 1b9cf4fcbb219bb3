//! From a name and what is known of it to map keys and values.
//!
//! Pure: the same input gives the same bytes, apart from the number of the
//! set of chunks, which the caller hands out.

mod details;

use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{
    CHUNK_IPV4, CHUNK_IPV6, Chunk, ChunkKey, ChunkKind, INLINE_BYTES, KEY_WORDS_MAX, KeyClass,
    NameFlags, NameKey, NameRecord, SET_ADDRESSES_MAX, Seal,
};
use headless_ebpf::wire::KeyBytes;

use crate::records::NameData;
use crate::records::name::Labels;

/// The key of a name and the map it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapName {
    class: KeyClass,
    key: NameKey,
}

impl MapName {
    /// The key of a relative name in wire form: length-prefixed labels without
    /// the root, in any case.
    ///
    /// `None` where that is no name (RFC 1035, section 2.3.4) or longer than
    /// the 248 bytes of the longest key.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let (key, len) = NameKey::from_labels(Labels::new(wire))?;
        // Fewer bytes: the last label's length pointed beyond the end.
        (len == wire.len()).then_some(Self {
            class: KeyClass::of_len(len),
            key,
        })
    }

    /// The name under the key that the engine has built for the map of `class`.
    pub fn from_key_bytes(class: KeyClass, key: &KeyBytes) -> Self {
        let words: [u64; KEY_WORDS_MAX] = std::array::from_fn(|i| key.u64_at(i * 8));
        Self::from_words(class, &words[..class.words()])
    }

    /// The name under a key read from the map of `class`.
    pub fn from_words(class: KeyClass, words: &[u64]) -> Self {
        let mut key = NameKey {
            words: [0; KEY_WORDS_MAX],
        };
        key.words
            .iter_mut()
            .zip(words)
            .for_each(|(to, from)| *to = *from);
        Self { class, key }
    }

    /// Which map the name belongs to.
    pub fn class(&self) -> KeyClass {
        self.class
    }

    /// The key, as many words as the class has.
    pub fn words(&self) -> &[u64] {
        self.key.words(self.class)
    }

    /// The key, zero-padded to the longest.
    pub fn key(&self) -> &NameKey {
        &self.key
    }

    /// The folded wire form: length-prefixed labels without the root.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire: Vec<u8> = self.words().iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut end = 0;
        while let Some(&len) = wire.get(end)
            && len != 0
        {
            end += 1 + usize::from(len);
        }
        wire.truncate(end);
        wire
    }

    /// A seal that has taken in the key, as [`NameRecord::sealed`] wants it.
    pub fn seal(&self, seed: u64) -> Seal {
        self.words()
            .iter()
            .fold(Seal::new(seed), |seal, word| seal.word(*word))
    }
}

/// Whether userspace answers for the name, so that no address is stored.
fn passes(data: &NameData) -> bool {
    data.flags.contains(NameFlags::PASS)
        || data.ipv4.len() > SET_ADDRESSES_MAX
        || data.ipv6.len() > SET_ADDRESSES_MAX
}

/// What is stored for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The sealed record.
    pub record: NameRecord,
    /// The sealed chunks that it names, under the set's number.
    pub chunks: Vec<(ChunkKey, Chunk)>,
}

/// What is stored for a name. `set` is the number under which chunks are stored,
/// if there are any.
pub fn encode(name: &MapName, seed: u64, data: &NameData, set: u32) -> Encoded {
    let mut chunks = Vec::new();
    let mut put = |kind: ChunkKind, runs: &mut dyn Iterator<Item = Vec<u8>>| {
        for (index, bytes) in runs.enumerate() {
            let key = ChunkKey::new(set, kind, index);
            chunks.push((key, Chunk::new(seed, key, &bytes)));
        }
    };
    let mut record = NameRecord::default();
    record.flags = data.flags;
    if passes(data) {
        record.flags = record.flags.with(NameFlags::PASS);
    } else {
        (record.ipv4, record.ipv6) = (data.ipv4.len() as u16, data.ipv6.len() as u16);
        if NameRecord::fits_inline(data.ipv4.len(), data.ipv6.len()) {
            record.inline = inline(data);
        } else {
            record.flags = record.flags.with(NameFlags::SET);
            let ipv4 = data.ipv4.chunks(CHUNK_IPV4);
            let ipv6 = data.ipv6.chunks(CHUNK_IPV6);
            put(
                ChunkKind::Ipv4,
                &mut ipv4.map(|run| run.iter().flat_map(Ipv4Addr::octets).collect()),
            );
            put(
                ChunkKind::Ipv6,
                &mut ipv6.map(|run| run.iter().flat_map(Ipv6Addr::octets).collect()),
            );
        }
        let details = data.details.as_deref();
        for (kind, flag, targets) in [
            (
                ChunkKind::Own,
                NameFlags::OWN,
                details.and_then(|details| details.own.as_ref()),
            ),
            (
                ChunkKind::Endpoints,
                NameFlags::ENDPOINTS,
                details.and_then(|details| details.endpoints.as_ref()),
            ),
        ] {
            if let Some(runs) = targets.and_then(details::runs) {
                record.flags = record.flags.with(flag);
                put(kind, &mut runs.into_iter());
            }
        }
    }
    if !chunks.is_empty() {
        record = record.with_set(set);
    }
    Encoded {
        record: record.sealed(name.seal(seed)),
        chunks,
    }
}

/// The addresses as a record holds them: IPv4, then IPv6, in network order.
fn inline(data: &NameData) -> [u8; INLINE_BYTES] {
    let ipv4 = data.ipv4.iter().flat_map(Ipv4Addr::octets);
    let ipv6 = data.ipv6.iter().flat_map(Ipv6Addr::octets);
    let mut inline = [0; INLINE_BYTES];
    inline
        .iter_mut()
        .zip(ipv4.chain(ipv6))
        .for_each(|(to, from)| *to = from);
    inline
}

/// The chunks that an installed record names, without the details, of which only
/// the first ones are known: [`ChunkKind::Own`] and [`ChunkKind::Endpoints`] have
/// as many as the header of the first says.
pub fn address_chunks(record: &NameRecord) -> impl Iterator<Item = ChunkKey> {
    let set = record.set();
    let there = record.flags.contains(NameFlags::SET);
    let ipv4 = usize::from(record.ipv4).div_ceil(CHUNK_IPV4);
    let ipv6 = usize::from(record.ipv6).div_ceil(CHUNK_IPV6);
    (0..ipv4)
        .map(|index| (ChunkKind::Ipv4, index))
        .chain((0..ipv6).map(|index| (ChunkKind::Ipv6, index)))
        .filter(move |_| there)
        .map(move |(kind, index)| ChunkKey::new(set, kind, index))
}

/// The first chunks of the details that an installed record names.
pub fn first_details(record: &NameRecord) -> impl Iterator<Item = ChunkKey> {
    let record = *record;
    [
        (NameFlags::OWN, ChunkKind::Own),
        (NameFlags::ENDPOINTS, ChunkKind::Endpoints),
    ]
    .into_iter()
    .filter(move |(flag, _)| record.flags.contains(*flag))
    .map(move |(_, kind)| ChunkKey::new(record.set(), kind, 0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    const SEED: u64 = 0x5eed;

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

    fn name(labels: &[&str]) -> MapName {
        let wire: Vec<u8> = labels
            .iter()
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .collect();
        MapName::from_wire(&wire).unwrap()
    }

    #[test]
    fn a_key_is_the_folded_name_in_its_class() {
        let short = name(&["Web-0", "nginx", "default"]);
        assert_eq!(short.class(), KeyClass::Short);
        assert_eq!(short.wire(), b"\x05web-0\x05nginx\x07default");
        assert_eq!(short.words().len(), 5);
        let long = "a".repeat(63);
        assert_eq!(name(&[&long]).class(), KeyClass::Medium);
        assert_eq!(name(&[&long, &long]).class(), KeyClass::Long);
        let longest = name(&[&long, &long, &long, &"a".repeat(55)]);
        assert_eq!(longest.wire().len(), 248);
        assert_eq!(
            MapName::from_words(longest.class(), longest.words()),
            longest
        );
    }

    #[test]
    fn what_is_no_name_has_no_key() {
        assert_eq!(MapName::from_wire(b"\x05web"), None, "ends early");
        assert_eq!(MapName::from_wire(b"\x03web\x00"), None, "root");
        assert_eq!(MapName::from_wire(&[64; 65]), None, "label of 64 bytes");
    }

    #[test]
    fn few_addresses_are_in_the_record() {
        let name = name(&["web", "default"]);
        let Encoded { record, chunks } = encode(&name, SEED, &data(1, 1), 9);
        assert!(chunks.is_empty());
        assert_eq!((record.ipv4, record.ipv6, record.set()), (1, 1, 0));
        assert_eq!(record.inline[..4], [10, 0, 0, 0]);
        assert_eq!(record.inline[4..6], [0xfd, 0]);
        assert_eq!(record.flags, NameFlags::CLUSTER_IP);
        assert_eq!(record.seal, record.sealed(name.seal(SEED)).seal);
        let chunks = |ipv4, ipv6| encode(&name, SEED, &data(ipv4, ipv6), 9).chunks.len();
        assert_eq!([chunks(5, 0), chunks(6, 0), chunks(2, 1)], [0, 1, 2]);
    }

    #[test]
    fn many_addresses_are_in_chunks() {
        let data = data(CHUNK_IPV4 + 1, 2 * CHUNK_IPV6 + 1);
        let set = 0x00ab_cdef;
        let Encoded { record, chunks } = encode(&name(&["web", "default"]), SEED, &data, set);
        assert_eq!(record.set(), set);
        assert!(record.flags.contains(NameFlags::SET));
        assert_eq!((record.ipv4, record.ipv6), (29, 15));
        let keys: Vec<_> = chunks.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, address_chunks(&record).collect::<Vec<_>>());
        assert_eq!(keys.len(), 2 + 3);
        let last4 = chunks[1].1.words[0].to_le_bytes();
        assert_eq!(last4, [10, 0, 0, 28, 0, 0, 0, 0], "the rest is zero");
    }

    #[test]
    fn what_userspace_answers_has_no_addresses() {
        let name = name(&["web", "default"]);
        let marked = NameData {
            flags: NameFlags::PASS,
            ..data(1, 0)
        };
        for data in [data(SET_ADDRESSES_MAX + 1, 0), marked] {
            let Encoded { record, chunks } = encode(&name, SEED, &data, 1);
            assert!(record.flags.contains(NameFlags::PASS));
            assert_eq!((record.ipv4, record.ipv6, record.set()), (0, 0, 0));
            assert!(chunks.is_empty());
        }
    }

    proptest! {
        #[test]
        fn a_name_survives_its_key(labels in prop::collection::vec("[a-z0-9_-]{1,63}", 1..4)) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let wire: Vec<u8> = labels
                .iter()
                .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
                .collect();
            let name = MapName::from_wire(&wire).unwrap();
            prop_assert_eq!(name.wire(), wire);
            prop_assert_eq!(MapName::from_words(name.class(), name.words()), name);
        }
    }
}
