//! Chunks: the elements of [`super::map::CHUNKS`]. They hold addresses that do not fit into a
//! name record, the details of Services, and Services' names for reverse names.

use bytemuck::{Pod, Zeroable};

use super::{
    address::Family,
    digest::{describe, digest_of},
    hash::{HASH_CHUNK, HASH_ENDPOINT, HashKey, KeyedHash},
};

/// Bytes of content in a [`Chunk`].
pub const CHUNK_BYTES: usize = 112;

/// IPv4 addresses in a full chunk. As many A records fit into a reply of 512 bytes.
pub const CHUNK_IPV4: usize = CHUNK_BYTES / 4;

/// IPv6 addresses in a full chunk.
pub const CHUNK_IPV6: usize = CHUNK_BYTES / 16;

/// The kind of content of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ChunkKind {
    /// IPv4 addresses.
    Ipv4 = Family::Ipv4 as u16,
    /// IPv6 addresses.
    Ipv6 = Family::Ipv6 as u16,
    /// Details ([`super::DetailsHeader`]) for a Service's own name: its ports, with the Service as
    /// the only target.
    Own = 2,
    /// Details for the names of a Service's endpoints: the ports of its EndpointSlices, with the
    /// endpoints as targets.
    Endpoints = 3,
    /// The relative name of a Service, after one byte with its length. Slots of
    /// [`super::map::REVERSE`] hold the index of this chunk. Chunks of this kind belong to no set.
    Name = 4,
}

impl ChunkKind {
    /// The kinds that belong to sets, in their order in an extent.
    pub const OF_SETS: [Self; 4] = [Self::Ipv4, Self::Ipv6, Self::Own, Self::Endpoints];

    /// Digest of all kinds and their numbers.
    pub(super) const DIGEST: u64 = digest_of! {
        Ipv4 = Self::Ipv4,
        Ipv6 = Self::Ipv6,
        Own = Self::Own,
        Endpoints = Self::Endpoints,
        Name = Self::Name,
    };
}

impl From<Family> for ChunkKind {
    #[inline(always)]
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}

/// The identity of a chunk, which its seal takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    /// [`super::NameRecord::set`]. For [`ChunkKind::Name`], the index of the chunk in the map.
    pub set: u32,
    /// [`ChunkKind`] as a number.
    pub kind: u16,
    /// Number of the chunk among the chunks of its kind, counted from 0. Chunk `index` has the
    /// addresses from `index * CHUNK_IPV4` (or `index * CHUNK_IPV6`) on.
    pub index: u16,
}

impl ChunkId {
    /// The identity of the chunk number `index` of a kind.
    #[inline(always)]
    pub const fn new(set: u32, kind: ChunkKind, index: usize) -> Self {
        Self {
            set,
            kind: kind as u16,
            index: index as u16,
        }
    }

    /// The identity of the name chunk at this index of [`super::map::CHUNKS`].
    #[inline(always)]
    pub const fn name(chunk: u32) -> Self {
        Self::new(chunk, ChunkKind::Name, 0)
    }

    /// The hash that has taken in the identity. [`Self::content`] takes in the words.
    #[inline(always)]
    pub const fn begin(self, key: &HashKey) -> KeyedHash {
        let word = self.set as u64 | (self.kind as u64) << 32 | (self.index as u64) << 48;
        KeyedHash::new().word(key, HASH_CHUNK, word)
    }

    /// Takes in the word `number` of a chunk's content, counted from 0.
    #[inline(always)]
    pub const fn content(hash: KeyedHash, key: &HashKey, number: usize, word: u64) -> KeyedHash {
        hash.word(key, HASH_CHUNK + 1 + number, word)
    }
}

/// A chunk: an element of [`super::map::CHUNKS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Chunk {
    /// The content as little-endian words. Bytes behind the content are zero.
    pub words: [u64; CHUNK_BYTES / 8],
    /// The seal: [`KeyedHash::finish`] of the [`ChunkId`] and the words. It shows that the words
    /// belong together and to this identity.
    pub seal: u64,
}

const _: () = assert!(size_of::<Chunk>() == 120);
const _: () = assert!(HASH_ENDPOINT - HASH_CHUNK == 1 + CHUNK_BYTES / 8);

describe!(Chunk {
    words: [u64; CHUNK_BYTES / 8],
    seal: u64,
});

impl Chunk {
    /// The sealed chunk with this content of at most [`CHUNK_BYTES`] bytes. Further bytes are cut
    /// off.
    pub fn new(key: &HashKey, id: ChunkId, content: &[u8]) -> Self {
        let mut bytes = [0u8; CHUNK_BYTES];
        bytes
            .iter_mut()
            .zip(content)
            .for_each(|(to, from)| *to = *from);
        let mut chunk = Self::zeroed();
        for (word, bytes) in chunk.words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        chunk.seal = chunk.seal_as(key, id);
        chunk
    }

    /// The seal of these words under an identity.
    fn seal_as(&self, key: &HashKey, id: ChunkId) -> u64 {
        let words = self.words.iter().enumerate();
        let hash = words.fold(id.begin(key), |hash, (number, word)| {
            ChunkId::content(hash, key, number, *word)
        });
        hash.finish()
    }

    /// Whether the seal fits the words and this identity.
    pub fn is(&self, key: &HashKey, id: ChunkId) -> bool {
        self.seal == self.seal_as(key, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_one_chunk_only() {
        let key = HashKey::from_seed(1);
        let id = ChunkId::new(7, ChunkKind::Ipv4, 0);
        let chunk = Chunk::new(&key, id, &[1, 2, 3, 4]);
        assert_eq!(chunk.words[0], 0x0403_0201);
        assert!(chunk.is(&key, id));
        for other in [
            ChunkId::new(8, ChunkKind::Ipv4, 0),
            ChunkId::new(7, ChunkKind::Ipv6, 0),
            ChunkId::new(7, ChunkKind::Ipv4, 1),
            ChunkId::name(7),
        ] {
            assert!(!chunk.is(&key, other), "{other:?}");
        }
        for bit in 0..CHUNK_BYTES * 8 {
            let mut torn = chunk;
            torn.words[bit / 64] ^= 1 << (bit % 64);
            assert!(!torn.is(&key, id), "bit {bit}");
        }
        assert!(
            !Chunk::zeroed().is(&key, id),
            "a chunk that was never written"
        );
    }
}
