//! Reads chunks and checks their seals. Chunks hold addresses that do not fit into a name
//! record, details of Services, and names for [`super::ptr`].

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{CHUNK_BYTES, ChunkId, ChunkKind, HashKey, NameRecord, PassReason},
    maps::Lookup,
    verifier,
    wire::ChunkBytes,
};

/// The consecutive chunks of one set and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Extent {
    /// [`ChunkId::set`].
    set: u32,
    /// [`ChunkKind`] as a number.
    kind: u32,
    /// Index of the first of these chunks in [`crate::abi::map::CHUNKS`].
    first: u32,
}

impl Extent {
    /// The chunks of this kind that a record names.
    #[inline(always)]
    pub(super) const fn of(record: &NameRecord, kind: ChunkKind) -> Self {
        Self {
            set: record.set,
            kind: kind as u32,
            first: record.extent.wrapping_add(record.chunks_before(kind)),
        }
    }

    /// The name chunk at this index.
    #[inline(always)]
    pub(super) const fn name(index: u32) -> Self {
        Self {
            set: index,
            kind: ChunkKind::Name as u32,
            first: index,
        }
    }

    /// Copies the chunk number `index` of the extent, counted from 0, to `content`, and checks
    /// its seal. [`PassReason::Changed`] where the seal does not fit.
    #[inline(always)]
    pub(super) fn load<L: Lookup>(
        self,
        index: u32,
        hash_key: &HashKey,
        content: &mut ChunkBytes,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let id = ChunkId {
            set: self.set,
            kind: self.kind as u16,
            index: index as u16,
        };
        let Some(seal) = lookup.chunk(self.first.wrapping_add(index), content) else {
            return Err(PassReason::Changed);
        };
        // The words are read again and hashed one by one. The compiler would otherwise keep all
        // 14 words on the stack, a quarter of it.
        let (hash_key, content) = (verifier::reload(hash_key), verifier::reread(content));
        let mut hash = id.begin(hash_key);
        for i in 0..CHUNK_BYTES / 8 {
            hash = ChunkId::content(hash, hash_key, i, content.u64_at(i * 8));
            verifier::compiler_barrier();
        }
        if hash.finish() == seal {
            Ok(())
        } else {
            // The set was replaced, and the chunk belongs to another set by now.
            Err(PassReason::Changed)
        }
    }
}
