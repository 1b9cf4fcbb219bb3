//! The sets of names: their chunks are written to a free extent, under a version of their
//! own, and later freed.

use headless_ebpf::abi::{HashKey, NameRecord};

use super::extents::{Extent, Extents};
use super::record;
use crate::maps::encode::{Encoded, MapKey, Place};
use crate::maps::store::Arrays;

/// The free chunks, and the version of the next set.
#[derive(Debug)]
pub(in crate::maps) struct Sets {
    pub(in crate::maps) extents: Extents,
    next: u32,
    /// Number of chunks of the last set that found no extent.
    refused: u32,
}

impl Sets {
    /// Sets in the chunks of `arrays`, of which the extents `used` are in use. The next set
    /// gets version `next`. Returns the extents that overlap others, too.
    pub(in crate::maps) fn new(
        arrays: &Arrays,
        mut used: Vec<Extent>,
        next: u32,
    ) -> (Self, Vec<Extent>) {
        // The chunk at index 0 is never used.
        used.push(0..1.min(arrays.chunks()));
        let (extents, wrong) = Extents::new(arrays.chunks(), used);
        let sets = Self {
            extents,
            next,
            refused: 0,
        };
        (sets, wrong)
    }

    /// Number of chunks in use, without the chunk at index 0.
    pub(in crate::maps) fn used(&self) -> u64 {
        u64::from(self.extents.used().saturating_sub(1))
    }

    /// Number of chunks of the last set that found no extent.
    pub(in crate::maps) fn refused(&self) -> u32 {
        self.refused
    }

    /// Writes the chunks of a name to a free extent as a new set. Returns extent and set.
    /// `None` if no free extent is long enough.
    pub(in crate::maps) fn put(
        &mut self,
        arrays: &Arrays,
        hash_key: &HashKey,
        encoded: &Encoded,
    ) -> Option<Place> {
        if encoded.is_empty() {
            return Some(Place::default());
        }
        let Some(extent) = self.extents.take(encoded.len()) else {
            self.refused = encoded.len();
            return None;
        };
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

    /// Frees the chunks of a record that no map holds any more. Returns their number.
    pub(in crate::maps) fn free(
        &mut self,
        arrays: &Arrays,
        hash_key: &HashKey,
        key: &MapKey,
        record: &NameRecord,
    ) -> u32 {
        let extent = record::extent(arrays, hash_key, key, record).unwrap_or_default();
        let len = extent.end - extent.start;
        self.extents.free(extent);
        len
    }
}

/// The number after `number`. 0 stands for no set and no Service, so it is left out.
pub(in crate::maps) const fn following(number: u32) -> u32 {
    if number == u32::MAX { 1 } else { number + 1 }
}
