//! Writes an RRset of A or AAAA records, from the addresses in a name record or in chunks.

use bytemuck::{Pod, Zeroable};

use super::{chunks::Extent, reply::Body, request::Request};
use crate::{
    abi::{
        CHUNK_IPV4, CHUNK_IPV6, Family, INLINE_BYTES, NameFlags, NameRecord, Outcome, PassReason,
    },
    maps::Lookup,
    verifier,
    wire::{
        Capacity, ChunkBytes, Image,
        dns::{QUESTION_NAME, RECORD_HEADER_LEN, RecordHeader, qtype},
    },
};

/// Bytes of an address, which is the RDATA.
#[inline(always)]
const fn address_len(family: Family) -> usize {
    match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 16,
    }
}

/// Bytes of a whole resource record.
#[inline(always)]
const fn record_len(family: Family) -> usize {
    RECORD_HEADER_LEN + address_len(family)
}

/// The header of an A or AAAA record whose owner name is the question's name.
#[inline(always)]
const fn header(family: Family, ttl: u32) -> RecordHeader {
    let rtype = match family {
        Family::Ipv4 => qtype::A,
        Family::Ipv6 => qtype::AAAA,
    };
    RecordHeader::new(QUESTION_NAME, rtype, ttl, address_len(family) as u16)
}

/// Number of addresses in a full chunk.
#[inline(always)]
const fn per_chunk(family: Family) -> u32 {
    match family {
        Family::Ipv4 => CHUNK_IPV4 as u32,
        Family::Ipv6 => CHUNK_IPV6 as u32,
    }
}

/// Most chunks from which the addresses of one reply come. The first chunk of the reply and the
/// last chunk of the set may each contribute a single address, all others are used whole.
const fn chunks_max<C: Capacity>(family: Family) -> usize {
    let addresses = C::MESSAGE_MAX / record_len(family);
    (addresses - 2).div_ceil(per_chunk(family) as usize) + 2
}

/// Most IPv4 addresses that a name record holds inline.
const INLINE_MAX: usize = INLINE_BYTES / 4;

/// The progress of writing an RRset: which addresses the reply gets, and which of them are
/// written.
///
/// The numbers are read from memory (habit 1 of [`verifier`]).
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Rrset {
    /// Number of addresses under the name.
    total: u32,
    /// Number of addresses in the reply.
    count: u32,
    /// Position of the reply's first address among the name's addresses.
    start: u32,
    /// Number of addresses written so far.
    written: u32,
    /// Number of the chunk that is read next.
    chunk: u32,
    /// Number of addresses in the chunk that was read last.
    held: u32,
    /// Position in the next chunk of the first address to write.
    within: u32,
    unused: u32,
}

/// The writer of an RRset, and its working memory.
pub(super) struct Addresses<'a, L> {
    pub(super) request: Request<'a, L>,
    pub(super) image: &'a mut Image,
    pub(super) record: &'a mut NameRecord,
    pub(super) rrset: &'a mut Rrset,
    /// Memory for a chunk.
    pub(super) content: &'a mut ChunkBytes,
}

impl<L: Lookup> Addresses<'_, L> {
    /// Writes the addresses of this family as the reply's answers. The name has at least one.
    /// [`PassReason::TooLarge`] where the client takes a larger reply than the packet can carry.
    #[inline(always)]
    pub(super) fn put<C: Capacity>(
        &mut self,
        family: Family,
        body: &mut Body,
    ) -> Result<Outcome, PassReason> {
        self.choose(family, body)?;
        let at = body.at();
        if verifier::reread(self.record).flags.contains(NameFlags::SET) {
            self.put_from_chunks::<C>(family, at)?;
        } else {
            self.put_from_record(family, at);
        }
        let rrset = verifier::reread(self.rrset);
        body.answers(rrset.count as usize, record_len(family));
        Ok(if rrset.count < rrset.total {
            Outcome::Truncated
        } else {
            Outcome::Data
        })
    }

    /// Chooses how many addresses are written, as many as fit into the reply, and which address
    /// comes first. The choice is random, so that clients which use the first address spread over
    /// all addresses.
    #[inline(always)]
    fn choose(&mut self, family: Family, body: &Body) -> Result<(), PassReason> {
        let record = verifier::reread(self.record);
        let total = match family {
            Family::Ipv4 => record.ipv4,
            Family::Ipv6 => record.ipv6,
        };
        self.rrset.total = u32::from(total);
        self.rrset.count = body.count_that_fits(usize::from(total), record_len(family))? as u32;
        self.rrset.start = if total > 1 {
            ((u64::from(self.request.lookup.random()) * u64::from(total)) >> 32) as u32
        } else {
            0
        };
        Ok(())
    }

    /// Writes the addresses that the name record holds inline.
    #[inline(always)]
    fn put_from_record(&mut self, family: Family, offset: usize) {
        put_inline_addresses(self.record, self.content, 0);
        let header = header(family, self.request.config.ttl);
        if let Family::Ipv6 = family {
            // A record has space for one IPv6 address inline, behind the IPv4 addresses.
            let within = usize::from(self.record.ipv4) * 4;
            self.put_address(family, offset, header, within);
            return;
        }
        let rrset = *verifier::reread(self.rrset);
        let mut position = rrset.start;
        for i in 0..INLINE_MAX {
            if i >= rrset.count as usize {
                break;
            }
            let at = offset + i * record_len(Family::Ipv4);
            self.put_address(family, at, header, position as usize * 4);
            position = verifier::next_in_ring(position, rrset.total);
        }
    }

    /// Writes addresses from chunks, chunk by chunk, from the chunk with the first address on.
    ///
    /// Where all addresses fit, each chunk is loaded once and written whole; the addresses of the
    /// first chunk are rotated. Where not all addresses fit, the reply gets the addresses that
    /// follow the first one, so that each address appears equally often over many replies.
    #[inline(always)]
    fn put_from_chunks<C: Capacity>(
        &mut self,
        family: Family,
        offset: usize,
    ) -> Result<(), PassReason> {
        let header = header(family, self.request.config.ttl);
        let per_chunk = per_chunk(family);
        let chunks = Extent::of(self.record, family.into());
        let rrset = verifier::reread(self.rrset);
        rrset.chunk = rrset.start / per_chunk;
        rrset.within = rrset.start % per_chunk;
        rrset.written = 0;
        for _ in 0..chunks_max::<C>(family) {
            let now = *verifier::reread(self.rrset);
            if now.written >= now.count {
                break;
            }
            let Request { config, lookup, .. } = self.request;
            chunks.load(now.chunk, &config.hash_key, self.content, lookup)?;
            let (written, held) = self.rrset.advance(now, per_chunk);
            let wanted = written.wrapping_sub(now.written);
            let mut position = now.within;
            let mut at = offset + now.written as usize * record_len(family);
            for i in 0..per_chunk {
                if i >= wanted {
                    break;
                }
                // The compiler knows that this number is small and would remove the mask of the
                // access, which the verifier needs.
                let within = verifier::opaque(position as usize * address_len(family));
                self.put_address(family, at, header, within);
                position = verifier::next_in_ring(position, held);
                at += record_len(family);
            }
        }
        Ok(())
    }

    /// Writes one resource record at `at` of the image, with the address at `within` of the
    /// content.
    #[inline(always)]
    fn put_address(&mut self, family: Family, at: usize, header: RecordHeader, within: usize) {
        match family {
            Family::Ipv4 => header.put_with(self.image, at, self.content.u32_at(within)),
            Family::Ipv6 => {
                header.put_with(self.image, at, 0);
                let address = self.content.u128_at(within);
                self.image.put_u128(at + RECORD_HEADER_LEN, address);
            }
        }
    }
}

impl Rrset {
    /// Moves on to the next chunk. `now` is the progress before; its chunk is loaded. Returns how
    /// many addresses are written once the addresses of this chunk are, and how many addresses
    /// this chunk holds.
    #[inline(always)]
    fn advance(&mut self, now: Self, per_chunk: u32) -> (u32, u32) {
        let left = now.total.wrapping_sub(now.chunk.wrapping_mul(per_chunk));
        self.held = left.min(per_chunk);
        self.chunk = if left > per_chunk { now.chunk + 1 } else { 0 };
        let Self { held, .. } = *verifier::reread(&mut *self);
        let is_whole = now.count >= now.total;
        let taken = if is_whole {
            held
        } else {
            held.wrapping_sub(now.within)
        };
        self.written = now.count.min(now.written.wrapping_add(taken));
        self.within = 0;
        let Self { written, .. } = *verifier::reread(self);
        (written, held)
    }
}

/// Copies the inline addresses of a name record to `at` of `content`.
#[inline(always)]
pub(super) fn put_inline_addresses(record: &NameRecord, content: &mut ChunkBytes, at: usize) {
    let words: [u64; NameRecord::WORDS] = bytemuck::cast(*record);
    content.put_u64(at, words[1]);
    content.put_u64(at + 8, words[2]);
    content.put_u32(at + 16, words[3] as u32);
}
