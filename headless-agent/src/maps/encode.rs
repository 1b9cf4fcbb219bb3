//! From a name and what is known of it to map keys and values.
//!
//! Pure: the same input gives the same bytes, apart from the number of the
//! address set, which the caller hands out.

use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{
    AddressChunk, CHUNK_IPV4, CHUNK_IPV6, ChunkKey, Family, KeyClass, NameFlags, NameKey,
    NameRecord, SET_ADDRESSES_MAX, Seal,
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
        let words: [u64; headless_ebpf::abi::KEY_WORDS_MAX] =
            std::array::from_fn(|i| key.u64_at(i * 8));
        Self::from_words(class, &words[..class.words()])
    }

    /// The name under a key read from the map of `class`.
    pub fn from_words(class: KeyClass, words: &[u64]) -> Self {
        let mut key = NameKey {
            words: [0; headless_ebpf::abi::KEY_WORDS_MAX],
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

/// Whether the addresses are too many for the record itself and go into
/// chunks, for which the caller takes a fresh set number.
pub fn needs_set(data: &NameData) -> bool {
    !passes(data) && !NameRecord::fits_inline(data.ipv4.len(), data.ipv6.len())
}

/// The sealed record of a name. `set` is the number under which [`chunks`]
/// stores the addresses and is used only where [`needs_set`] says so; without
/// one such a name is left to userspace.
pub fn record(name: &MapName, seed: u64, data: &NameData, set: Option<u32>) -> NameRecord {
    let mut record = NameRecord {
        flags: data.flags,
        ipv4: 0,
        ipv6: 0,
        ttl: 0,
        inline: [0; headless_ebpf::abi::INLINE_BYTES],
        seal: 0,
    };
    match (needs_set(data), set) {
        (false, _) if passes(data) => record.flags = record.flags.with(NameFlags::PASS),
        (false, _) => {
            let bytes = addresses(data);
            record
                .inline
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = from);
            (record.ipv4, record.ipv6) = (data.ipv4.len() as u16, data.ipv6.len() as u16);
        }
        (true, Some(set)) => {
            record.flags = record.flags.with(NameFlags::SET);
            record
                .inline
                .iter_mut()
                .zip(set.to_ne_bytes())
                .for_each(|(to, from)| *to = from);
            (record.ipv4, record.ipv6) = (data.ipv4.len() as u16, data.ipv6.len() as u16);
        }
        (true, None) => record.flags = record.flags.with(NameFlags::PASS),
    }
    record.sealed(name.seal(seed))
}

/// The addresses as a record holds them: IPv4, then IPv6, in network order.
fn addresses(data: &NameData) -> impl Iterator<Item = u8> + '_ {
    let ipv4 = data.ipv4.iter().flat_map(Ipv4Addr::octets);
    let ipv6 = data.ipv6.iter().flat_map(Ipv6Addr::octets);
    ipv4.chain(ipv6)
}

/// The number of a set in a record that has one.
pub fn set_of(record: &NameRecord) -> Option<u32> {
    let bytes = record.inline.first_chunk::<4>()?;
    record
        .flags
        .contains(NameFlags::SET)
        .then(|| u32::from_ne_bytes(*bytes))
}

/// Which chunks a set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Number of the set.
    pub number: u32,
    /// Chunks of IPv4 addresses.
    pub ipv4: u16,
    /// Chunks of IPv6 addresses.
    pub ipv6: u16,
}

impl Set {
    /// The set of this number for the addresses of `data`.
    pub fn of(number: u32, data: &NameData) -> Self {
        Self {
            number,
            ipv4: data.ipv4.len().div_ceil(CHUNK_IPV4) as u16,
            ipv6: data.ipv6.len().div_ceil(CHUNK_IPV6) as u16,
        }
    }

    /// Keys of all its chunks.
    pub fn keys(self) -> impl Iterator<Item = ChunkKey> {
        let key = move |family: Family| {
            move |index| ChunkKey {
                set: self.number,
                family: family as u16,
                index,
            }
        };
        (0..self.ipv4)
            .map(key(Family::Ipv4))
            .chain((0..self.ipv6).map(key(Family::Ipv6)))
    }
}

/// The sealed chunks of a set.
pub fn chunks(
    seed: u64,
    set: u32,
    data: &NameData,
) -> impl Iterator<Item = (ChunkKey, AddressChunk)> + '_ {
    let chunk = move |family: Family, index: usize, bytes: &[u8]| {
        let key = ChunkKey {
            set,
            family: family as u16,
            index: index as u16,
        };
        (key, AddressChunk::new(seed, key, bytes))
    };
    let ipv4 = data.ipv4.chunks(CHUNK_IPV4).enumerate();
    let ipv6 = data.ipv6.chunks(CHUNK_IPV6).enumerate();
    let ipv4 = ipv4.map(move |(index, run)| {
        let bytes: Vec<u8> = run.iter().flat_map(Ipv4Addr::octets).collect();
        chunk(Family::Ipv4, index, &bytes)
    });
    let ipv6 = ipv6.map(move |(index, run)| {
        let bytes: Vec<u8> = run.iter().flat_map(Ipv6Addr::octets).collect();
        chunk(Family::Ipv6, index, &bytes)
    });
    ipv4.chain(ipv6)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    const SEED: u64 = 0x5eed;

    fn data(ipv4: usize, ipv6: usize) -> NameData {
        NameData {
            flags: NameFlags::SRV,
            ipv4: (0..ipv4 as u32)
                .map(|i| Ipv4Addr::from(0x0a00_0000 + i))
                .collect(),
            ipv6: (0..ipv6 as u128)
                .map(|i| Ipv6Addr::from((0xfd << 120) + i))
                .collect(),
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
        let record = record(&name, SEED, &data(1, 1), None);
        assert_eq!((record.ipv4, record.ipv6), (1, 1));
        assert_eq!(record.inline[..4], [10, 0, 0, 0]);
        assert_eq!(record.inline[4..6], [0xfd, 0]);
        assert_eq!(record.flags, NameFlags::SRV);
        assert_eq!(record.seal, record.sealed(name.seal(SEED)).seal);
        assert!(!needs_set(&data(5, 0)) && needs_set(&data(6, 0)) && needs_set(&data(2, 1)));
    }

    #[test]
    fn many_addresses_are_in_chunks() {
        let data = data(CHUNK_IPV4 + 1, 2 * CHUNK_IPV6 + 1);
        let record = record(&name(&["web", "default"]), SEED, &data, Some(77));
        assert_eq!(set_of(&record), Some(77));
        assert_eq!((record.ipv4, record.ipv6), (29, 15));
        let chunks: Vec<_> = chunks(SEED, 77, &data).collect();
        let keys: Vec<_> = chunks.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, Set::of(77, &data).keys().collect::<Vec<_>>());
        assert_eq!(keys.len(), 2 + 3);
        let last4 = chunks[1].1.words[0].to_le_bytes();
        assert_eq!(last4, [10, 0, 0, 28, 0, 0, 0, 0], "the rest is zero");
    }

    #[test]
    fn what_userspace_answers_has_no_addresses() {
        let name = name(&["web", "default"]);
        let too_many = record(&name, SEED, &data(SET_ADDRESSES_MAX + 1, 0), Some(1));
        let without_set = record(&name, SEED, &data(6, 0), None);
        let marked = NameData {
            flags: NameFlags::PASS,
            ..data(1, 0)
        };
        for record in [too_many, without_set, record(&name, SEED, &marked, None)] {
            assert!(record.flags.contains(NameFlags::PASS));
            assert_eq!((record.ipv4, record.ipv6, set_of(&record)), (0, 0, None));
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
