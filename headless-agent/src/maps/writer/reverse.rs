//! Hints for reverse names in `REVERSE`, see [`headless_ebpf::abi::ReverseSlot`].
//!
//! A hint leads from an address to the chunk with its Service's name. The programs believe a
//! name only if its record or its entry in `ENDPOINTS` holds the address. So no hint can
//! make an answer wrong. Userspace answers for an address without a hint.

use std::net::IpAddr;

use headless_ebpf::abi::{
    Address, CHUNK_BYTES, Chunk, ChunkId, REVERSE_SLOTS, ReversePlace, ReverseSlot,
};

use super::Writer;
use crate::maps::store::{MapKind, RecordSink, SinkError};
use crate::records::{Pointers, RelativeName};

/// Number of a slot among all slots of all buckets.
pub(in crate::maps) fn slot_number(bucket: u32, at: usize) -> usize {
    bucket as usize * REVERSE_SLOTS + at
}

/// The content of a name chunk: one byte length, then the relative name. `None` if the name
/// is too long for one chunk.
fn name_content(name: &RelativeName) -> Option<Vec<u8>> {
    let name = name.as_bytes();
    let content = [&[u8::try_from(name.len()).ok()?], name].concat();
    (content.len() <= CHUNK_BYTES).then_some(content)
}

impl<S: RecordSink> Writer<S> {
    /// Writes changed hints. An address that finds no free slot in its bucket gets none.
    pub fn point(&mut self, changes: &Pointers) {
        if self.sink.arrays().reverse_buckets() == 0 {
            return;
        }
        for (number, name) in &changes.services {
            if let Some(name) = name {
                self.put_name_chunk(*number, name);
            }
        }
        for (address, number) in &changes.addresses {
            let chunk = number.and_then(|number| self.name_chunks.get(number));
            self.put_pointer(*address, chunk);
        }
        for (number, name) in &changes.services {
            if name.is_none() {
                self.free_name_chunk(*number);
            }
        }
        self.publish_counts();
    }

    /// Writes the name chunk of a Service, unless it is there already. Returns whether a chunk
    /// with other content was replaced.
    pub(in crate::maps) fn put_name_chunk(&mut self, number: u32, name: &RelativeName) -> bool {
        let Some(content) = name_content(name) else {
            self.free_name_chunk(number);
            return false;
        };
        let leftover = self.name_chunks.take_leftover(name.as_bytes());
        let known = self.name_chunks.get(number);
        let index = match (known, leftover) {
            (Some(index), None) | (None, Some(index)) => index,
            (Some(index), Some(leftover)) => {
                self.sets.extents.free(leftover..leftover + 1);
                index
            }
            (None, None) => {
                let Some(extent) = self.sets.extents.take(1) else {
                    let map = MapKind::Chunks;
                    self.counts.failure(&SinkError::Full { map });
                    return false;
                };
                extent.start
            }
        };
        self.name_chunks.set(number, index);
        self.sets.extents.see(&(index..index + 1));
        let chunk = Chunk::new(&self.config.hash_key, ChunkId::name(index), &content);
        if self.sink.arrays().chunk(index) == chunk {
            return false;
        }
        self.sink.arrays().put_chunk(index, &chunk);
        self.counts.wrote(1);
        known.is_some() || leftover.is_some()
    }

    fn free_name_chunk(&mut self, number: u32) {
        if let Some(index) = self.name_chunks.get(number) {
            self.sets.extents.free(index..index + 1);
            self.name_chunks.set(number, 0);
        }
    }

    /// Sets the hint of an address to a name chunk, or clears it. Returns whether another hint
    /// was replaced.
    pub(in crate::maps) fn put_pointer(&mut self, address: IpAddr, chunk: Option<u32>) -> bool {
        let arrays = self.sink.arrays();
        let address = Address::from(address);
        let place = ReversePlace::of(&self.config.hash_key, address, arrays.reverse_buckets());
        let bucket = arrays.reverse(place.bucket);
        let own = bucket.iter().position(|slot| slot.is_of(place));
        let free = || bucket.iter().position(|slot| slot.is_empty());
        let Some(at) = own.or_else(|| chunk.and_then(|_| free())) else {
            return false;
        };
        let slot = chunk.map(|chunk| ReverseSlot::new(place, chunk));
        let slot = slot.unwrap_or_default();
        if bucket[at] != slot {
            arrays.put_reverse(place.bucket, at, slot);
            self.counts.wrote(1);
            match (own.is_some(), slot.is_empty()) {
                (false, false) => self.counts.add_entries(MapKind::Reverse, 1),
                (true, true) => self.counts.add_entries(MapKind::Reverse, -1),
                _ => {}
            }
        }
        if let Some(marks) = &mut self.marks {
            marks.reverse[slot_number(place.bucket, at)] = true;
        }
        own.is_some() && bucket[at] != slot
    }
}
