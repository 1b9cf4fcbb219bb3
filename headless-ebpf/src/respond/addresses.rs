//! Writing an RRset of addresses.

use bytemuck::{Pod, Zeroable};

use super::{Slot, reply::Body};
use crate::{
    abi::{
        CHUNK_BYTES, CHUNK_IPV4, CHUNK_IPV6, ChunkKey, Family, INLINE_BYTES, NameRecord,
        PassReason, Seal,
    },
    lookup::Lookup,
    opaque,
    wire::{AddressBytes, Image, Room, qtype},
};

/// Bytes of a record before its address: a pointer to the question's name,
/// type, class, TTL, length (RFC 1035, section 4.1.3).
const RECORD_HEADER_LEN: usize = 12;

/// Bytes of a whole record.
#[inline(always)]
pub(super) const fn record_len(family: Family) -> usize {
    match family {
        Family::Ipv4 => RECORD_HEADER_LEN + 4,
        Family::Ipv6 => RECORD_HEADER_LEN + 16,
    }
}

/// What is written: some of the addresses of one family under one name.
///
/// In memory for the same reason as [`crate::wire::Question`].
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Rrset {
    /// How many addresses there are.
    pub(super) total: u32,
    /// How many of them are written.
    pub(super) count: u32,
    /// Which is the first.
    start: u32,
    /// TTL in seconds.
    ttl: u32,
    /// Number of the set, where they are in one.
    set: u32,
    /// Where they begin among the record's own, where they are there.
    base: u32,
}

impl Rrset {
    /// Describes the addresses of `family` in `record`, which `body` takes up
    /// as far as they fit, beginning with any of them, so that clients that use
    /// the first one spread.
    #[inline(always)]
    pub(super) fn choose<L: Lookup>(
        &mut self,
        record: &NameRecord,
        family: Family,
        body: &Body,
        ttl: u32,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let (total, base) = match family {
            Family::Ipv4 => (record.ipv4, 0),
            Family::Ipv6 => (record.ipv6, u32::from(record.ipv4) * 4),
        };
        self.total = u32::from(total);
        self.count = body.count_that_fits(usize::from(total), family)? as u32;
        self.start = if total > 1 {
            ((u64::from(lookup.random()) * u64::from(total)) >> 32) as u32
        } else {
            0
        };
        self.ttl = ttl;
        self.set = record.set();
        self.base = base;
        Ok(())
    }

    /// Writes the records at `offset`, from the addresses in `record` itself.
    #[inline(always)]
    pub(super) fn put_inline(
        &self,
        record: &NameRecord,
        family: Family,
        image: &mut Image,
        offset: usize,
        addresses: &mut AddressBytes,
    ) {
        let words: [u64; NameRecord::WORDS] = bytemuck::cast(*record);
        addresses.put_u64(0, words[1]);
        addresses.put_u64(8, words[2]);
        addresses.put_u32(16, words[3] as u32);
        let head = Head::new(family, self.ttl);
        if let Family::Ipv6 = family {
            // There is room for one.
            put_ipv6(image, offset, head, addresses, self.base as usize);
            return;
        }
        let mut position = self.start;
        for i in 0..INLINE_MAX {
            if i >= self.count as usize {
                break;
            }
            let at = offset + i * record_len(Family::Ipv4);
            put_ipv4(image, at, head, addresses, position as usize * 4);
            position += 1;
            if position >= self.total {
                position = 0;
            }
        }
    }

    /// Writes the records at `offset`, from the chunks of the set.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct of them would live on the BPF stack"
    )]
    pub(super) fn put_set<R: Room, L: Lookup>(
        &self,
        family: Family,
        image: &mut Image,
        offset: usize,
        seed: u64,
        slot: &mut Slot,
        addresses: &mut AddressBytes,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let per_chunk = match family {
            Family::Ipv4 => CHUNK_IPV4 as u32,
            Family::Ipv6 => CHUNK_IPV6 as u32,
        };
        let head = Head::new(family, self.ttl);
        let mut position = self.start;
        let mut loaded = None;
        // More than fit do not come; this is a bound for the verifier.
        for i in 0..R::MESSAGE_MAX / record_len(Family::Ipv4) {
            if i >= self.count as usize {
                break;
            }
            // Once round, the verifier knows the position, see `Slot`.
            let position_now = slot.forget(position as usize) as u32;
            let chunk = position_now / per_chunk;
            if loaded != Some(chunk) {
                load(
                    ChunkKey::new(self.set, family.into(), chunk as usize),
                    seed,
                    addresses,
                    lookup,
                )?;
                loaded = Some(chunk);
            }
            // The compiler knows that this is small and would leave out the mask
            // of the access, by which the verifier knows it.
            let within = opaque::number((position_now % per_chunk) as usize);
            let at = offset + i * record_len(family);
            match family {
                Family::Ipv4 => put_ipv4(image, at, head, addresses, within * 4),
                Family::Ipv6 => put_ipv6(image, at, head, addresses, within * 16),
            }
            position = position_now + 1;
            if position >= self.total {
                position = 0;
            }
        }
        Ok(())
    }
}

/// Most addresses that a record holds itself.
const INLINE_MAX: usize = INLINE_BYTES / 4;

/// A record without its address, which is the same for all of an RRset: its
/// sixteen lowest bytes, of which twelve are used.
#[derive(Clone, Copy)]
struct Head(u128);

impl Head {
    #[inline(always)]
    fn new(family: Family, ttl: u32) -> Self {
        let (rtype, rdata_len) = match family {
            Family::Ipv4 => (qtype::A, 4),
            Family::Ipv6 => (qtype::AAAA, 16),
        };
        let [t0, t1, t2, t3] = ttl.to_be_bytes();
        let low = u64::from_le_bytes([0xc0, 12, 0, rtype as u8, 0, 1, t0, t1]);
        let high = u32::from_le_bytes([t2, t3, 0, rdata_len]);
        Self(u128::from(low) | u128::from(high) << 64)
    }
}

#[inline(always)]
fn put_ipv4(image: &mut Image, at: usize, head: Head, addresses: &AddressBytes, from: usize) {
    image.put_u128(at, head.0 | u128::from(addresses.u32_at(from)) << 96);
}

#[inline(always)]
fn put_ipv6(image: &mut Image, at: usize, head: Head, addresses: &AddressBytes, from: usize) {
    image.put_u128(at, head.0);
    image.put_u128(at + RECORD_HEADER_LEN, addresses.u128_at(from));
}

/// Copies a chunk and proves that it is the one asked for, whole.
#[inline(always)]
pub(super) fn load<L: Lookup>(
    key: ChunkKey,
    seed: u64,
    addresses: &mut AddressBytes,
    lookup: &L,
) -> Result<(), PassReason> {
    let Some(expected) = lookup.chunk(key, addresses) else {
        // The set was replaced and its chunks deleted.
        return Err(PassReason::Changed);
    };
    let mut seal = Seal::new(seed).word(key.word());
    for i in 0..CHUNK_BYTES / 8 {
        seal = seal.word(addresses.u64_at(i * 8));
    }
    if u64::from(seal.finish()) == expected {
        Ok(())
    } else {
        Err(PassReason::Changed)
    }
}
