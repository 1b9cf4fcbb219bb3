//! Writes changes of names to the maps, in an order that shows readers no half state.
//!
//! New chunks are written first, then the record that names them, then the old chunks are
//! freed. Around all of this the writer counts a generation in `STATE`, so that the programs
//! deny no name while names are written.

mod counts;
mod marks;
mod names;
mod open;
mod reverse;
mod served;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headless_ebpf::abi::{Config, State};
use tracing::{error, warn};

pub use self::counts::WriteCounts;
pub(super) use self::marks::Marks;
pub(super) use self::reverse::slot_number;
use super::encode::MapKey;
use super::place::name_chunks::NameChunks;
use super::place::sets::Sets;
use super::place::table::Table;
use super::read;
use super::store::{MapKind, RecordSink, SinkError};
use crate::records::name::WireLabels;
use crate::records::{NameChange, NameData};

/// The most names that one call of [`Writer::retry`] tries.
const RETRY_NAMES_MAX: usize = 256;

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
    /// Names whose last write failed.
    pub(super) failed: Names,
    /// Names whose addresses or details find no room. Their records leave them to userspace.
    /// No name is both failed and crowded.
    pub(super) crowded: Names,
    /// The last name that [`Self::retry`] has tried.
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
    pub fn apply(&mut self, changes: &[NameChange]) {
        if changes.is_empty() {
            return;
        }
        self.end_fresh();
        self.begin_writing();
        for change in changes {
            self.install(change.name.as_bytes(), change.data.as_ref());
        }
        self.end_writing();
    }

    /// Tries failed and crowded names again, at most 256 in one call, in turns. `lookup`
    /// returns the present data of a name with its details.
    pub fn retry(&mut self, lookup: impl Fn(&[u8]) -> Option<NameData>) {
        let names = self.waiting();
        let Some(last) = names.last() else { return };
        self.retried.clone_from(last);
        self.end_fresh();
        self.begin_writing();
        for name in &names {
            self.install(name, lookup(name).as_ref());
        }
        self.end_writing();
    }

    /// The next names that [`Self::retry`] tries: the names that follow the last one in
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

    /// Writes or deletes one name, and remembers whether that failed.
    pub(super) fn install(&mut self, wire: &[u8], data: Option<&NameData>) {
        if MapKey::of_name(wire).is_none() {
            // No query can ask for such a name, so its absence is no fault.
            warn!(name = %show(wire), "the maps cannot hold this name, left out");
            return;
        }
        let result = match data {
            Some(data) => self.put_name(wire, data),
            None => self.delete_name(wire).map(|()| true),
        };
        match result {
            Ok(has_room) => {
                self.failed.remove(wire);
                self.note_room(wire, has_room);
            }
            Err(error) => self.fail(wire, &error),
        }
    }

    /// Remembers whether the addresses and details of a name found room.
    fn note_room(&mut self, wire: &[u8], has_room: bool) {
        if has_room {
            self.crowded.remove(wire);
            return;
        }
        let map = MapKind::Chunks;
        self.counts.failure(&SinkError::Full { map });
        if self.crowded.insert(wire.into()) {
            warn!(
                name = %show(wire),
                "map CHUNKS has no room for the addresses or details of the name, which is left \
                 to userspace"
            );
        }
    }

    /// Handles a failed write of a name. The record that the maps still have is outdated, so
    /// it is deleted. Negative answers are withdrawn first, because the absence of the record
    /// then proves nothing.
    fn fail(&mut self, wire: &[u8], error: &SinkError) {
        self.counts.failure(error);
        self.crowded.remove(wire);
        if self.failed.insert(wire.into()) {
            error!(
                name = %show(wire),
                error = error as &dyn std::error::Error,
                "cannot write the name to the maps, left to userspace"
            );
        }
        if let Err(error) = self.withdraw_denials() {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot withdraw negative answers, so the outdated record stays until the next try"
            );
            return;
        }
        if let Err(error) = self.forget_name(wire) {
            self.counts.failure(&error);
        }
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

    /// Publishes the numbers of used slots and chunks, and of waiting names.
    pub(super) fn publish_counts(&self) {
        let counts = &self.counts;
        counts.set_entries(MapKind::Table, self.table.used());
        counts.set_entries(MapKind::Chunks, self.sets.used());
        let len = |names: &Names| names.len() as u64;
        counts.pending.store(len(&self.failed), Ordering::Relaxed);
        counts.crowded.store(len(&self.crowded), Ordering::Relaxed);
    }
}

/// A relative name in presentation form, for messages.
pub fn show(wire: &[u8]) -> String {
    let labels = WireLabels::new(wire).map(|label| label.escape_ascii().to_string());
    labels.collect::<Vec<_>>().join(".")
}
