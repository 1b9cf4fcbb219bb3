//! The free elements of `CHUNKS`: a buddy allocator of extents (Knuth, The Art of Computer
//! Programming, volume 1, section 2.5).
//!
//! Free elements are kept as blocks. A block's length is a power of two, and its start is a
//! multiple of the length. So the two halves of a block become one block again in a few
//! steps. An extent may have any length: the rest of its block stays free. An extent that
//! fits into no block, because it is long or the array small, is cut out of several blocks
//! that follow each other.

use std::collections::BTreeSet;
use std::ops::Range;

/// Consecutive elements, by their indices.
pub(in crate::maps) type Extent = Range<u32>;

/// The free elements of an array, and how many are in use.
#[derive(Debug)]
pub(in crate::maps) struct Extents {
    capacity: u32,
    /// Starts of the free blocks of `2^i` elements, by `i`.
    free: Vec<BTreeSet<u32>>,
    used: u32,
    /// During a full pass: the elements that a record or a name chunk is known to use.
    seen: Option<Vec<bool>>,
}

impl Extents {
    /// An array of `capacity` elements, of which the extents `used` are in use. `used` is in
    /// any order.
    ///
    /// Returns the extents that overlap another one or leave the array, too. The records
    /// that name them are damaged.
    pub(super) fn new(capacity: u32, mut used: Vec<Extent>) -> (Self, Vec<Extent>) {
        let mut extents = Self {
            capacity,
            free: vec![BTreeSet::new(); u32::BITS as usize],
            used: capacity,
            seen: None,
        };
        used.sort_unstable_by_key(|extent| extent.start);
        let mut wrong = Vec::new();
        let mut end = 0;
        for extent in used {
            if extent.start < end || extent.end > capacity || extent.end < extent.start {
                wrong.push(extent);
                continue;
            }
            extents.free(end..extent.start);
            end = extent.end;
        }
        extents.free(end..capacity);
        (extents, wrong)
    }

    /// Number of elements in use.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Takes `len` consecutive elements. `None` if no `len` free elements follow each other.
    ///
    /// The cost grows with the logarithm of the capacity if one block is long enough, else
    /// with the number of free blocks.
    pub(in crate::maps) fn take(&mut self, len: u32) -> Option<Extent> {
        let extent = self.take_block(len).or_else(|| self.take_blocks(len))?;
        self.see(&extent);
        Some(extent)
    }

    /// Takes elements from the smallest block that is long enough.
    fn take_block(&mut self, len: u32) -> Option<Extent> {
        let order = len.checked_next_power_of_two()?.trailing_zeros() as usize;
        let found = (order..self.free.len()).find(|order| !self.free[*order].is_empty())?;
        let start = self.free[found].pop_first()?;
        self.used += 1 << found;
        self.free(start + len..start + (1 << found));
        Some(start..start + len)
    }

    /// Takes elements from the shortest run of adjacent blocks that is long enough.
    fn take_blocks(&mut self, len: u32) -> Option<Extent> {
        if self.capacity - self.used < len {
            return None;
        }
        let blocks = self.free_blocks();
        let runs = blocks.chunk_by(|a, b| a.end == b.start);
        let runs = runs.filter_map(|run| Some((run, run.last()?.end - run.first()?.start)));
        let (run, _) = runs
            .filter(|(_, elements)| *elements >= len)
            .min_by_key(|(_, elements)| *elements)?;
        let start = run.first()?.start;
        let end = start + len;
        for block in run.iter().take_while(|block| block.start < end) {
            let order = (block.end - block.start).ilog2();
            self.free[order as usize].remove(&block.start);
            self.used += 1 << order;
            // The rest of the last block.
            self.free(end.max(block.start)..block.end.max(end));
        }
        Some(start..end)
    }

    /// Frees an extent. An extent with a free element stays as it is: an old record that
    /// somebody has written back may name elements that were freed long ago.
    pub(in crate::maps) fn free(&mut self, extent: Extent) {
        if !self.is_used(&extent) {
            return;
        }
        let Range { mut start, end } = extent;
        while start < end {
            let aligned = start.trailing_zeros().min(u32::BITS - 1);
            let order = aligned.min((end - start).ilog2());
            self.free_block(start, order as usize);
            self.used -= 1 << order;
            start += 1 << order;
        }
    }

    fn free_block(&mut self, mut start: u32, mut order: usize) {
        // Joins the block with its buddy as long as the buddy is free, too.
        while self.free[order].remove(&(start ^ 1 << order)) {
            start &= !(1 << order);
            order += 1;
        }
        let is_new = self.free[order].insert(start);
        debug_assert!(is_new, "{start} is free already");
    }

    /// Whether all elements of an extent are in use. An empty extent may count as free.
    fn is_used(&self, extent: &Extent) -> bool {
        let overlaps = |(order, starts): (u32, &BTreeSet<u32>)| {
            let first = (extent.start >> order) << order;
            starts.range(first..extent.end.max(first)).next().is_some()
        };
        extent.end <= self.capacity && !(0..).zip(&self.free).any(overlaps)
    }

    /// The free blocks in the order of the array.
    fn free_blocks(&self) -> Vec<Extent> {
        let blocks = (0..).zip(&self.free).flat_map(|(order, starts)| {
            starts.iter().map(move |start| *start..start + (1 << order))
        });
        let mut blocks: Vec<Extent> = blocks.collect();
        blocks.sort_unstable_by_key(|block| block.start);
        blocks
    }

    /// Begins a full pass: from now on [`Self::see`] and [`Self::take`] note used elements.
    pub(in crate::maps) fn begin_pass(&mut self) {
        self.seen = Some(vec![false; self.capacity as usize]);
    }

    /// Notes that a record or a name chunk uses these elements.
    pub(in crate::maps) fn see(&mut self, extent: &Extent) {
        let Some(seen) = &mut self.seen else { return };
        if let Some(elements) = seen.get_mut(extent.start as usize..extent.end as usize) {
            elements.fill(true);
        }
    }

    /// Ends a full pass: frees elements that count as used and that nobody was seen to use
    /// since [`Self::begin_pass`]. Returns the number of freed runs of elements.
    pub(in crate::maps) fn end_pass(&mut self) -> u64 {
        let Some(mut seen) = self.seen.take() else {
            return 0;
        };
        for block in self.free_blocks() {
            seen[block.start as usize..block.end as usize].fill(true);
        }
        let mut lost = 0;
        let mut start = 0;
        for run in seen.chunk_by(|a, b| a == b) {
            let end = start + run.len() as u32;
            if run.first() == Some(&false) {
                self.free(start..end);
                lost += 1;
            }
            start = end;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn empty(capacity: u32) -> Extents {
        let (extents, wrong) = Extents::new(capacity, Vec::new());
        assert_eq!(wrong, []);
        extents
    }

    #[test]
    fn every_element_can_be_used() {
        for capacity in [1, 2, 3, 7, 64, 1000] {
            let mut extents = empty(capacity);
            let taken: Vec<Extent> = (0..capacity).map(|_| extents.take(1).unwrap()).collect();
            assert_eq!((extents.take(1), extents.used()), (None, capacity));
            for extent in taken {
                extents.free(extent);
            }
            // The halves are joined again: the largest block of the capacity is free.
            let largest = 1 << capacity.ilog2();
            assert_eq!(extents.take(largest).unwrap().len(), largest as usize);
        }
    }

    #[test]
    fn an_extent_takes_no_more_than_it_needs() {
        let mut extents = empty(64);
        let first = extents.take(33).unwrap();
        assert_eq!((first.clone(), extents.used()), (0..33, 33));
        assert_eq!(extents.take(16).unwrap(), 48..64);
        assert_eq!(extents.take(8).unwrap(), 40..48);
    }

    #[test]
    fn a_long_extent_is_cut_out_of_adjacent_blocks() {
        let mut extents = empty(64);
        assert_eq!(extents.take(33).unwrap(), 0..33);
        assert_eq!(
            extents.take(20).unwrap(),
            33..53,
            "no block has 32 elements"
        );
        assert_eq!((extents.take(12), extents.used()), (None, 53));
        assert_eq!(extents.take(11).unwrap(), 53..64);
        extents.free(0..33);
        extents.free(53..64);
        extents.free(33..53);
        assert_eq!(
            extents.take(64).unwrap(),
            0..64,
            "the halves are joined again"
        );
    }

    #[test]
    fn extents_of_another_agent_stay_in_use() {
        let (mut extents, wrong) = Extents::new(16, vec![8..11, 0..1, 10..12, 15..17]);
        assert_eq!(wrong, [10..12, 15..17], "overlaps, and leaves the array");
        assert_eq!(extents.used(), 4);
        assert!(extents.is_used(&(8..11)) && !extents.is_used(&(11..12)));
        extents.free(8..11);
        assert_eq!(extents.take(8).unwrap(), 8..16);
    }

    #[test]
    fn extents_that_no_record_names_are_freed() {
        let mut extents = empty(32);
        let [kept, lost] = [5, 3].map(|len| extents.take(len).unwrap());
        extents.begin_pass();
        extents.see(&kept);
        let new = extents.take(7).unwrap();
        assert_eq!(extents.end_pass(), 1);
        assert_eq!(extents.used(), 12);
        assert!(extents.is_used(&kept) && extents.is_used(&new));
        assert!(!extents.is_used(&lost));
        assert_eq!(extents.end_pass(), 0, "no pass is under way");
        extents.free(lost.clone());
        extents.free(kept.start..lost.end);
        assert_eq!(extents.used(), 12, "was free already");
    }

    proptest! {
        /// Extents never overlap. Once every extent is freed, the free blocks are the blocks of the start.
        #[test]
        fn extents_are_disjoint(
            capacity in 1_u32..300,
            steps in prop::collection::vec((1_u32..40, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut extents = empty(capacity);
            let before = extents.free_blocks();
            let mut owner = vec![false; capacity as usize];
            let mut taken: Vec<Extent> = Vec::new();
            for (len, which) in steps {
                if len % 3 == 0 && !taken.is_empty() {
                    let extent = taken.swap_remove(which.index(taken.len()));
                    extent.clone().for_each(|at| owner[at as usize] = false);
                    extents.free(extent);
                } else if let Some(extent) = extents.take(len) {
                    prop_assert_eq!(extent.len() as u32, len);
                    for at in extent.clone() {
                        prop_assert!(!std::mem::replace(&mut owner[at as usize], true));
                    }
                    taken.push(extent);
                } else {
                    let mut runs = owner.chunk_by(|a, b| a == b);
                    let has_room = runs.any(|run| !run[0] && run.len() >= len as usize);
                    prop_assert!(!has_room, "{} elements follow each other", len);
                }
                let used = taken.iter().map(|extent| extent.len() as u32).sum::<u32>();
                prop_assert_eq!(extents.used(), used);
            }
            // An agent that opens the maps finds the same free elements.
            let (again, wrong) = Extents::new(capacity, taken.clone());
            prop_assert_eq!(wrong, Vec::<Extent>::new());
            prop_assert_eq!(again.free_blocks(), extents.free_blocks());
            for extent in taken {
                extents.free(extent);
            }
            prop_assert_eq!(extents.free_blocks(), before);
        }
    }
}
