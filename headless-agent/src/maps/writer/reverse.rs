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
use crate::maps::budget::{Holder, Level, Room};
use crate::maps::store::{MapKind, RecordSink, SinkError};
use crate::records::{Index, Part, Pointed, Pointers, RelativeName};

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
    /// Writes changed hints. An address that finds no free slot in its bucket gets none, and
    /// neither does an address of a Service that yields. `index` as in [`Self::write`].
    pub fn point(&mut self, changes: &Pointers, index: &Index) {
        if self.sink.arrays().reverse_buckets() == 0 {
            return;
        }
        let mut retired = Vec::new();
        for (number, name) in &changes.services {
            let Some(name) = name else { continue };
            retired.extend(self.retire_name_chunk(*number, name));
            if self.may_point(name) {
                let owner = self.known_service(name.as_bytes()).ok().flatten();
                self.put_name_chunk(*number, name, owner);
            }
        }
        for (address, number) in &changes.addresses {
            let chunk = number.and_then(|number| self.name_chunks.get(number));
            let owner = chunk.and_then(|chunk| self.owner_of_chunk(chunk));
            self.put_pointer(*address, chunk, owner);
        }
        for (number, name) in &changes.services {
            if name.is_none() {
                self.free_name_chunk(*number);
            }
        }
        for chunk in retired {
            self.sets.extents.free(chunk..chunk + 1);
        }
        self.keep_room_of(Room::Chunks, index);
        self.keep_room_of(Room::Reverse, index);
        self.publish_counts();
    }

    /// Takes the name chunk of a deleted Service whose number another Service has now. Hints may
    /// still lead to the chunk, so the chunk stays until these hints are replaced.
    fn retire_name_chunk(&mut self, number: u32, name: &RelativeName) -> Option<u32> {
        let chunk = self.name_chunks.get(number)?;
        let is_other = self.name_in_chunk(chunk)? != name.as_bytes();
        is_other.then(|| {
            self.name_chunks.set(number, 0);
            chunk
        })
    }

    /// Whether hints may lead to the Service with this name. They may not if it yields or has no
    /// record, which is the proof of a hint.
    fn may_point(&self, name: &RelativeName) -> bool {
        let number = self.known_service(name.as_bytes()).ok().flatten();
        number.is_some_and(|number| self.budget.level(number) == Level::Whole)
    }

    /// Writes the hints that lead to a new Service. Its addresses may have been known before.
    pub(super) fn point_new(&mut self, wire: &[u8], number: u32, index: &Index) {
        let pointed = index
            .number_of(wire)
            .and_then(|place| index.pointed_of(place));
        let Some(pointed) = pointed.filter(|_| self.sink.arrays().reverse_buckets() > 0) else {
            return;
        };
        self.put_name_chunk(pointed.number, &pointed.name, Some(number));
        let chunk = self.name_chunks.get(pointed.number);
        for address in &pointed.addresses {
            self.put_pointer(*address, chunk, Some(number));
        }
    }

    /// Deletes the hints that lead to a Service that does not exist any more, although its
    /// slices do. Hints that lead to no record prove nothing and would belong to nobody.
    pub(super) fn unpoint_deleted(&mut self, wire: &[u8], index: &Index) -> Result<(), SinkError> {
        let held = self.known_service(wire)?;
        let held = held.and_then(|number| self.budget.held(number));
        let part = held.and_then(|held| index.part_of(held.index_number));
        let is_it = |pointed: &Pointed| pointed.name.as_bytes() == wire;
        if let Some(part) = part.filter(|part| part.pointed.as_ref().is_some_and(is_it)) {
            self.unpoint(&part);
        }
        Ok(())
    }

    /// Deletes the hints that lead to a Service, and its name chunk.
    pub(super) fn unpoint(&mut self, part: &Part) {
        let Some(pointed) = &part.pointed else { return };
        if self.sink.arrays().reverse_buckets() == 0 {
            return;
        }
        for address in &pointed.addresses {
            self.put_pointer(*address, None, None);
        }
        self.free_name_chunk(pointed.number);
    }

    /// Writes the name chunk of a Service, unless it is there already. `owner` is the number in
    /// the Service's record. Returns whether a chunk with other content was replaced.
    pub(in crate::maps) fn put_name_chunk(
        &mut self,
        number: u32,
        name: &RelativeName,
        owner: Option<u32>,
    ) -> bool {
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
                if let Some(owner) = owner {
                    self.budget.add(Holder::Service(owner), Room::Chunks, 1);
                }
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
            self.hold_hint(index, Room::Chunks, -1);
            self.sets.extents.free(index..index + 1);
            self.name_chunks.set(number, 0);
        }
    }

    /// Sets the hint of an address to a name chunk, or clears it. `owner` is the number in the
    /// record of the chunk's Service. Returns whether another hint was replaced.
    pub(in crate::maps) fn put_pointer(
        &mut self,
        address: IpAddr,
        chunk: Option<u32>,
        owner: Option<u32>,
    ) -> bool {
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
            if own.is_some() {
                self.hold_hint(bucket[at].chunk(), Room::Reverse, -1);
            }
            if let Some(owner) = owner.filter(|_| !slot.is_empty()) {
                self.budget.add(Holder::Service(owner), Room::Reverse, 1);
            }
        }
        if let Some(marks) = &mut self.marks {
            marks.reverse[slot_number(place.bucket, at)] = true;
        }
        own.is_some() && bucket[at] != slot
    }
}
