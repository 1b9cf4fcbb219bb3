//! Name records: the values under the keys of names.

use bytemuck::{Pod, Zeroable};

use super::{
    address::Address,
    chunk::{CHUNK_IPV4, CHUNK_IPV6, ChunkKind},
    digest::{describe, digest_of},
    hash::{HASH_CHUNK, HASH_RECORD, HashKey, KeyedHash},
};

/// Bytes for addresses that a [`NameRecord`] holds inline.
pub const INLINE_BYTES: usize = 20;

/// Most addresses of one family under one name, the largest value of [`NameRecord::ipv4`] and
/// [`NameRecord::ipv6`]. A name with more addresses has [`NameFlags::PASS`].
pub const SET_ADDRESSES_MAX: usize = u16::MAX as usize;

/// Facts about a name, a set of bits. Bits 8 to 15 are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct NameFlags(pub u16);

impl NameFlags {
    /// The name exists, and userspace must answer all questions for it: a Service of type
    /// ExternalName, or a name with too many addresses.
    pub const PASS: Self = Self(1);
    /// The name is a Service with cluster IPs, so that its SRV records lead to itself.
    pub const CLUSTER_IP: Self = Self(1 << 1);
    /// Names below this name may exist that the maps do not hold, so that they cannot be denied:
    /// endpoints of a Service, or, with [`Self::NO_SERVICE`], names of a namespace. The programs
    /// look for the flag on a namespace only with [`super::State::YIELDING`].
    pub const ENDPOINTS_UNKNOWN: Self = Self(1 << 2);
    /// The addresses are in chunks, not inline.
    pub const SET: Self = Self(1 << 3);
    /// The name is neither a Service nor an endpoint: a namespace, which is an empty non-terminal,
    /// or a pod, whose name is not below `svc`.
    pub const NO_SERVICE: Self = Self(1 << 4);
    /// The name has chunks of the kind [`ChunkKind::Own`].
    pub const OWN: Self = Self(1 << 5);
    /// The name has chunks of the kind [`ChunkKind::Endpoints`].
    pub const ENDPOINTS: Self = Self(1 << 6);
    /// The name is an endpoint that is in more than one slice, or several times in one slice, or
    /// whose label has capitals. Its SRV records do not follow from name and addresses.
    pub const REPEATED: Self = Self(1 << 7);

    /// Digest of all bits.
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

    /// No bit.
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

    /// The bits of `self` and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A name record: the facts about a name, its addresses, and the location of its chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct NameRecord {
    /// Facts about the name.
    pub flags: NameFlags,
    /// Number of IPv4 addresses, which are the A records.
    pub ipv4: u16,
    /// Number of IPv6 addresses, which are the AAAA records.
    pub ipv6: u16,
    /// Number of chunks of the kind [`ChunkKind::Own`].
    pub own_chunks: u16,
    /// The inline addresses, first IPv4, then IPv6, in network byte order. Zero with
    /// [`NameFlags::SET`].
    pub inline: [u8; INLINE_BYTES],
    /// Number of the Service, counted from 1. It stays while the Service exists, and is used
    /// again only after 2^32 others. 0 where the name is no Service.
    pub service: u32,
    /// Index in [`super::map::CHUNKS`] of the first chunk of the name's extent. Valid with
    /// [`NameFlags::SET`], [`NameFlags::OWN`] or [`NameFlags::ENDPOINTS`]. The chunks of the
    /// extent are in the order of [`ChunkKind::OF_SETS`].
    pub extent: u32,
    /// Number of the set, which is one version of the chunks' content. It is used again only
    /// after 2^32 others. A changed set is written to another extent under another number, so
    /// that an answer never mixes two versions.
    pub set: u32,
    /// Zero.
    pub spare: u32,
    /// The seal, see [`Self::seal_of`].
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

    /// A record without flags, addresses and chunks.
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

    /// Whether this many addresses fit inline.
    pub const fn fits_inline(ipv4: usize, ipv6: usize) -> bool {
        ipv4 * 4 + ipv6 * 16 <= INLINE_BYTES
    }

    /// The record of a name with this address only, without a seal.
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

    /// Number of chunks in the extent before the first chunk of this kind.
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

    /// The seal of a record under a key. `name` is the hash that has taken in the words of the
    /// key. `words` are all words of the record; the seal's own bits do not count.
    ///
    /// The kernel reuses the element of a hash map at once after an update or a delete, even while
    /// a program still reads it (kernel commit `fba1a1c6c912`, "bpf: Convert hash map to
    /// `bpf_mem_alloc`"; preallocated maps always did). The agent reuses the slots of its tables,
    /// too. So the engine copies a record first and uses the copy only if its seal fits. The seal
    /// of a mixture of two records, or of the record of another key, does not fit.
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

    /// The record with its seal under a key. `name` is the hash that has taken in the words of the
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
