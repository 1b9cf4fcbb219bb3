//! Writing an RRset of addresses.

use bytemuck::{Pod, Zeroable};

use super::reply::Body;
use crate::{
    abi::{
        CHUNK_BYTES, CHUNK_IPV4, CHUNK_IPV6, ChunkKey, Config, Family, INLINE_BYTES, NameFlags,
        NameRecord, Outcome, PassReason, Seal,
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
    /// How many of those to be written are.
    written: u32,
    /// Which chunk is next.
    chunk: u32,
    /// How many addresses the one before it has.
    held: u32,
    /// Which of its addresses is the first.
    within: u32,
    unused: u32,
}

impl Rrset {
    /// Chooses how many of the addresses of `family` in `record` are written, as many
    /// as `body` has room for, and which comes first: any of them, so that clients that
    /// use the first one spread.
    #[inline(always)]
    pub(super) fn choose<L: Lookup>(
        &mut self,
        record: &NameRecord,
        family: Family,
        body: &Body,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let total = match family {
            Family::Ipv4 => record.ipv4,
            Family::Ipv6 => record.ipv6,
        };
        self.total = u32::from(total);
        self.count = body.count_that_fits(usize::from(total), family)? as u32;
        self.start = if total > 1 {
            ((u64::from(lookup.random()) * u64::from(total)) >> 32) as u32
        } else {
            0
        };
        Ok(())
    }

    /// Writes the records at `offset`, from the addresses in `record` itself.
    #[inline(always)]
    pub(super) fn put_inline(
        &self,
        record: &NameRecord,
        family: Family,
        ttl: u32,
        image: &mut Image,
        offset: usize,
        addresses: &mut AddressBytes,
    ) {
        let words: [u64; NameRecord::WORDS] = bytemuck::cast(*record);
        addresses.put_u64(0, words[1]);
        addresses.put_u64(8, words[2]);
        addresses.put_u32(16, words[3] as u32);
        let head = Head::new(family, ttl);
        if let Family::Ipv6 = family {
            // There is room for one, behind those of IPv4.
            put(
                family,
                image,
                offset,
                head,
                addresses,
                usize::from(record.ipv4) * 4,
            );
            return;
        }
        let mut position = self.start;
        for i in 0..INLINE_MAX {
            if i >= self.count as usize {
                break;
            }
            let at = offset + i * record_len(Family::Ipv4);
            put(family, image, at, head, addresses, position as usize * 4);
            position = next(position, self.total);
        }
    }

    /// Writes the records at `offset`, from the chunks of the set of this number.
    ///
    /// Chunk by chunk, from the one with the first address on. Where all addresses are
    /// written, each chunk is loaded once and the first one taken round; where they do
    /// not fit, they are those that follow the first, so that over many replies each
    /// address is written as often as any other.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct of them would live on the BPF stack"
    )]
    pub(super) fn put_set<R: Room, L: Lookup>(
        &mut self,
        set: u32,
        family: Family,
        ttl: u32,
        image: &mut Image,
        offset: usize,
        seed: u64,
        addresses: &mut AddressBytes,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let head = Head::new(family, ttl);
        let per_chunk = per_chunk(family);
        self.chunk = self.start / per_chunk;
        self.within = self.start % per_chunk;
        self.written = 0;
        for _ in 0..chunks_max::<R>(family) {
            // What the loop below leaves, the verifier need not know, see `Slot`.
            let now = *opaque::memory(&mut *self);
            if now.written >= now.count {
                break;
            }
            let key = ChunkKey::new(set, family.into(), now.chunk as usize);
            load(key, seed, addresses, lookup)?;
            let left = now.total.wrapping_sub(now.chunk.wrapping_mul(per_chunk));
            self.held = left.min(per_chunk);
            self.chunk = if left > per_chunk { now.chunk + 1 } else { 0 };
            let Self { held, .. } = *opaque::memory(&mut *self);
            let is_whole = now.count >= now.total;
            let taken = if is_whole {
                held
            } else {
                held.wrapping_sub(now.within)
            };
            self.written = now.count.min(now.written.wrapping_add(taken));
            let Self { written, .. } = *opaque::memory(&mut *self);
            let wanted = written.wrapping_sub(now.written);
            let mut position = now.within;
            let mut at = offset + now.written as usize * record_len(family);
            for i in 0..per_chunk {
                if i >= wanted {
                    break;
                }
                // The compiler knows that this is small and would leave out the mask of
                // the access, by which the verifier knows it.
                let within = opaque::number(position as usize * address_len(family));
                put(family, image, at, head, addresses, within);
                position = next(position, held);
                at += record_len(family);
            }
            self.within = 0;
        }
        Ok(())
    }
}

/// The position after this one among so many, of which the first comes after the last:
/// without a branch, which would be two ways through all turns of a loop.
#[inline(always)]
fn next(position: u32, count: u32) -> u32 {
    let next = position as usize + 1;
    // The compiler would see a comparison in the sign of a difference.
    let difference = opaque::number(next.wrapping_sub(count as usize));
    let is_inside = (difference.cast_signed() >> (usize::BITS - 1)).cast_unsigned();
    (next & is_inside) as u32
}

/// Addresses in a chunk.
const fn per_chunk(family: Family) -> u32 {
    match family {
        Family::Ipv4 => CHUNK_IPV4 as u32,
        Family::Ipv6 => CHUNK_IPV6 as u32,
    }
}

/// Most chunks that as many addresses as fit are in: of the first one and of a set's last
/// one there may be a single address.
const fn chunks_max<R: Room>(family: Family) -> usize {
    let addresses = R::MESSAGE_MAX / record_len(family);
    (addresses - 2).div_ceil(per_chunk(family) as usize) + 2
}

/// Bytes of an address.
const fn address_len(family: Family) -> usize {
    record_len(family) - RECORD_HEADER_LEN
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

/// Writes the addresses of this family in `record`, of which there are some, behind
/// what `body` has.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "a struct of them would live on the BPF stack"
)]
pub(super) fn put_all<R: Room, L: Lookup>(
    family: Family,
    record: &mut NameRecord,
    rrset: &mut Rrset,
    body: &mut Body,
    image: &mut Image,
    config: &Config,
    addresses: &mut AddressBytes,
    lookup: &L,
) -> Result<Outcome, PassReason> {
    let record = opaque::memory(record);
    rrset.choose(record, family, body, lookup)?;
    let rrset = opaque::memory(rrset);
    let ttl = config.ttl;
    if record.flags.contains(NameFlags::SET) {
        let (set, seed) = (record.set(), config.seal_seed);
        rrset.put_set::<R, L>(set, family, ttl, image, body.at(), seed, addresses, lookup)?;
    } else {
        rrset.put_inline(record, family, ttl, image, body.at(), addresses);
    }
    let rrset = opaque::memory(rrset);
    body.answers(rrset.count as usize, family);
    Ok(if rrset.count < rrset.total {
        Outcome::Truncated
    } else {
        Outcome::Data
    })
}

/// Writes one record at `at`, with the address at `from`.
#[inline(always)]
fn put(
    family: Family,
    image: &mut Image,
    at: usize,
    head: Head,
    addresses: &AddressBytes,
    from: usize,
) {
    match family {
        Family::Ipv4 => {
            let address = u128::from(addresses.u32_at(from));
            image.put_u128(at, head.0 | address << 96);
        }
        Family::Ipv6 => {
            image.put_u128(at, head.0);
            image.put_u128(at + RECORD_HEADER_LEN, addresses.u128_at(from));
        }
    }
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
