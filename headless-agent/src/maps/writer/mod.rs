//! Writes changes of names to the maps, in an order that shows readers no half state.
//!
//! New chunks are written first, then the record that names them, then the old chunks are
//! freed. Around each write that replaces or moves a name the writer counts a generation in
//! `STATE`, so that the programs do not deny the name meanwhile.
//!
//! Where a map is nearly full, the namespaces that hold the most of it yield (`yields`, by the
//! plans of `budget`). `install` asks what of a name the maps may hold.

mod complaints;
mod counts;
mod holdings;
mod install;
mod marks;
mod names;
mod open;
mod reverse;
mod served;
mod state;
mod yields;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use headless_ebpf::abi::{Config, State};

use self::complaints::Complaints;
pub use self::complaints::show;
pub use self::counts::WriteCounts;
pub(super) use self::marks::Marks;
pub(super) use self::reverse::slot_number;
use super::budget::Budget;
use super::place::name_chunks::NameChunks;
use super::place::sets::Sets;
use super::place::table::Table;
use super::read;
use super::store::{MapKind, RecordSink};
use crate::records::{Index, NameChange, NameData};

/// The most names that one call of [`Writer::catch_up`] tries.
const RETRY_NAMES_MAX: usize = 256;

/// The number of addresses and SRV targets after which one call of [`Writer::catch_up`] ends. The
/// heartbeat waits for the call, and a Service may have thousands of each.
const RETRY_ENTRIES_MAX: usize = 8192;

/// A set of relative names in wire form.
type Names = BTreeSet<Box<[u8]>>;

/// Writes names to the maps. It remembers only facts that the maps do not show: the free
/// elements, and the names whose write failed.
#[derive(Debug)]
pub struct Writer<S> {
    pub(super) sink: S,
    /// The settings that the programs read, with the hash key.
    pub(super) config: Config,
    /// Free slots of the table.
    pub(super) table: Table,
    /// Free chunks.
    pub(super) sets: Sets,
    /// Chunks with names of Services.
    pub(super) name_chunks: NameChunks,
    /// The number of the next new Service.
    next_service: u32,
    /// Numbers of Services without a record in the maps, by the Service's name. All other
    /// numbers stand in the Services' records.
    numbers: BTreeMap<Box<[u8]>, u32>,
    /// How many elements each namespace holds, and which names yield.
    pub(super) budget: Budget,
    /// Failures that the log has not told yet.
    complaints: Complaints,
    /// Names whose last write failed.
    pub(super) failed: Names,
    /// Names whose addresses or details find no room. Their records leave them to userspace.
    /// No name is both failed and crowded.
    pub(super) crowded: Names,
    /// The last name that [`Self::catch_up`] has tried.
    retried: Box<[u8]>,
    /// Whether the full pass that is under way began with empty maps. Then nothing that it
    /// writes is drift.
    pub(super) filling: bool,
    /// Whether the maps hold only what the full pass that is under way has written. Then no
    /// name is looked up before it is written. The maps are the agent's own: what another
    /// program writes meanwhile is found by the next pass.
    pub(super) fresh: bool,
    /// The marks of the full pass that is under way. All writes set marks, too. A pass that
    /// began with empty maps needs none, because nothing in them can be stale.
    pub(super) marks: Option<Marks>,
    /// The state as last written.
    state: State,
    pub(crate) counts: Arc<WriteCounts>,
}

impl<S: RecordSink> Writer<S> {
    /// The maps.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// The maps, for tests that change them without the writer's knowledge.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Whether the maps hold no name and no hint for a reverse name.
    pub(super) fn is_empty(&self) -> bool {
        let maps = MapKind::ALL
            .into_iter()
            .filter(|map| *map != MapKind::Served);
        maps.map(|map| self.counts.entries(map)).sum::<u64>() == 0
    }

    /// Names whose last write failed, in wire form.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.failed.iter().map(AsRef::as_ref)
    }

    /// Names that the programs leave to userspace because their addresses or details find no
    /// room, in wire form.
    pub fn crowded(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.crowded.iter().map(AsRef::as_ref)
    }

    /// Writes changes in their order. New names must come before deleted names, and the names
    /// of a deleted Service's endpoints before the Service's own name. A failed write is
    /// remembered, and the other names are written all the same.
    ///
    /// `index` has these changes already. It says what else the Services have that yield.
    pub fn write(&mut self, changes: &[NameChange], index: &Index) {
        if changes.is_empty() {
            return;
        }
        self.end_fresh();
        self.budget.begin_batch();
        for change in changes {
            self.install(change.name.as_bytes(), change.data.as_ref(), index);
        }
        self.publish_counts();
    }

    /// Tries failed and crowded names again, in turns: in one call at most 256, with bounded
    /// work.
    pub fn catch_up(&mut self, index: &Index) {
        self.retry_with(|name| index.detailed(name), index);
    }

    /// [`Self::catch_up`]. `lookup` returns the present data of a name with its details.
    pub(super) fn retry_with(&mut self, lookup: impl Fn(&[u8]) -> Option<NameData>, index: &Index) {
        let names = self.waiting();
        if names.is_empty() {
            return;
        }
        self.end_fresh();
        self.budget.begin_batch();
        let mut entries = 0;
        for name in names {
            let data = lookup(&name);
            self.install(&name, data.as_ref(), index);
            self.retried = name;
            entries += data.as_ref().map_or(0, NameData::entries);
            if entries >= RETRY_ENTRIES_MAX {
                break;
            }
        }
        self.publish_counts();
    }

    /// The next names that [`Self::catch_up`] tries: the names that follow the last one in
    /// alphabetical order, then names from the beginning. The cost does not grow with the
    /// number of waiting names.
    fn waiting(&self) -> Vec<Box<[u8]>> {
        type Bounds = (Bound<Box<[u8]>>, Bound<Box<[u8]>>);
        let some = |bounds: Bounds| {
            let failed = self.failed.range(bounds.clone()).take(RETRY_NAMES_MAX);
            let crowded = self.crowded.range(bounds).take(RETRY_NAMES_MAX);
            failed.chain(crowded).collect::<BTreeSet<_>>()
        };
        let last = || self.retried.clone();
        let behind = some((Bound::Excluded(last()), Bound::Unbounded));
        let before = some((Bound::Unbounded, Bound::Included(last())));
        let names = behind.into_iter().chain(before);
        names.take(RETRY_NAMES_MAX).cloned().collect()
    }

    /// From now on names are looked up before they are written ([`Self::fresh`]).
    pub(super) fn end_fresh(&mut self) {
        self.fresh = false;
    }

    /// Counts the entries of `ENDPOINTS` and `REVERSE`, of which the writer has no list of
    /// free places.
    pub(super) fn count_buckets(&self) {
        let arrays = self.sink.arrays();
        let mut endpoints = 0;
        read::for_each_endpoint(&self.sink, &mut |_, _| endpoints += 1);
        self.counts.set_entries(MapKind::Endpoints, endpoints);
        let slots = (0..arrays.reverse_buckets()).flat_map(|bucket| arrays.reverse(bucket));
        let slots = slots.filter(|slot| !slot.is_empty()).count();
        self.counts.set_entries(MapKind::Reverse, slots as u64);
    }

    /// Publishes the numbers of used slots and chunks, of waiting names and of names that yield.
    pub(super) fn publish_counts(&mut self) {
        let counts = &self.counts;
        counts.set_entries(MapKind::Table, self.table.used());
        counts.set_entries(MapKind::Chunks, self.sets.used());
        let len = |names: &Names| names.len() as u64;
        counts.pending.store(len(&self.failed), Ordering::Relaxed);
        counts.crowded.store(len(&self.crowded), Ordering::Relaxed);
        if std::mem::take(&mut self.budget.changed) {
            let (services, _) = self.budget.yielding();
            counts.set_yielding(services.into(), self.budget.all_yielding());
        }
        self.complaints.tell(Instant::now());
    }
}
