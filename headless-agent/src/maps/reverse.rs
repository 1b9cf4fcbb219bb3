//! The table of addresses with reverse names, see
//! [`headless_ebpf::abi::ReverseSlot`].
//!
//! Nothing here can make an answer wrong: the programs take an address's slot for a
//! hint and prove it by the name's record. Addresses that are not in the table are left
//! to userspace.

use std::net::IpAddr;

use headless_ebpf::abi::{
    Address, CHUNK_BYTES, Chunk, ChunkId, REVERSE_SLOTS, ReversePlace, ReverseSlot,
};

use super::kind::{MapKind, SinkError};
use super::marks::Drift;
use super::sink::RecordSink;
use super::writer::Writer;
use crate::records::{Pointed, Pointers, RelativeName};

/// Number of a slot among all slots of all buckets.
fn slot_number(bucket: u32, at: usize) -> usize {
    bucket as usize * REVERSE_SLOTS + at
}

/// The content of the chunk of a Service's name; `None` where the name is too long for
/// one.
fn name_content(name: &RelativeName) -> Option<Vec<u8>> {
    let name = name.as_bytes();
    let content = [&[u8::try_from(name.len()).ok()?], name].concat();
    (content.len() <= CHUNK_BYTES).then_some(content)
}

impl<S: RecordSink> Writer<S> {
    /// Brings the table up to date. An address that finds no room is left to userspace.
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

    /// Writes the chunk of a Service's name, where it is not there already. Whether
    /// another one was there.
    fn put_name_chunk(&mut self, number: u32, name: &RelativeName) -> bool {
        let Some(content) = name_content(name) else {
            self.free_name_chunk(number);
            return false;
        };
        let leftover = self.name_chunks.leftovers.remove(name.as_bytes());
        let index = match (self.name_chunks.get(number), leftover) {
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
        let is_new = self.name_chunks.get(number).is_none() && leftover.is_none();
        self.name_chunks.set(number, index);
        self.sets.extents.see(&(index..index + 1));
        let chunk = Chunk::new(&self.config.hash_key, ChunkId::name(index), &content);
        if self.sink.arrays().chunk(index) == chunk {
            return false;
        }
        self.sink.arrays().put_chunk(index, &chunk);
        self.counts.wrote(1);
        !is_new
    }

    fn free_name_chunk(&mut self, number: u32) {
        if let Some(index) = self.name_chunks.get(number) {
            self.sets.extents.free(index..index + 1);
            self.name_chunks.set(number, 0);
        }
    }

    /// Lets an address lead to the name in a chunk, or nowhere. Whether it led
    /// elsewhere before.
    fn put_pointer(&mut self, address: IpAddr, chunk: Option<u32>) -> bool {
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

    /// Compares what leads to one Service with the table.
    pub(super) fn check_pointed(&mut self, pointed: &Pointed, drift: &mut Drift) {
        if self.sink.arrays().reverse_buckets() == 0 {
            return;
        }
        let Pointed {
            number,
            name,
            addresses,
        } = pointed;
        // A name or an address that is missing may have had no room before.
        drift.differing += u64::from(self.put_name_chunk(*number, name));
        let chunk = self.name_chunks.get(*number);
        for address in addresses {
            drift.differing += u64::from(self.put_pointer(*address, chunk));
        }
    }

    /// Empties the slots of a bucket that no address of the index has. Returns how many
    /// these are.
    pub(super) fn sweep_reverse(&mut self, bucket: u32) -> u64 {
        let Some(marks) = &self.marks else { return 0 };
        let mut stale = 0;
        for (at, slot) in self.sink.arrays().reverse(bucket).into_iter().enumerate() {
            if !slot.is_empty() && !marks.reverse[slot_number(bucket, at)] {
                let empty = ReverseSlot::default();
                self.sink.arrays().put_reverse(bucket, at, empty);
                self.counts.add_entries(MapKind::Reverse, -1);
                stale += 1;
            }
        }
        stale
    }
}
