//! The free elements of `CHUNKS`: runs of free elements, found by their starts and by their
//! lengths.
//!
//! An extent comes from the shortest run that is long enough (best fit), so that long runs stay
//! whole. A freed extent joins the runs beside it. Both take a few look-ups in trees, and so
//! does an extent that finds no run: names without room are tried again and again between
//! heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Consecutive elements, by their indices.
pub(in crate::maps) type Extent = Range<u32>;

/// The free elements of an array, and how many are in use.
#[derive(Debug)]
pub(in crate::maps) struct Extents {
    capacity: u32,
    /// The free runs: their ends by their starts. No two touch.
    runs: BTreeMap<u32, u32>,
    /// Length and start of each free run.
    by_len: BTreeSet<(u32, u32)>,
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
            runs: BTreeMap::new(),
            by_len: BTreeSet::new(),
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

    /// Number of free elements.
    pub(in crate::maps) fn unused(&self) -> u32 {
        self.capacity - self.used
    }

    /// Whether `len` free elements follow each other.
    pub(in crate::maps) fn has_run(&self, len: u32) -> bool {
        self.shortest_run(len).is_some()
    }

    /// Length and start of the shortest free run of at least `len` elements.
    fn shortest_run(&self, len: u32) -> Option<(u32, u32)> {
        self.by_len.range((len, 0)..).next().copied()
    }

    /// Takes `len` consecutive elements. `None` if no `len` free elements follow each other.
    pub(in crate::maps) fn take(&mut self, len: u32) -> Option<Extent> {
        let (found, start) = self.shortest_run(len)?;
        let extent = start..start + len;
        self.remove_run(start, start + found);
        self.insert_run(extent.end, start + found);
        self.used += len;
        self.see(&extent);
        Some(extent)
    }

    /// Frees an extent. An extent with a free element stays as it is: an old record that
    /// somebody has written back may name elements that were freed long ago.
    pub(in crate::maps) fn free(&mut self, extent: Extent) {
        if !self.is_used(&extent) {
            return;
        }
        let Range { mut start, mut end } = extent;
        self.used -= end - start;
        if let Some((before, stop)) = self.run_before(start).filter(|(_, stop)| *stop == start) {
            self.remove_run(before, stop);
            start = before;
        }
        if let Some(stop) = self.runs.get(&end).copied() {
            self.remove_run(end, stop);
            end = stop;
        }
        self.insert_run(start, end);
    }

    fn insert_run(&mut self, start: u32, end: u32) {
        if start < end {
            self.runs.insert(start, end);
            self.by_len.insert((end - start, start));
        }
    }

    fn remove_run(&mut self, start: u32, end: u32) {
        self.runs.remove(&start);
        self.by_len.remove(&(end - start, start));
    }

    /// Start and end of the last free run that begins before an element.
    fn run_before(&self, element: u32) -> Option<(u32, u32)> {
        let (start, end) = self.runs.range(..element).next_back()?;
        Some((*start, *end))
    }

    /// Whether an extent has elements, all of which are in use.
    fn is_used(&self, extent: &Extent) -> bool {
        let is_free = |(_, end)| end > extent.start;
        !extent.is_empty()
            && extent.end <= self.capacity
            && !self.run_before(extent.end).is_some_and(is_free)
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
        for (start, end) in &self.runs {
            seen[*start as usize..*end as usize].fill(true);
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
            assert_eq!(extents.take(capacity), Some(0..capacity), "one run again");
        }
    }

    #[test]
    fn an_extent_comes_from_the_shortest_run() {
        let mut extents = empty(64);
        let taken = [10, 1, 5, 1, 7, 1].map(|len| extents.take(len).unwrap());
        for extent in taken.into_iter().step_by(2) {
            extents.free(extent);
        }
        assert_eq!(extents.take(6), Some(17..23));
        assert_eq!(extents.take(3), Some(11..14));
        assert!(extents.has_run(39) && !extents.has_run(40));
        assert_eq!((extents.take(40), extents.unused()), (None, 52));
        assert_eq!(extents.take(12), Some(25..37));
    }

    #[test]
    fn extents_of_another_agent_stay_in_use() {
        let (mut extents, wrong) = Extents::new(16, vec![8..11, 0..1, 10..12, 15..17]);
        assert_eq!(wrong, [10..12, 15..17], "overlaps, and leaves the array");
        assert_eq!(extents.used(), 4);
        assert!(extents.is_used(&(8..11)) && !extents.is_used(&(11..12)));
        extents.free(8..11);
        assert_eq!(extents.take(14).unwrap(), 1..15);
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
        /// Extents never overlap. Once every extent is freed, the whole array is free.
        #[test]
        fn extents_are_disjoint(
            capacity in 1_u32..300,
            steps in prop::collection::vec((1_u32..40, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut extents = empty(capacity);
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
            prop_assert_eq!(&again.runs, &extents.runs);
            prop_assert_eq!(&again.by_len, &extents.by_len);
            for extent in taken {
                extents.free(extent);
            }
            prop_assert_eq!(extents.take(capacity), Some(0..capacity));
        }
    }
}
