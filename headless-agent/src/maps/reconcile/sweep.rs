//! Deletes entries that have no mark, so that the index does not have them.

use std::sync::atomic::Ordering;

use headless_ebpf::abi::{KeyClass, ReverseSlot};

use super::drift::Drift;
use crate::maps::budget::{Holder, Room};
use crate::maps::place::endpoints;
use crate::maps::place::table::{self, Table};
use crate::maps::store::{MapKind, RecordSink, SinkError};
use crate::maps::writer::{Marks, Writer, slot_number};

impl<S: RecordSink> Writer<S> {
    /// Begins a full pass: from now on all writes set marks.
    pub(super) fn begin_pass(&mut self) {
        self.filling = self.is_empty();
        self.fresh = self.filling;
        self.marks = (!self.filling).then(|| Marks::new(self.sink.arrays()));
        self.sets.extents.begin_pass();
        self.budget.begin_pass();
    }

    /// Ends a full pass: frees the chunks that neither a record nor a hint needs. Returns the
    /// number of freed runs of chunks.
    pub(super) fn end_pass(&mut self) -> u64 {
        self.marks = None;
        self.end_fresh();
        self.name_chunks.forget_leftovers();
        // The chunk at index 0 is never used and never free.
        self.sets.extents.see(&(0..1));
        for chunk in self.name_chunks.all() {
            self.sets.extents.see(&(chunk..chunk + 1));
        }
        let lost = self.sets.extents.end_pass();
        self.ensure_writing();
        self.unmark_complete();
        self.end_filling();
        self.publish_counts();
        self.count_buckets();
        self.expect_drain();
        lost
    }

    /// Counts a complete full pass.
    pub(super) fn count_pass(&self, drift: Drift) {
        let counts = &self.counts;
        if !self.filling {
            counts.drift.fetch_add(drift.total(), Ordering::Relaxed);
        }
        counts.reconciles.fetch_add(1, Ordering::Relaxed);
    }

    /// Deletes the records of a bucket of the table that have no mark. Returns their number.
    /// Their chunks are freed by [`Self::end_pass`].
    pub(super) fn sweep_table(&mut self, bucket: u32) -> u64 {
        let Some(marks) = &self.marks else { return 0 };
        let records = table::records(self.sink.arrays(), bucket);
        let stale = records.filter(|(hint, ..)| !marks.hints[*hint]);
        let stale: Vec<_> = stale.collect();
        if !stale.is_empty() {
            for (hint, key, record) in &stale {
                Table::delete_hint(self.sink.arrays(), *hint);
                self.let_go(key, record);
            }
            self.publish_counts();
        }
        stale.len() as u64
    }

    /// Deletes the records of a hash map that have no mark. Returns the number of all records
    /// and of deleted ones.
    pub(super) fn sweep_map(&mut self, class: KeyClass) -> Result<(usize, u64), SinkError> {
        let Some(marks) = &self.marks else {
            return Ok((0, 0));
        };
        let (mut all, mut keys) = (0, Vec::new());
        if self.config.has_names(class) {
            self.sink.for_each(class, &mut |key, record| {
                all += 1;
                if !marks.keys.contains(key.words()) {
                    keys.push((key, record));
                }
            })?;
        }
        if !keys.is_empty() {
            let deleted = keys.iter().try_for_each(|(key, record)| {
                self.sink.delete(key)?;
                self.let_go(key, record);
                Ok(())
            });
            self.publish_counts();
            deleted?;
        }
        let entries = (all - keys.len()) as u64;
        self.counts.set_entries(MapKind::of_class(class), entries);
        Ok((all, keys.len() as u64))
    }

    /// Deletes the regular endpoints of a bucket that have no mark. Returns their number.
    pub(super) fn sweep_endpoints(&mut self, bucket: u32) -> u64 {
        let Some(marks) = &self.marks else { return 0 };
        let entries = endpoints::entries(self.sink.arrays(), bucket);
        let stale = entries.filter(|(number, _)| !marks.endpoints[*number]);
        let stale: Vec<_> = stale.collect();
        if !stale.is_empty() {
            for (number, entry) in &stale {
                endpoints::delete(self.sink.arrays(), *number);
                let holder = Holder::Service(entry.service());
                self.budget.add(holder, Room::Endpoints, -1);
            }
            let gone = stale.len() as u64;
            let left = self.counts.entries(MapKind::Endpoints).saturating_sub(gone);
            self.counts.set_entries(MapKind::Endpoints, left);
            self.publish_counts();
        }
        stale.len() as u64
    }

    /// Clears the hints of a bucket of `REVERSE` that have no mark. Returns their number.
    pub(super) fn sweep_reverse(&mut self, bucket: u32) -> u64 {
        let Some(marks) = &self.marks else { return 0 };
        let slots = self.sink.arrays().reverse(bucket).into_iter().enumerate();
        let stale =
            slots.filter(|(at, slot)| !slot.is_empty() && !marks.reverse[slot_number(bucket, *at)]);
        let stale: Vec<_> = stale.collect();
        for (at, slot) in &stale {
            self.hold_hint(slot.chunk(), Room::Reverse, -1);
            let empty = ReverseSlot::default();
            self.sink.arrays().put_reverse(bucket, *at, empty);
            self.counts.add_entries(MapKind::Reverse, -1);
        }
        stale.len() as u64
    }
}
