//! Where SRV records lead, target after target.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{CHUNK_BYTES, ChunkKey, TARGET_CONTINUES, TARGET_HEADER_LEN, TARGET_LABELS},
    respond::reply::Limits,
    wire::AddressBytes,
};

/// The targets of SRV records, and how far they are written.
///
/// In memory for the same reason as [`crate::wire::Question`].
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Walk {
    /// Number of the set.
    pub(super) set: u32,
    /// [`crate::abi::ChunkKind`] as a number.
    pub(super) kind: u32,
    /// Where the first target is in the first chunk.
    pub(super) first: u32,
    pub(super) targets: u32,
    /// Endpoints as they count for the weight, and their ports likewise, as far as
    /// these are meant.
    pub(super) endpoints: u32,
    pub(super) candidates: u32,
    /// How many ports are meant.
    pub(super) matched: u32,
    /// How many of them have numbers.
    pub(super) numbered: u32,
    /// Which they are: a bit for each.
    pub(super) bits: u32,
    /// Whether all endpoints have one of them: 1 or 0.
    pub(super) everywhere: u32,
    /// Whether there is a port that some endpoints have and others not: 1 or 0.
    pub(super) differing: u32,
    /// Bytes of the ports in the first chunk.
    pub(super) ports_len: u32,
    pub(super) suffix_len: u32,
    /// Bytes of the label before it.
    pub(super) label_len: u32,
    /// The chunk that is loaded.
    pub(super) chunk: u32,
    /// Where in it the next target is.
    pub(super) at: u32,
    /// Which of the target's records is next.
    pub(super) record: u32,
    /// The number of the target's last SRV record, in the upper half 1 if there is
    /// one.
    pub(super) last: u32,
    /// Ports of which the target's label has had its record.
    pub(super) seen: u32,
    /// Targets that are left.
    pub(super) left: u32,
    /// TTL in seconds.
    pub(super) ttl: u32,
    pub(super) weight: u32,
    pub(super) limits: Limits,
    pub(super) written: Written,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(in crate::respond) struct Written {
    /// Offset of the next record in the image.
    pub(in crate::respond) end: u32,
    pub(in crate::respond) answers: u32,
    pub(in crate::respond) additionals: u32,
    /// Whether there would have been more: 1 or 0.
    pub(in crate::respond) truncated: u32,
}

/// A target in the chunk that is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) at: usize,
    /// A bit for each of its ports.
    pub(super) ports: u32,
    /// Whether it is the label before once more.
    pub(super) continues: bool,
    /// Whether the label is several in wire form, or, if it has no length, the target's
    /// address.
    pub(super) is_wire: bool,
    pub(super) label_len: usize,
    pub(super) ipv4: usize,
    pub(super) ipv6: usize,
}

impl Target {
    /// Whether its label is its IPv4 address.
    #[inline(always)]
    pub(super) const fn is_dashed(self) -> bool {
        self.is_wire && self.label_len == 0
    }

    /// Where its addresses are in the chunk.
    #[inline(always)]
    pub(super) const fn addresses_at(self) -> usize {
        self.at + TARGET_HEADER_LEN + self.label_len
    }
}

impl Walk {
    #[inline(always)]
    pub(super) fn key(&self) -> ChunkKey {
        ChunkKey {
            set: self.set,
            kind: self.kind as u16,
            index: self.chunk as u16,
        }
    }

    /// Goes to where the walk begins.
    #[inline(always)]
    pub(super) fn rewind(&mut self) {
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

    #[inline(always)]
    pub(super) fn next_chunk(&mut self) {
        // Where there is no such chunk, the details have changed.
        self.chunk += 1;
        self.at = 0;
    }

    /// The next target; `None` at the chunk's end.
    #[inline(always)]
    pub(super) fn target(&self, chunk: &AddressBytes) -> Option<Target> {
        let at = self.at as usize;
        let counts = usize::from(chunk.u8_at(at + 2));
        // Behind the chunk stands whatever stood there before.
        if at + TARGET_HEADER_LEN > CHUNK_BYTES || counts == 0 {
            return None;
        }
        Some(Target {
            at,
            ports: chunk.u16_at(at).into(),
            continues: chunk.u8_at(at + 3) & TARGET_CONTINUES != 0,
            is_wire: chunk.u8_at(at + 3) & TARGET_LABELS != 0,
            label_len: usize::from(chunk.u8_at(at + 3)) & 0x3f,
            ipv4: counts & 0xf,
            ipv6: counts >> 4,
        })
    }

    /// Goes on behind the target.
    #[inline(always)]
    pub(super) fn skip(&mut self, target: Target) {
        let len = TARGET_HEADER_LEN + target.label_len + target.ipv4 * 4 + target.ipv6 * 16;
        self.at += len as u32;
        (self.record, self.last) = (0, 0);
        self.left -= 1;
    }
}
