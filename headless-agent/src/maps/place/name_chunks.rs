//! The name chunks: each holds the relative name of one Service. Hints of `REVERSE` lead to
//! them.

use std::collections::{BTreeSet, HashMap};

use headless_ebpf::abi::{ChunkId, HashKey, ReverseSlot};

use crate::maps::store::Arrays;

/// The index of each Service's name chunk in `CHUNKS`.
#[derive(Debug, Default)]
pub(in crate::maps) struct NameChunks {
    /// By the Service's number in [`crate::records::Pointers`], which is not the number in the
    /// Service's record. 0 stands for no chunk. A new Service may get the number of a deleted
    /// one, so the list never has more elements than the index has had Services at once.
    by_number: Vec<u32>,
    /// Name chunks that another agent has written, by the relative name in wire form. The
    /// numbers of that agent's Services are unknown.
    leftovers: HashMap<Box<[u8]>, u32>,
}

impl NameChunks {
    /// Finds the name chunks to which the hints of `arrays` lead.
    pub(in crate::maps) fn open(arrays: &Arrays, hash_key: &HashKey) -> Self {
        let buckets = 0..arrays.reverse_buckets();
        let slots = buckets.flat_map(|bucket| arrays.reverse(bucket));
        let chunks = slots
            .filter(|slot| !slot.is_empty())
            .map(ReverseSlot::chunk);
        // The hints of all addresses of a Service lead to the same chunk.
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

    /// Name chunks of another agent whose Service is not known yet.
    pub(in crate::maps) fn leftovers(&self) -> impl Iterator<Item = u32> {
        self.leftovers.values().copied()
    }

    /// Takes the name chunk that another agent has written for the Service with this relative
    /// name.
    pub(in crate::maps) fn take_leftover(&mut self, name: &[u8]) -> Option<u32> {
        self.leftovers.remove(name)
    }

    /// Forgets the name chunks of another agent whose Services do not exist any more.
    pub(in crate::maps) fn forget_leftovers(&mut self) {
        self.leftovers = HashMap::new();
    }

    /// The name chunks of all Services.
    pub(in crate::maps) fn all(&self) -> impl Iterator<Item = u32> {
        let chunks = self.by_number.iter().copied();
        chunks.filter(|chunk| *chunk != 0)
    }

    /// The name chunk of a Service.
    pub(in crate::maps) fn get(&self, number: u32) -> Option<u32> {
        let chunk = self.by_number.get(number as usize).copied();
        chunk.filter(|chunk| *chunk != 0)
    }

    /// Sets the name chunk of a Service. 0 stands for none.
    pub(in crate::maps) fn set(&mut self, number: u32, chunk: u32) {
        let number = number as usize;
        if number >= self.by_number.len() {
            self.by_number.resize(number + 1, 0);
        }
        self.by_number[number] = chunk;
    }
}
