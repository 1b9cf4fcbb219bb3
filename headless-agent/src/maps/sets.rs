//! The chunks of names: which are free, and what is written to them.

use headless_ebpf::abi::{HashKey, NameRecord};

use super::arrays::Arrays;
use super::encode::{Encoded, Place};
use super::extents::{Extent, Extents};
use super::key::MapKey;
use super::read;

/// The free chunks, and the version of the next set.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) extents: Extents,
    next: u32,
}

impl Sets {
    /// All chunks but these extents are free. Sets begin with version `next`. Returns
    /// the extents that overlap others, too.
    pub(super) fn new(arrays: &Arrays, mut used: Vec<Extent>, next: u32) -> (Self, Vec<Extent>) {
        // The chunk at index 0 is never used.
        used.push(0..1.min(arrays.chunks()));
        let (extents, wrong) = Extents::new(arrays.chunks(), used);
        (Self { extents, next }, wrong)
    }

    /// Number of chunks in use.
    pub(super) fn used(&self) -> u64 {
        u64::from(self.extents.used().saturating_sub(1))
    }

    /// Writes the chunks of a name to a free extent under a version of their own. `None`
    /// where there is no room.
    pub(super) fn put(
        &mut self,
        arrays: &Arrays,
        hash_key: &HashKey,
        encoded: &Encoded,
    ) -> Option<Place> {
        if encoded.is_empty() {
            return Some(Place::default());
        }
        let extent = self.extents.take(encoded.len())?;
        let set = self.next;
        self.next = following(set);
        for (index, chunk) in extent.clone().zip(encoded.chunks(hash_key, set)) {
            arrays.put_chunk(index, &chunk);
        }
        Some(Place {
            service: 0,
            extent: extent.start,
            set,
        })
    }

    /// Frees the chunks of a record that is no longer stored.
    pub(super) fn free(
        &mut self,
        arrays: &Arrays,
        hash_key: &HashKey,
        key: &MapKey,
        record: &NameRecord,
    ) {
        if let Some(extent) = read::extent(arrays, hash_key, key, record) {
            self.extents.free(extent);
        }
    }
}

/// The number after this one: all 32 bits but zero.
pub(super) const fn following(number: u32) -> u32 {
    if number == u32::MAX { 1 } else { number + 1 }
}
