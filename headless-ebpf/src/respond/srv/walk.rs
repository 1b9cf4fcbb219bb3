//! From target to target of SRV records.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{CHUNK_BYTES, PassReason, TARGET_CONTINUES, TARGET_HEADER_LEN, TARGET_LABELS},
    maps::Lookup,
    respond::{
        chunks::Extent,
        reply::{Limits, Written},
        request::Request,
    },
    wire::ChunkBytes,
};

/// The targets of SRV records, and how far they are written.
///
/// A structure in memory, see [`crate::verifier`].
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(in crate::respond) struct Walk {
    /// The chunks that the targets are in.
    pub(super) chunks: Extent,
    /// Whether the targets are IPv4 addresses alone: 1 or 0.
    pub(in crate::respond) implicit: u32,
    /// Where the first target is in the first chunk.
    pub(super) first: u32,
    /// Number of targets.
    pub(super) targets: u32,
    /// Number of endpoints as they count for the weight.
    pub(super) endpoints: u32,
    /// Number of endpoints times ports that are meant, as they count for the weight.
    pub(super) candidates: u32,
    /// Number of ports that are meant.
    pub(super) matched: u32,
    /// Number of those ports that have numbers.
    pub(super) numbered: u32,
    /// A bit for each of those ports that has a number.
    pub(super) bits: u32,
    /// Whether all endpoints have one of the ports that are meant: 1 or 0.
    pub(super) everywhere: u32,
    /// Whether there is a port that some endpoints have and others not: 1 or 0.
    pub(super) differing: u32,
    /// Bytes of the ports in the first chunk.
    pub(super) ports_len: u32,
    /// Bytes with which all targets' names end.
    pub(in crate::respond) suffix_len: u32,
    /// Bytes of the label before them.
    pub(in crate::respond) label_len: u32,
    /// The chunk that is loaded.
    pub(super) chunk: u32,
    /// Where in that chunk the next target is.
    pub(super) at: u32,
    /// Which of the target's records is next.
    pub(super) record: u32,
    /// The number of the target's last SRV record, in the upper half 1 if there is
    /// one.
    pub(super) last: u32,
    /// Ports of which the target's label has had its record.
    pub(super) seen: u32,
    /// Number of targets that are left.
    pub(in crate::respond) left: u32,
    /// TTL in seconds.
    pub(super) ttl: u32,
    pub(super) weight: u32,
    pub(in crate::respond) limits: Limits,
    pub(in crate::respond) written: Written,
}

/// A target in the chunk that is loaded.
#[derive(Clone, Copy, Debug)]
pub(in crate::respond) struct Target {
    /// Where its label is in the chunk.
    pub(super) label_at: usize,
    /// Where its addresses are in the chunk.
    pub(in crate::respond) addresses_at: usize,
    /// A bit for each of its ports.
    pub(super) ports: u32,
    /// Whether the label is the one before once more.
    pub(super) continues: bool,
    /// Whether the label is several labels in wire form or, without a length, the dashed
    /// form of the target's address.
    pub(super) is_wire: bool,
    /// Bytes of the label.
    pub(super) label_len: usize,
    /// Number of IPv4 addresses.
    pub(in crate::respond) ipv4: usize,
    /// Number of IPv6 addresses, which stand behind those.
    pub(in crate::respond) ipv6: usize,
}

impl Target {
    /// Whether its label is its IPv4 address.
    #[inline(always)]
    pub(super) const fn is_dashed(self) -> bool {
        self.is_wire && self.label_len == 0
    }
}

impl Walk {
    /// Loads the chunk that the walk is at.
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

    /// Goes to where the walk begins.
    #[inline(always)]
    pub(in crate::respond) fn rewind(&mut self) {
        self.chunk = 0;
        self.at = self.first;
        (self.record, self.last) = (0, 0);
        self.left = self.targets;
    }

    /// Which target is next, counted from the first.
    #[inline(always)]
    pub(super) fn index(&self) -> usize {
        self.targets.wrapping_sub(self.left) as usize
    }

    /// Goes to the start of the next chunk.
    #[inline(always)]
    pub(in crate::respond) fn next_chunk(&mut self) {
        self.chunk += 1;
        self.at = 0;
    }

    /// The next target; `None` at the chunk's end.
    #[inline(always)]
    pub(in crate::respond) fn target(&self, content: &ChunkBytes) -> Option<Target> {
        let at = self.at as usize;
        if self.implicit != 0 {
            return (at < CHUNK_BYTES).then_some(Target {
                label_at: at,
                addresses_at: at,
                ports: u16::MAX.into(),
                continues: false,
                is_wire: true,
                label_len: 0,
                ipv4: 1,
                ipv6: 0,
            });
        }
        let counts = usize::from(content.u8_at(at + 2));
        // Behind the chunk stands whatever stood there before.
        if at + TARGET_HEADER_LEN > CHUNK_BYTES || counts == 0 {
            return None;
        }
        let label_at = at + TARGET_HEADER_LEN;
        let label_len = usize::from(content.u8_at(at + 3)) & 0x3f;
        Some(Target {
            label_at,
            addresses_at: label_at + label_len,
            ports: content.u16_at(at).into(),
            continues: content.u8_at(at + 3) & TARGET_CONTINUES != 0,
            is_wire: content.u8_at(at + 3) & TARGET_LABELS != 0,
            label_len,
            ipv4: counts & 0xf,
            ipv6: counts >> 4,
        })
    }

    /// Goes on behind the target.
    #[inline(always)]
    pub(in crate::respond) fn skip(&mut self, target: Target) {
        self.at = (target.addresses_at + target.ipv4 * 4 + target.ipv6 * 16) as u32;
        (self.record, self.last) = (0, 0);
        self.left -= 1;
    }
}
