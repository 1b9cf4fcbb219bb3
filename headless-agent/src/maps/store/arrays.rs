//! The array maps that the agent writes by plain stores: typed access to their elements.
//!
//! A read behind the end returns zeros, and a write behind the end does nothing, as
//! [`Words`] defines. So a wrong index in a hint or a record that somebody else wrote
//! cannot make the agent panic.

use headless_ebpf::abi::{
    Chunk, Config, ENDPOINT_ENTRIES, EndpointBucket, EndpointEntry, REVERSE_SLOTS, ReverseBucket,
    ReverseSlot, TABLE_HINTS, TableBucket, TableHint, TableSlot, map,
};

use super::capacities::Capacities;
use super::words::Words;

const SLOT_WORDS: usize = size_of::<TableSlot>() / 8;
const CHUNK_WORDS: usize = size_of::<Chunk>() / 8;

/// The array maps.
#[derive(Debug)]
pub struct Arrays {
    table_slots: Words,
    table_buckets: Words,
    chunks: Words,
    endpoints: Words,
    reverse: Words,
}

impl Arrays {
    /// Makes arrays of these capacities. `make` makes one array, from the map's name and
    /// its number of words.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn new<E>(
        capacities: &Capacities,
        make: impl Fn(&'static str, usize) -> Result<Words, E>,
    ) -> Result<Self, E> {
        let words = |elements: u32, each: usize| elements as usize * each;
        Ok(Self {
            table_slots: make(map::TABLE_SLOTS, words(capacities.table_slots, SLOT_WORDS))?,
            table_buckets: make(
                map::TABLE_BUCKETS,
                words(capacities.table_buckets(), TABLE_HINTS),
            )?,
            chunks: make(map::CHUNKS, words(capacities.chunks, CHUNK_WORDS))?,
            endpoints: make(
                map::ENDPOINTS,
                words(capacities.endpoint_buckets, ENDPOINT_ENTRIES),
            )?,
            reverse: make(
                map::REVERSE,
                words(capacities.reverse_buckets, REVERSE_SLOTS),
            )?,
        })
    }

    /// Makes arrays of zeros on the heap.
    pub fn zeroed(capacities: &Capacities) -> Self {
        let made: Result<_, std::convert::Infallible> =
            Self::new(capacities, |_, words| Ok(Words::zeroed(words)));
        match made {
            Ok(arrays) => arrays,
        }
    }

    /// Writes the arrays' numbers of buckets to `config`, where the programs read them.
    pub fn describe(&self, config: &mut Config) {
        config.table_buckets = self.table_buckets();
        config.endpoint_buckets = self.endpoint_buckets();
        config.reverse_buckets = self.reverse_buckets();
    }

    /// Number of slots of the table.
    pub fn table_slots(&self) -> u32 {
        (self.table_slots.len() / SLOT_WORDS) as u32
    }

    /// Number of buckets of the table.
    pub fn table_buckets(&self) -> u32 {
        (self.table_buckets.len() / TABLE_HINTS) as u32
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        (self.chunks.len() / CHUNK_WORDS) as u32
    }

    /// Number of buckets of regular endpoints.
    pub fn endpoint_buckets(&self) -> u32 {
        (self.endpoints.len() / ENDPOINT_ENTRIES) as u32
    }

    /// Number of buckets of hints for reverse names.
    pub fn reverse_buckets(&self) -> u32 {
        (self.reverse.len() / REVERSE_SLOTS) as u32
    }

    /// The slot at `index` of the table.
    pub fn slot(&self, index: u32) -> TableSlot {
        bytemuck::cast(self.table_slots.element::<SLOT_WORDS>(index))
    }

    /// Replaces a slot. Readers may see a part of the new slot and a part of the old one,
    /// and notice by the seal.
    pub fn put_slot(&self, index: u32, slot: &TableSlot) {
        let words: [u64; SLOT_WORDS] = bytemuck::cast(*slot);
        self.table_slots.put(index as usize * SLOT_WORDS, &words);
    }

    /// The hints of a bucket of the table.
    pub fn hints(&self, bucket: u32) -> TableBucket {
        bytemuck::cast(self.table_buckets.element::<TABLE_HINTS>(bucket))
    }

    /// Replaces hint `at` of a bucket. A reader that sees the hint sees all earlier writes.
    pub fn put_hint(&self, bucket: u32, at: usize, hint: TableHint) {
        self.table_buckets
            .publish(bucket as usize * TABLE_HINTS + at, hint.0);
    }

    /// The chunk at `index`.
    pub fn chunk(&self, index: u32) -> Chunk {
        bytemuck::cast(self.chunks.element::<CHUNK_WORDS>(index))
    }

    /// Replaces a chunk. Readers may see a part of the new chunk and a part of the old one,
    /// and notice by the seal.
    pub fn put_chunk(&self, index: u32, chunk: &Chunk) {
        let words: [u64; CHUNK_WORDS] = bytemuck::cast(*chunk);
        self.chunks.put(index as usize * CHUNK_WORDS, &words);
    }

    /// The entries of a bucket of regular endpoints.
    pub fn endpoints(&self, bucket: u32) -> EndpointBucket {
        bytemuck::cast(self.endpoints.element::<ENDPOINT_ENTRIES>(bucket))
    }

    /// Replaces entry `at` of a bucket of regular endpoints.
    pub fn put_endpoint(&self, bucket: u32, at: usize, entry: EndpointEntry) {
        self.endpoints
            .publish(bucket as usize * ENDPOINT_ENTRIES + at, entry.0);
    }

    /// The slots of a bucket of `REVERSE`.
    pub fn reverse(&self, bucket: u32) -> ReverseBucket {
        bytemuck::cast(self.reverse.element::<REVERSE_SLOTS>(bucket))
    }

    /// Replaces slot `at` of a bucket of `REVERSE`. A reader that sees the slot sees all
    /// earlier writes.
    pub fn put_reverse(&self, bucket: u32, at: usize, slot: ReverseSlot) {
        self.reverse
            .publish(bucket as usize * REVERSE_SLOTS + at, slot.0);
    }

    /// All words of each array, by the map's name. The digest of the layout reads them.
    #[cfg(test)]
    pub fn all_words(&self) -> impl Iterator<Item = (&'static str, Vec<u64>)> {
        self.by_name().into_iter().map(|(name, words)| {
            let words = (0..words.len()).map(|index| words.get(index)).collect();
            (name, words)
        })
    }

    /// Sets every word to zero. Tests use loaded maps more than once.
    pub fn clear(&self) {
        for (_, words) in self.by_name() {
            (0..words.len()).for_each(|index| words.publish(index, 0));
        }
    }

    /// Copies every word of `other`, which has the same capacities. Tests fill the
    /// kernel's maps with it.
    pub fn copy_from(&self, other: &Self) {
        for ((_, to), (_, from)) in self.by_name().into_iter().zip(other.by_name()) {
            (0..to.len()).for_each(|index| to.publish(index, from.get(index)));
        }
    }

    fn by_name(&self) -> [(&'static str, &Words); 5] {
        [
            (map::TABLE_SLOTS, &self.table_slots),
            (map::TABLE_BUCKETS, &self.table_buckets),
            (map::CHUNKS, &self.chunks),
            (map::ENDPOINTS, &self.endpoints),
            (map::REVERSE, &self.reverse),
        ]
    }
}
