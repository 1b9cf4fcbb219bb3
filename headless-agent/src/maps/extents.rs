//! Which elements of `CHUNKS` are free: a buddy allocator (Knuth, The Art of Computer
//! Programming, volume 1, section 2.5) over runs of elements.
//!
//! Free memory is kept in blocks whose length is a power of two and whose start is a
//! multiple of their length, so that two halves of a block become one again in a few
//! steps. An extent may have any length: what it does not need of its block stays free.

use std::collections::BTreeSet;
use std::ops::Range;

/// A run of consecutive elements, by their numbers.
pub(super) type Extent = Range<u32>;

/// The free elements of an array.
#[derive(Debug)]
pub(super) struct Extents {
    capacity: u32,
    /// Starts of the free blocks of `2^i` elements, by `i`.
    free: Vec<BTreeSet<u32>>,
    used: u32,
    /// During a full pass: which elements some record is known to name.
    seen: Option<Vec<bool>>,
}

impl Extents {
    /// An array of `capacity` elements of which these extents are in use, in any order.
    /// An extent that overlaps an earlier one, or leaves the array, is returned: one of
    /// the records that name the two is wrong.
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

    /// Takes `len` consecutive elements; `None` where no free run is long enough. Costs
    /// the logarithm of the capacity.
    pub(super) fn take(&mut self, len: u32) -> Option<Extent> {
        let order = len.checked_next_power_of_two()?.trailing_zeros() as usize;
        let found = (order..self.free.len()).find(|order| !self.free[*order].is_empty())?;
        let start = self.free[found].pop_first()?;
        let extent = start..start.checked_add(len)?;
        self.used += 1 << found;
        self.free(extent.end..start + (1 << found));
        self.see(&extent);
        Some(extent)
    }

    /// Gives elements back. An extent that is not in use as a whole stays as it is: a
    /// record that somebody has put back names what was freed long ago.
    pub(super) fn free(&mut self, extent: Extent) {
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
        // Joins the block with its other half as long as that is free, too.
        while self.free[order].remove(&(start ^ 1 << order)) {
            start &= !(1 << order);
            order += 1;
        }
        let is_new = self.free[order].insert(start);
        debug_assert!(is_new, "{start} is free already");
    }

    /// Whether all elements of an extent are in use.
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

    /// From here on [`Self::see`] and [`Self::take`] note what is in use.
    pub(super) fn begin_pass(&mut self) {
        self.seen = Some(vec![false; self.capacity as usize]);
    }

    /// Notes that a record names these elements.
    pub(super) fn see(&mut self, extent: &Extent) {
        let Some(seen) = &mut self.seen else { return };
        if let Some(elements) = seen.get_mut(extent.start as usize..extent.end as usize) {
            elements.fill(true);
        }
    }

    /// Frees what is in use and was not seen since [`Self::begin_pass`]. Returns how
    /// many runs of elements that were.
    pub(super) fn end_pass(&mut self) -> u64 {
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
    fn everything_can_be_used() {
        for capacity in [1, 2, 3, 7, 64, 1000] {
            let mut extents = empty(capacity);
            let taken: Vec<Extent> = (0..capacity).map(|_| extents.take(1).unwrap()).collect();
            assert_eq!((extents.take(1), extents.used()), (None, capacity));
            for extent in taken {
                extents.free(extent);
            }
            // All is one run again, as far as the capacity's own blocks go.
            let largest = 1 << capacity.ilog2();
            assert_eq!(extents.take(largest).unwrap().len(), largest as usize);
        }
    }

    #[test]
    fn an_extent_takes_no_more_than_it_needs() {
        let mut extents = empty(64);
        let first = extents.take(33).unwrap();
        assert_eq!((first.clone(), extents.used()), (0..33, 33));
        assert_eq!(
            extents.take(31).map(|extent| extent.len()),
            None,
            "not in one run"
        );
        assert_eq!(extents.take(16).unwrap(), 48..64);
        assert_eq!(extents.take(8).unwrap(), 40..48);
    }

    #[test]
    fn what_is_in_use_is_taken_over() {
        let (mut extents, wrong) = Extents::new(16, vec![8..11, 0..1, 10..12, 15..17]);
        assert_eq!(wrong, [10..12, 15..17], "overlaps, and leaves the array");
        assert_eq!(extents.used(), 4);
        assert!(extents.is_used(&(8..11)) && !extents.is_used(&(11..12)));
        extents.free(8..11);
        assert_eq!(extents.take(8).unwrap(), 8..16);
    }

    #[test]
    fn what_no_record_names_is_found() {
        let mut extents = empty(32);
        let [kept, lost] = [5, 3].map(|len| extents.take(len).unwrap());
        extents.begin_pass();
        extents.see(&kept);
        let new = extents.take(7).unwrap();
        assert_eq!(extents.end_pass(), 1);
        assert_eq!(extents.used(), 12);
        assert!(extents.is_used(&kept) && extents.is_used(&new));
        assert!(!extents.is_used(&lost));
        assert_eq!(extents.end_pass(), 0, "no pass");
        extents.free(lost.clone());
        extents.free(kept.start..lost.end);
        assert_eq!(extents.used(), 12, "was free already");
    }

    proptest! {
        /// Extents never overlap, and freeing all of them leaves what there was.
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
                }
                let used = taken.iter().map(|extent| extent.len() as u32).sum::<u32>();
                prop_assert_eq!(extents.used(), used);
            }
            // Another agent finds the same free elements.
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
