//! What is stored under a name.

use bytemuck::{Pod, Zeroable};

use super::{
    address::Address,
    chunk::{CHUNK_IPV4, CHUNK_IPV6, ChunkKind},
    digest::{describe, digest_of},
    hash::{HASH_CHUNK, HASH_RECORD, HashKey, KeyedHash},
};

/// Bytes of addresses that a [`NameRecord`] holds itself.
pub const INLINE_BYTES: usize = 20;

/// Most addresses of one family under one name: what [`NameRecord::ipv4`] and
/// [`NameRecord::ipv6`] can count. A name with more is marked
/// [`NameFlags::PASS`] and answered in userspace.
pub const SET_ADDRESSES_MAX: usize = u16::MAX as usize;

/// What is known of a name. A set of bits; what is not set is not there. Bits 8 to 15
/// are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct NameFlags(pub u16);

impl NameFlags {
    /// The name exists, and userspace must answer every question about it
    /// (ExternalName, too many addresses).
    pub const PASS: Self = Self(1);
    /// A Service with addresses of its own: its SRV records lead to itself.
    pub const CLUSTER_IP: Self = Self(1 << 1);
    /// A Service whose endpoint names are not in the maps, so that a missing
    /// name below it proves nothing.
    pub const ENDPOINTS_UNKNOWN: Self = Self(1 << 2);
    /// The addresses are in [`super::Chunk`]s, not in the record.
    pub const SET: Self = Self(1 << 3);
    /// Neither a Service nor an endpoint: a namespace, hence an empty non-terminal, or a
    /// pod, whose name is not one below `svc`.
    pub const NO_SERVICE: Self = Self(1 << 4);
    /// There are chunks of kind [`ChunkKind::Own`].
    pub const OWN: Self = Self(1 << 5);
    /// There are chunks of kind [`ChunkKind::Endpoints`].
    pub const ENDPOINTS: Self = Self(1 << 6);
    /// An endpoint that is in more than one slice, or several times in one, or whose
    /// label has capitals: its SRV records do not follow from name and addresses.
    pub const REPEATED: Self = Self(1 << 7);

    /// Digest of the bits' numbers.
    pub(super) const DIGEST: u64 = digest_of! {
        PASS = Self::PASS.0,
        CLUSTER_IP = Self::CLUSTER_IP.0,
        ENDPOINTS_UNKNOWN = Self::ENDPOINTS_UNKNOWN.0,
        SET = Self::SET.0,
        NO_SERVICE = Self::NO_SERVICE.0,
        OWN = Self::OWN.0,
        ENDPOINTS = Self::ENDPOINTS.0,
        REPEATED = Self::REPEATED.0,
    };

    /// No bit set.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all bits of `other` are set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Everything that decides an answer for a name with few addresses, and where the rest
/// is for a name with many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct NameRecord {
    /// What is known of the name.
    pub flags: NameFlags,
    /// Number of IPv4 addresses, hence of A records.
    pub ipv4: u16,
    /// Number of IPv6 addresses, hence of AAAA records.
    pub ipv6: u16,
    /// Number of chunks of kind [`ChunkKind::Own`].
    pub own_chunks: u16,
    /// The IPv4 addresses, then the IPv6 addresses, in network byte order; zero
    /// with [`NameFlags::SET`].
    pub inline: [u8; INLINE_BYTES],
    /// Number of the Service, counted from 1, which stays while the Service exists and
    /// is not used again before 2^32 others; 0 where the name is no Service.
    pub service: u32,
    /// Index in [`super::map::CHUNKS`] of the name's first chunk, where
    /// [`NameFlags::SET`], [`NameFlags::OWN`] or [`NameFlags::ENDPOINTS`] says that
    /// there are chunks. All of the name's chunks follow each other: IPv4 addresses,
    /// IPv6 addresses, [`ChunkKind::Own`], [`ChunkKind::Endpoints`].
    pub extent: u32,
    /// Version of the chunks' content, which is not used again before 2^32 others: a
    /// changed set is written to another extent under another version, so that an
    /// answer never mixes two versions.
    pub set: u32,
    /// Zero.
    pub spare: u32,
    /// Proof of belonging: see [`Self::seal_of`].
    pub seal: u32,
}

const _: () = assert!(size_of::<NameRecord>() == 48);
const _: () = assert!(HASH_CHUNK - HASH_RECORD == NameRecord::WORDS);

describe!(NameRecord {
    flags: NameFlags,
    ipv4: u16,
    ipv6: u16,
    own_chunks: u16,
    inline: [u8; INLINE_BYTES],
    service: u32,
    extent: u32,
    set: u32,
    spare: u32,
    seal: u32,
});

impl NameRecord {
    /// Words of a record.
    pub const WORDS: usize = 6;

    /// A record that says nothing.
    pub const NOTHING: Self = Self {
        flags: NameFlags::empty(),
        ipv4: 0,
        ipv6: 0,
        own_chunks: 0,
        inline: [0; INLINE_BYTES],
        service: 0,
        extent: 0,
        set: 0,
        spare: 0,
        seal: 0,
    };

    /// Whether this many addresses fit in the record itself.
    pub const fn fits_inline(ipv4: usize, ipv6: usize) -> bool {
        ipv4 * 4 + ipv6 * 16 <= INLINE_BYTES
    }

    /// The record that a name with this one address would have, without a seal.
    #[inline(always)]
    pub fn of_address(address: Address) -> Self {
        let mut record = Self::NOTHING;
        let inline = if let Some(word) = address.ipv4_word() {
            record.ipv4 = 1;
            [word.into(), 0]
        } else {
            record.ipv6 = 1;
            [address.first, address.last]
        };
        let words: &mut [u64; Self::WORDS] = bytemuck::cast_mut(&mut record);
        (words[1], words[2]) = (inline[0], inline[1]);
        record
    }

    /// Chunks of the extent before the first one of this kind. A kind that the flags do
    /// not mention has none.
    #[inline(always)]
    pub const fn chunks_before(&self, kind: ChunkKind) -> u32 {
        let is_set = self.flags.contains(NameFlags::SET) as u32;
        let ipv4 = is_set * (self.ipv4 as u32).div_ceil(CHUNK_IPV4 as u32);
        let ipv6 = is_set * (self.ipv6 as u32).div_ceil(CHUNK_IPV6 as u32);
        match kind {
            ChunkKind::Ipv4 | ChunkKind::Name => 0,
            ChunkKind::Ipv6 => ipv4,
            ChunkKind::Own => ipv4 + ipv6,
            ChunkKind::Endpoints => ipv4 + ipv6 + self.own_chunks as u32,
        }
    }

    /// The seal that a record of these words must have under a name. `name` has taken
    /// in the words of the name's key; `words` is the whole record, whose seal is left
    /// out.
    ///
    /// An element that an update or a delete frees is reused at once, even under a
    /// program that still reads it (kernel commit `fba1a1c6c912`, "bpf: Convert hash
    /// map to `bpf_mem_alloc`"; preallocated maps always did), and slots of our own
    /// tables are reused, too. So a value is copied first and believed only when its
    /// seal fits the key and the copied words: a mixture of two values, or the value of
    /// another key, fails.
    #[inline(always)]
    pub const fn seal_of(key: &HashKey, name: KeyedHash, words: [u64; Self::WORDS]) -> u32 {
        let hash = name
            .word(key, HASH_RECORD, words[0])
            .word(key, HASH_RECORD + 1, words[1])
            .word(key, HASH_RECORD + 2, words[2])
            .word(key, HASH_RECORD + 3, words[3])
            .word(key, HASH_RECORD + 4, words[4])
            .word(key, HASH_RECORD + 5, words[5] & 0xffff_ffff);
        hash.finish_half()
    }

    /// The record with its seal for a name. `name` has taken in the words of the name's
    /// key.
    #[must_use]
    pub fn sealed(mut self, key: &HashKey, name: KeyedHash) -> Self {
        self.seal = 0;
        self.seal = Self::seal_of(key, name, bytemuck::cast(self));
        self
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn every_bit_of_a_record_is_sealed() {
        let key = HashKey::from_seed(1);
        let name = KeyedHash::new().word(&key, 0, 9);
        let record = NameRecord {
            ipv4: 1,
            inline: [7; INLINE_BYTES],
            ..NameRecord::NOTHING
        };
        let words: [u64; NameRecord::WORDS] = bytemuck::cast(record.sealed(&key, name));
        let seal = NameRecord::seal_of(&key, name, words);
        assert_eq!(u64::from(seal), words[5] >> 32);
        for bit in 0..64 * NameRecord::WORDS - 32 {
            let mut other = words;
            other[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(NameRecord::seal_of(&key, name, other), seal, "bit {bit}");
        }
        let other = KeyedHash::new().word(&key, 0, 10);
        assert_ne!(NameRecord::seal_of(&key, other, words), seal);
    }

    #[test]
    fn an_address_is_held_in_network_order() {
        let record = |address: [u8; 4]| NameRecord::of_address(IpAddr::from(address).into());
        let NameRecord {
            ipv4, ipv6, inline, ..
        } = record([10, 0, 0, 22]);
        assert_eq!((ipv4, ipv6), (1, 0));
        assert_eq!(inline[..5], [10, 0, 0, 22, 0]);
        let bytes: [u8; 16] = core::array::from_fn(|i| 0x20 + i as u8);
        let record = NameRecord::of_address(IpAddr::from(bytes).into());
        assert_eq!((record.ipv4, record.ipv6), (0, 1));
        assert_eq!(record.inline[..16], bytes);
        assert_eq!(record.inline[16..], [0; 4]);
    }

    #[test]
    fn kinds_follow_each_other() {
        let record = NameRecord {
            flags: NameFlags::SET,
            ipv4: CHUNK_IPV4 as u16 + 1,
            ipv6: 1,
            own_chunks: 3,
            ..NameRecord::NOTHING
        };
        let before = ChunkKind::OF_SETS.map(|kind| record.chunks_before(kind));
        assert_eq!(before, [0, 2, 3, 6]);
        let inline = NameRecord {
            flags: NameFlags::empty(),
            ..record
        };
        let before = ChunkKind::OF_SETS.map(|kind| inline.chunks_before(kind));
        assert_eq!(before, [0, 0, 0, 3]);
    }
}
