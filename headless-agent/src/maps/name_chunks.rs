//! The chunks with Services' names, to which addresses lead.

use std::collections::{BTreeSet, HashMap};

use headless_ebpf::abi::{ChunkId, HashKey, ReverseSlot};

use super::arrays::Arrays;

/// The chunks with Services' names.
#[derive(Debug, Default)]
pub(super) struct NameChunks {
    /// The chunk of a Service's name by the Service's number in [`crate::records::Pointers`]; 0 for
    /// none.
    by_number: Vec<u32>,
    /// Chunks that another agent has written, by the name in wire form: the numbers of
    /// its index are unknown.
    pub(super) leftovers: HashMap<Box<[u8]>, u32>,
}

impl NameChunks {
    /// The chunks that the slots of the table lead to.
    pub(super) fn open(arrays: &Arrays, hash_key: &HashKey) -> Self {
        let buckets = 0..arrays.reverse_buckets();
        let slots = buckets.flat_map(|bucket| arrays.reverse(bucket));
        let chunks = slots
            .filter(|slot| !slot.is_empty())
            .map(ReverseSlot::chunk);
        // Many addresses lead to one chunk.
        let chunks: BTreeSet<u32> = chunks.collect();
        let leftover = |index: u32| {
            let chunk = arrays.chunk(index);
            let bytes: Vec<u8> = chunk
                .words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect();
            let name = bytes.get(1..1 + usize::from(*bytes.first()?))?;
            (index != 0 && chunk.is(hash_key, ChunkId::name(index))).then(|| (name.into(), index))
        };
        Self {
            by_number: Vec::new(),
            leftovers: chunks.into_iter().filter_map(leftover).collect(),
        }
    }

    /// The chunks of which no Service is known yet.
    pub(super) fn leftovers(&self) -> impl Iterator<Item = u32> {
        self.leftovers.values().copied()
    }

    pub(super) fn forget_leftovers(&mut self) {
        self.leftovers = HashMap::new();
    }

    /// All chunks with a Service's name.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        let chunks = self.by_number.iter().copied();
        chunks.filter(|chunk| *chunk != 0)
    }

    pub(super) fn get(&self, number: u32) -> Option<u32> {
        let chunk = self.by_number.get(number as usize).copied();
        chunk.filter(|chunk| *chunk != 0)
    }

    pub(super) fn set(&mut self, number: u32, chunk: u32) {
        let number = number as usize;
        if number >= self.by_number.len() {
            self.by_number.resize(number + 1, 0);
        }
        self.by_number[number] = chunk;
    }
}
