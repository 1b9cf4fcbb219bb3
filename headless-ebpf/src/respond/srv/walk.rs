//! The walk from one SRV target to the next, chunk by chunk. [`crate::abi::DetailsHeader`]'s
//! module describes how targets are stored.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{
        Address, CHUNK_BYTES, CHUNK_IPV4, PassReason, TARGET_CONTINUES, TARGET_HEADER_LEN,
        TARGET_LABELS,
    },
    maps::Lookup,
    respond::{
        chunks::Extent,
        reply::{Limits, Written},
        request::Request,
    },
    verifier,
    wire::ChunkBytes,
};

/// A walk over the targets of SRV records, and the progress of writing their records.
///
/// The numbers are read from memory (habit 1 of [`crate::verifier`]).
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(in crate::respond) struct Walk {
    /// The chunks with the targets.
    pub(super) chunks: Extent,
    /// 1 where the chunks hold IPv4 addresses alone, which are the targets
    /// ([`crate::abi::DetailsHeader::IMPLICIT`]), else 0.
    pub(in crate::respond) implicit: u32,
    /// Not 0 where a target has more than one address ([`crate::abi::DetailsHeader::SEVERAL`]).
    pub(super) several: u32,
    /// Offset of the first target in the first chunk.
    pub(super) first: u32,
    /// Number of the last chunk with targets.
    pub(super) last_chunk: u32,
    /// Where a target begins in the last chunk, its offset is below this.
    pub(super) last_end: u32,
    /// Where a target begins in the loaded chunk, its offset is below this.
    end: u32,
    /// The chunk where the walk begins.
    start_chunk: u32,
    /// Offset in that chunk of the target with which the walk begins.
    start_at: u32,
    /// Number of targets that the walk passes over before it begins, see [`Self::turn`].
    skips: u32,
    /// Number of targets.
    pub(super) targets: u32,
    /// Number of endpoints as CoreDNS counts them for the weight.
    pub(super) endpoints: u32,
    /// Sum over the matching ports of the endpoints that have the port, for the weight.
    pub(super) candidates: u32,
    /// Number of ports that match the question.
    pub(super) matched: u32,
    /// Number of matching ports with a number.
    pub(super) numbered: u32,
    /// A bit for each matching port with a number, by the port's index in the details.
    pub(super) bits: u32,
    /// 1 where at least one matching port is a port of all endpoints, else 0.
    pub(super) everywhere: u32,
    /// 1 where some endpoints lack a port that others have, else 0.
    pub(super) differing: u32,
    /// Bytes of the ports in the first chunk.
    pub(super) ports_len: u32,
    /// Bytes of [`super::SrvMemory::suffix`].
    pub(in crate::respond) suffix_len: u32,
    /// Bytes of [`super::SrvMemory::label`].
    pub(in crate::respond) label_len: u32,
    /// Number of the loaded chunk.
    pub(super) chunk: u32,
    /// Offset of the next target in the loaded chunk. While the ports are read: offset of the
    /// next port.
    pub(super) at: u32,
    /// Index of the target's next record: among the matching ports with numbers, or among its
    /// addresses.
    pub(super) record: u32,
    /// The port number of the target's last SRV record in the lower half, and 1 in the upper
    /// half. 0 where the target has no record yet.
    pub(super) last: u32,
    /// A bit for each port for which the target's label has an SRV record already.
    pub(super) seen: u32,
    /// Number of targets from the next one on.
    pub(in crate::respond) left: u32,
    /// TTL of the records in seconds.
    pub(super) ttl: u32,
    /// Weight of the SRV records.
    pub(super) weight: u32,
    /// The space for records.
    pub(in crate::respond) limits: Limits,
    /// The records that have been written.
    pub(in crate::respond) written: Written,
}

/// The header of an address that is a target itself: all ports, one IPv4 address, and a dashed
/// label.
const IMPLICIT_HEADER: usize = 0xffff | 1 << 16 | (TARGET_LABELS as usize) << 24;

const _: () = assert!(TARGET_HEADER_LEN == 4);

/// Where a target begins in a chunk, its offset is below this.
pub(super) const TARGETS_END: u32 = (CHUNK_BYTES - TARGET_HEADER_LEN + 1) as u32;

/// More targets than a chunk holds. A target has at least a header and an address.
pub(super) const SKIPS_MAX: u32 = 16;

const _: () = assert!(CHUNK_BYTES / (TARGET_HEADER_LEN + 4) < SKIPS_MAX as usize);

/// A target in the loaded chunk.
#[derive(Clone, Copy, Debug)]
pub(in crate::respond) struct Target {
    /// Offset of the target's label in the chunk.
    pub(super) label_at: usize,
    /// Offset of the target's addresses in the chunk: first IPv4, then IPv6.
    pub(in crate::respond) addresses_at: usize,
    /// A bit for each port of the target.
    pub(super) ports: u32,
    /// [`TARGET_CONTINUES`]: the label is the same as the label of the target before.
    /// [`TARGET_LABELS`]: the label consists of several labels in wire form; with a length of 0,
    /// it is the dashed form of the target's IPv4 address.
    flags: u32,
    /// Bytes of the label.
    pub(super) label_len: usize,
    /// Number of IPv4 addresses.
    pub(in crate::respond) ipv4: usize,
    /// Number of IPv6 addresses.
    pub(in crate::respond) ipv6: usize,
}

impl Target {
    /// Whether the label is the dashed form of the IPv4 address.
    #[inline(always)]
    pub(super) const fn is_dashed(self) -> bool {
        self.label_len == 0 && self.flags & TARGET_LABELS as u32 != 0
    }

    /// Offset behind the target.
    #[inline(always)]
    const fn end(self) -> u32 {
        (self.addresses_at + self.ipv4 * 4 + self.ipv6 * 16) as u32
    }

    /// Compares the first address of each family. Returns 0 where neither is `address`.
    #[inline(always)]
    pub(in crate::respond) fn has(self, content: &ChunkBytes, address: &Address) -> u64 {
        let ipv4 = Address::from_ipv4_word(content.u32_at(self.addresses_at));
        let ipv6_at = self.addresses_at + self.ipv4 * 4;
        let ipv6 = Address {
            first: content.u64_at(ipv6_at),
            last: content.u64_at(ipv6_at + 8),
        };
        let ones_if_equal = |other: Address| {
            let difference = (address.first ^ other.first) | (address.last ^ other.last);
            verifier::ones_if_zero((difference | difference >> 32) as u32)
        };
        let is_ipv4 = ones_if_equal(ipv4) & !verifier::ones_if_zero(self.ipv4 as u32);
        let is_ipv6 = ones_if_equal(ipv6) & !verifier::ones_if_zero(self.ipv6 as u32);
        (is_ipv4 | is_ipv6) as u64
    }

    /// All bits set where the label is the same as the label of the target before, else 0.
    #[inline(always)]
    pub(super) fn continues(self) -> usize {
        !verifier::ones_if_zero(self.flags & u32::from(TARGET_CONTINUES))
    }

    /// Bytes of the label's length byte: 1, or 0 for a label in wire form and for no label.
    #[inline(always)]
    pub(super) fn length_len(self) -> usize {
        let is_one_label = verifier::ones_if_zero(self.flags & u32::from(TARGET_LABELS));
        1 & is_one_label & !verifier::ones_if_zero(self.label_len as u32)
    }
}

impl Walk {
    /// Loads the chunk number [`Self::chunk`] into `content`.
    #[inline(always)]
    pub(in crate::respond) fn load<L: Lookup>(
        &self,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<(), PassReason> {
        let Request { config, lookup, .. } = request;
        self.chunks
            .load(self.chunk, &config.hash_key, content, lookup)
    }

    /// The walk begins with the first target. `last_chunk` is the number of the last chunk.
    #[inline(always)]
    pub(super) fn begin(&mut self, last_chunk: u32, last_end: u32) {
        (self.last_chunk, self.last_end) = (last_chunk, last_end);
        (self.start_chunk, self.start_at) = (0, self.first);
    }

    /// Goes back to the target with which the walk begins.
    #[inline(always)]
    pub(in crate::respond) fn rewind(&mut self) {
        self.go_to(self.start_chunk, self.start_at);
        (self.record, self.last) = (0, 0);
        self.left = self.targets;
    }

    /// Goes to a place in a chunk, which need not be loaded.
    #[inline(always)]
    fn go_to(&mut self, chunk: u32, at: u32) {
        let is_last = verifier::ones_if_zero(chunk ^ self.last_chunk) as u32;
        self.end = self.last_end & is_last | TARGETS_END & !is_last;
        (self.chunk, self.at) = (chunk, at);
    }

    /// Goes to a random chunk, and says how many of its targets to pass over. An address that is
    /// a target itself has a known place.
    #[inline(always)]
    pub(super) fn turn(&mut self, random: u32) {
        let (high, low) = (random >> 16, random & 0xffff);
        let stored = verifier::ones_if_zero(self.implicit) as u32;
        let position = ((u64::from(random) * u64::from(self.targets)) >> 32) as u32;
        let chunk = (high * ((self.last_chunk + 1) & 0xffff)) >> 16;
        let chunk = chunk & stored | (position / CHUNK_IPV4 as u32) & !stored;
        let at = self.first & verifier::ones_if_zero(chunk) as u32;
        let at = at & stored | (position % CHUNK_IPV4 as u32 * 4) & !stored;
        self.skips = (low * SKIPS_MAX) >> 16 & stored;
        self.go_to(chunk, at);
    }

    /// Passes over a target before the walk begins. Returns whether the walk begins with it. It
    /// does not begin within the targets of one label, which share records.
    #[inline(always)]
    pub(super) fn begins_with(&mut self, target: Target) -> bool {
        if self.skips == 0 && target.continues() == 0 {
            return true;
        }
        self.skips = self.skips.saturating_sub(1);
        self.at = target.end();
        false
    }

    /// Goes to the first target of the first chunk.
    #[inline(always)]
    pub(super) fn restart(&mut self) {
        self.go_to(0, self.first);
    }

    /// The walk begins here from now on.
    #[inline(always)]
    pub(super) fn begin_here(&mut self) {
        (self.start_chunk, self.start_at) = (self.chunk, self.at);
    }

    /// The index of the next target, counted from 0.
    #[inline(always)]
    pub(super) fn index(&self) -> usize {
        self.targets.wrapping_sub(self.left) as usize
    }

    /// Goes to the first target of the next chunk. The first chunk follows the last one.
    #[inline(always)]
    pub(in crate::respond) fn next_chunk(&mut self) {
        let is_last = verifier::ones_if_zero(self.chunk ^ self.last_chunk) as u32;
        self.go_to((self.chunk + 1) & !is_last, self.first & is_last);
    }

    /// The next target. `None` at the end of the loaded chunk.
    #[inline(always)]
    pub(in crate::respond) fn target(&self, content: &ChunkBytes) -> Option<Target> {
        let at = self.at as usize;
        // An address that is a target itself has no header. A branch for it would double the
        // paths through the loop over targets.
        let stored = verifier::ones_if_zero(self.implicit);
        let header = content.u32_at(at) as usize & stored | IMPLICIT_HEADER & !stored;
        // The bytes behind the chunk's content are from earlier use, so that the offset is
        // compared, too. An address has as many bytes as a header. One branch for both, since
        // the next chunk is loaded behind it.
        let is_inside = verifier::ones_if_below(at, self.end as usize);
        let counts = header >> 16 & 0xff & is_inside;
        if counts == 0 {
            return None;
        }
        let label_at = at + (TARGET_HEADER_LEN & stored);
        let label_len = header >> 24 & 0x3f;
        Some(Target {
            label_at,
            addresses_at: label_at + label_len,
            ports: header as u32 & 0xffff,
            flags: (header >> 24) as u32,
            label_len,
            ipv4: counts & 0xf,
            ipv6: counts >> 4,
        })
    }

    /// Goes on to the target after `target`.
    #[inline(always)]
    pub(in crate::respond) fn skip(&mut self, target: Target) {
        self.at = target.end();
        (self.record, self.last) = (0, 0);
        self.left -= 1;
    }
}
