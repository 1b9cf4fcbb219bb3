//! What is stored under a name, and what is too much for it.

use bytemuck::{Pod, Zeroable};

use super::Seal;

/// Bytes of addresses that a [`NameRecord`] holds itself.
pub const INLINE_BYTES: usize = 20;

/// Bytes of a [`Chunk`].
pub const CHUNK_BYTES: usize = 112;

/// IPv4 addresses in a chunk: as many A records as fit a reply of 512 bytes.
pub const CHUNK_IPV4: usize = CHUNK_BYTES / 4;

/// IPv6 addresses in a chunk.
pub const CHUNK_IPV6: usize = CHUNK_BYTES / 16;

/// Most addresses of one family under one name: what [`NameRecord::ipv4`] and
/// [`NameRecord::ipv6`] can count. A name with more is marked
/// [`NameFlags::PASS`] and answered in userspace.
pub const SET_ADDRESSES_MAX: usize = u16::MAX as usize;

/// What is known of a name. A set of bits; what is not set is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct NameFlags(pub u8);

impl NameFlags {
    /// The name exists, and userspace must answer every question about it
    /// (ExternalName, too many addresses).
    pub const PASS: Self = Self(1);
    /// A Service with addresses of its own: its SRV records lead to itself.
    pub const CLUSTER_IP: Self = Self(1 << 1);
    /// A Service whose endpoint names are not in the maps, so that a missing
    /// name below it proves nothing.
    pub const ENDPOINTS_UNKNOWN: Self = Self(1 << 2);
    /// The addresses are in [`Chunk`]s, not in the record.
    pub const SET: Self = Self(1 << 3);
    /// Neither a Service nor an endpoint: a namespace, hence an empty non-terminal, or a
    /// pod, whose name is not one below `svc`.
    pub const NO_SERVICE: Self = Self(1 << 4);
    /// There are chunks of kind [`ChunkKind::Own`].
    pub const OWN: Self = Self(1 << 5);
    /// There are chunks of kind [`ChunkKind::Endpoints`].
    pub const ENDPOINTS: Self = Self(1 << 6);
    /// An endpoint that is in more than one slice, or several times in one, or whose
    /// label has capitals: its SRV records are not what name and addresses say.
    pub const REPEATED: Self = Self(1 << 7);

    /// No bit set.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all bits of `other` are set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The value of the name maps: everything that decides an answer for a name
/// with few addresses, in four words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NameRecord {
    /// What is known of the name.
    pub flags: NameFlags,
    /// Bits 16 to 23 of [`Self::set`].
    set_high: u8,
    /// Number of IPv4 addresses, hence of A records.
    pub ipv4: u16,
    /// Number of IPv6 addresses, hence of AAAA records.
    pub ipv6: u16,
    /// Bits 0 to 15 of [`Self::set`].
    set_low: u16,
    /// The IPv4 addresses, then the IPv6 addresses, in network byte order; zero
    /// with [`NameFlags::SET`].
    pub inline: [u8; INLINE_BYTES],
    /// Proof of belonging, see [`Seal`].
    pub seal: u32,
}

const _: () = assert!(size_of::<NameRecord>() == 32);

/// Highest number of a set of chunks.
pub const SET_NUMBER_MAX: u32 = (1 << 24) - 1;

impl NameRecord {
    /// A record that says nothing.
    pub const NOTHING: Self = Self {
        flags: NameFlags::empty(),
        set_high: 0,
        ipv4: 0,
        ipv6: 0,
        set_low: 0,
        inline: [0; INLINE_BYTES],
        seal: 0,
    };

    /// Number of the set that holds the name's chunks, where it has any.
    #[inline(always)]
    pub const fn set(&self) -> u32 {
        (self.set_high as u32) << 16 | self.set_low as u32
    }

    /// The record with this number of a set, of at most [`SET_NUMBER_MAX`].
    #[must_use]
    pub const fn with_set(mut self, number: u32) -> Self {
        self.set_high = (number >> 16) as u8;
        self.set_low = number as u16;
        self
    }

    /// Words of a record.
    pub const WORDS: usize = 4;

    /// Whether this many addresses fit in the record itself.
    pub const fn fits_inline(ipv4: usize, ipv6: usize) -> bool {
        ipv4 * 4 + ipv6 * 16 <= INLINE_BYTES
    }

    /// The seal that a record of these words must have under a key whose words
    /// `key` has taken in. `words` is the whole record; its seal is left out.
    #[inline(always)]
    pub const fn seal_of(key: Seal, words: [u64; Self::WORDS]) -> u32 {
        key.word(words[0])
            .word(words[1])
            .word(words[2])
            .word(words[3] & 0xffff_ffff)
            .finish()
    }

    /// The record with its seal set for the key whose words `key` has taken in.
    #[must_use]
    pub fn sealed(mut self, key: Seal) -> Self {
        self.seal = 0;
        self.seal = Self::seal_of(key, bytemuck::cast(self));
        self
    }
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Family {
    /// IPv4, 4 bytes an address.
    Ipv4 = 0,
    /// IPv6, 16 bytes an address.
    Ipv6 = 1,
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ChunkKind {
    /// IPv4 addresses.
    Ipv4 = Family::Ipv4 as u16,
    /// IPv6 addresses.
    Ipv6 = Family::Ipv6 as u16,
    /// [`super::DetailsHeader`] and what follows it: a Service's own ports, with
    /// itself as the target.
    Own = 2,
    /// The same for its endpoints: the ports are those of the slices.
    Endpoints = 3,
    /// Not of a set: one byte length and the relative name of the Service that has
    /// this number in [`super::map::REVERSE`].
    Name = 4,
}

impl ChunkKind {
    /// Those of sets, in order of their number.
    pub const OF_SETS: [Self; 4] = [Self::Ipv4, Self::Ipv6, Self::Own, Self::Endpoints];
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

/// Key of the map of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ChunkKey {
    /// Number of the set, or of the Service. A changed set gets a new number, and none is used again
    /// before all 2^24 were, so that an answer never mixes two versions.
    pub set: u32,
    /// [`ChunkKind`] as a number.
    pub kind: u16,
    /// Which chunk of its kind: addresses from `index * CHUNK_IPV4` (or
    /// `CHUNK_IPV6`) on.
    pub index: u16,
}

const _: () = assert!(size_of::<ChunkKey>() == 8);

impl ChunkKey {
    /// The key of the chunk of this number.
    #[inline(always)]
    pub const fn new(set: u32, kind: ChunkKind, index: usize) -> Self {
        Self {
            set,
            kind: kind as u16,
            index: index as u16,
        }
    }

    /// The key as one word, as the seal of a [`Chunk`] takes it in.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.set as u64 | (self.kind as u64) << 32 | (self.index as u64) << 48
    }
}

/// A run of bytes of one set and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Chunk {
    /// The bytes as little-endian words; what the set does not fill is zero.
    pub words: [u64; CHUNK_BYTES / 8],
    /// Proof of belonging: the seal in the lower half, the upper half zero.
    pub seal: u64,
}

const _: () = assert!(size_of::<Chunk>() == 120);

impl Chunk {
    /// The chunk of these bytes, sealed. There are at most
    /// [`CHUNK_BYTES`]; more are cut off.
    pub fn new(seed: u64, key: ChunkKey, content: &[u8]) -> Self {
        let mut bytes = [0u8; CHUNK_BYTES];
        bytes
            .iter_mut()
            .zip(content)
            .for_each(|(to, from)| *to = *from);
        let mut chunk = Self::zeroed();
        let mut seal = Seal::new(seed).word(key.word());
        for (word, bytes) in chunk.words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
            seal = seal.word(*word);
        }
        chunk.seal = u64::from(seal.finish());
        chunk
    }
}
