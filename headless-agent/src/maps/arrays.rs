//! The maps that are arrays of words: typed access to their elements.

use headless_ebpf::abi::{
    Chunk, Config, ENDPOINT_ENTRIES, EndpointBucket, EndpointEntry, REVERSE_SLOTS, ReverseBucket,
    ReverseSlot, TABLE_HINTS, TableBucket, TableHint, TableSlot, map,
};

use super::capacities::Capacities;
use super::words::Words;

const SLOT_WORDS: usize = size_of::<TableSlot>() / 8;
const CHUNK_WORDS: usize = size_of::<Chunk>() / 8;

/// The arrays.
#[derive(Debug)]
pub struct Arrays {
    table_slots: Words,
    table_buckets: Words,
    chunks: Words,
    endpoints: Words,
    reverse: Words,
}

impl Arrays {
    /// Arrays of these capacities, each made by `make` from the map's name and its
    /// number of words.
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

    /// Arrays on the heap, all zero.
    pub fn zeroed(capacities: &Capacities) -> Self {
        let made: Result<_, std::convert::Infallible> =
            Self::new(capacities, |_, words| Ok(Words::zeroed(words)));
        match made {
            Ok(arrays) => arrays,
        }
    }

    /// Tells the programs how many buckets the tables have.
    pub fn describe(&self, config: &mut Config) {
        config.table_buckets = self.table_buckets();
        config.endpoint_buckets = self.endpoint_buckets();
        config.reverse_buckets = self.reverse_buckets();
    }

    /// Number of slots of the table of short keys.
    pub fn table_slots(&self) -> u32 {
        (self.table_slots.len() / SLOT_WORDS) as u32
    }

    /// Number of buckets of the table of short keys.
    pub fn table_buckets(&self) -> u32 {
        (self.table_buckets.len() / TABLE_HINTS) as u32
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        (self.chunks.len() / CHUNK_WORDS) as u32
    }

    /// Number of buckets of endpoints.
    pub fn endpoint_buckets(&self) -> u32 {
        (self.endpoints.len() / ENDPOINT_ENTRIES) as u32
    }

    /// Number of buckets of addresses with reverse names.
    pub fn reverse_buckets(&self) -> u32 {
        (self.reverse.len() / REVERSE_SLOTS) as u32
    }

    /// A slot of the table of short keys.
    pub fn slot(&self, index: u32) -> TableSlot {
        bytemuck::cast(self.table_slots.element::<SLOT_WORDS>(index))
    }

    /// Replaces a slot, which readers may see half written.
    pub fn put_slot(&self, index: u32, slot: &TableSlot) {
        let words: [u64; SLOT_WORDS] = bytemuck::cast(*slot);
        self.table_slots.put(index as usize * SLOT_WORDS, &words);
    }

    /// A bucket of the table of short keys.
    pub fn hints(&self, bucket: u32) -> TableBucket {
        bytemuck::cast(self.table_buckets.element::<TABLE_HINTS>(bucket))
    }

    /// Replaces a hint after everything that was written before.
    pub fn put_hint(&self, bucket: u32, at: usize, hint: TableHint) {
        self.table_buckets
            .publish(bucket as usize * TABLE_HINTS + at, hint.0);
    }

    /// A chunk.
    pub fn chunk(&self, index: u32) -> Chunk {
        bytemuck::cast(self.chunks.element::<CHUNK_WORDS>(index))
    }

    /// Replaces a chunk, which readers may see half written.
    pub fn put_chunk(&self, index: u32, chunk: &Chunk) {
        let words: [u64; CHUNK_WORDS] = bytemuck::cast(*chunk);
        self.chunks.put(index as usize * CHUNK_WORDS, &words);
    }

    /// A bucket of endpoints.
    pub fn endpoints(&self, bucket: u32) -> EndpointBucket {
        bytemuck::cast(self.endpoints.element::<ENDPOINT_ENTRIES>(bucket))
    }

    /// Replaces an endpoint.
    pub fn put_endpoint(&self, bucket: u32, at: usize, entry: EndpointEntry) {
        self.endpoints
            .publish(bucket as usize * ENDPOINT_ENTRIES + at, entry.0);
    }

    /// A bucket of addresses with reverse names.
    pub fn reverse(&self, bucket: u32) -> ReverseBucket {
        bytemuck::cast(self.reverse.element::<REVERSE_SLOTS>(bucket))
    }

    /// Replaces a slot of an address after everything that was written before.
    pub fn put_reverse(&self, bucket: u32, at: usize, slot: ReverseSlot) {
        self.reverse
            .publish(bucket as usize * REVERSE_SLOTS + at, slot.0);
    }

    /// All words of an array, by the map's name: for digests.
    pub fn all_words(&self) -> impl Iterator<Item = (&'static str, Vec<u64>)> {
        self.by_name().into_iter().map(|(name, words)| {
            let words = (0..words.len()).map(|index| words.get(index)).collect();
            (name, words)
        })
    }

    /// Sets every word to zero: for tests that use the maps again.
    pub fn clear(&self) {
        for (_, words) in self.by_name() {
            (0..words.len()).for_each(|index| words.publish(index, 0));
        }
    }

    /// Copies every word of arrays of the same sizes: for tests.
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
