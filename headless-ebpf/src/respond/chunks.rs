//! Reading chunks.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{CHUNK_BYTES, ChunkId, ChunkKind, HashKey, NameRecord, PassReason},
    maps::Lookup,
    verifier,
    wire::ChunkBytes,
};

/// The chunks of one kind that belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Extent {
    /// [`ChunkId::set`].
    set: u32,
    /// [`ChunkKind`] as a number.
    kind: u32,
    /// Index of the first chunk in the map.
    first: u32,
}

impl Extent {
    /// The chunks of this kind that belong to a record.
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

    /// Copies chunk `index`, counted from 0, to `content` and proves that it is the one
    /// that is meant, whole.
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
        // The words are read again rather than kept, and hashed one by one: 14 of them
        // are a quarter of the stack.
        let (hash_key, content) = (verifier::again(hash_key), verifier::reread(content));
        let mut hash = id.begin(hash_key);
        for i in 0..CHUNK_BYTES / 8 {
            hash = ChunkId::content(hash, hash_key, i, content.u64_at(i * 8));
            verifier::in_order();
        }
        if hash.finish() == seal {
            Ok(())
        } else {
            // The set was replaced, and the chunk is another set's by now.
            Err(PassReason::Changed)
        }
    }
}
