//! Applies changes of names in an order that never shows a half state.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use headless_ebpf::abi::{Config, KeyClass, State};
use tracing::{error, warn};

use super::counts::WriteCounts;
use super::extents::Extent;
use super::key::MapKey;
use super::kind::{MapKind, SinkError};
use super::marks::Marks;
use super::name_chunks::NameChunks;
use super::read;
use super::sets::{Sets, following};
use super::sink::RecordSink;
use super::table::Table;
use crate::records::name::WireLabels;
use crate::records::{NameChange, NameData};

/// Most names that one call of [`Writer::retry`] tries.
const RETRY_NAMES_MAX: usize = 256;

/// Writes names to the maps and remembers what the maps do not show: free elements,
/// and the names whose write failed.
#[derive(Debug)]
pub struct Writer<S> {
    pub(super) sink: S,
    /// What the programs read: above all the key of the hashes.
    pub(super) config: Config,
    pub(super) table: Table,
    pub(super) sets: Sets,
    pub(super) name_chunks: NameChunks,
    /// The next Service's number.
    next_service: u32,
    /// Numbers of Services whose own record is not stored, by name.
    numbers: BTreeMap<Box<[u8]>, u32>,
    /// Names whose last write failed.
    pub(super) failed: BTreeSet<Box<[u8]>>,
    /// Names that are stored without their addresses, for want of room.
    pub(super) crowded: BTreeSet<Box<[u8]>>,
    /// The last name that [`Self::retry`] has tried.
    retried: Box<[u8]>,
    /// Whether there were entries before the first write.
    leftovers: bool,
    /// Whether the full pass that is under way fills empty maps: what it writes is no
    /// drift.
    pub(super) filling: bool,
    /// While a full pass runs: what it has found to be right.
    pub(super) marks: Option<Marks>,
    state: State,
    pub(crate) counts: Arc<WriteCounts>,
}

impl<S: RecordSink> Writer<S> {
    /// A writer to maps in which there may be what another agent has written. The key of
    /// the hashes is the maps' own.
    ///
    /// # Errors
    /// Where the maps cannot be read, or an entry that cannot be right cannot be
    /// removed.
    pub fn open(sink: S, counts: Arc<WriteCounts>) -> Result<Self, SinkError> {
        let config = sink.config()?;
        let mut state = sink.state()?;
        if state.flags & State::GENERATION != 0 {
            // The agent before this one died while it wrote: a name may be missing.
            state.flags &= !State::COMPLETE;
            state = state.next_generation();
        }
        let (hash_key, arrays) = (&config.hash_key, sink.arrays());
        let table = Table::open(arrays);
        let name_chunks = NameChunks::open(arrays, hash_key);
        let (mut sets, mut services) = (0, 0);
        let mut owners: Vec<(Extent, MapKey)> = Vec::new();
        let mut wrong = Vec::new();
        let mut records = [0; KeyClass::ALL.len()];
        for class in KeyClass::ALL {
            read::for_each_record(&sink, class, &mut |key, record| {
                records[class as usize] += 1;
                sets = sets.max(record.set);
                services = services.max(record.service);
                match read::extent(arrays, hash_key, &key, &record) {
                    Some(extent) => owners.push((extent, key)),
                    None if record.set != 0 => wrong.push(key),
                    None => {}
                }
            })?;
        }
        read::for_each_endpoint(&sink, &mut |service, _| services = services.max(service));
        let used = owners.iter().map(|(extent, _)| extent.clone());
        let names = name_chunks.leftovers().map(|chunk| chunk..chunk + 1);
        let used = used.chain(names).collect();
        let (sets, overlapping) = Sets::new(arrays, used, following(sets));
        let lost = owners
            .into_iter()
            .filter(|(extent, _)| overlapping.contains(extent));
        wrong.extend(lost.map(|(_, key)| key));

        records[KeyClass::Short as usize] -= table.used();
        for class in KeyClass::ALL {
            counts.set_entries(MapKind::of_class(class), records[class as usize]);
        }
        let mut writer = Self {
            leftovers: false,
            filling: false,
            config,
            table,
            sets,
            name_chunks,
            next_service: following(services),
            numbers: BTreeMap::new(),
            failed: BTreeSet::new(),
            crowded: BTreeSet::new(),
            retried: Box::default(),
            marks: None,
            state,
            counts,
            sink,
        };
        writer.drop_wrong(&wrong)?;
        writer.publish_counts();
        writer.count_hashed();
        writer.leftovers = !writer.is_empty();
        Ok(writer)
    }

    /// Removes records that name chunks which are not theirs.
    fn drop_wrong(&mut self, wrong: &[MapKey]) -> Result<(), SinkError> {
        if wrong.is_empty() {
            return Ok(());
        }
        warn!(
            records = wrong.len(),
            "records in the maps name chunks that are not theirs, removed"
        );
        self.withdraw_denials()?;
        for key in wrong {
            self.delete_record(key)?;
        }
        Ok(())
    }

    /// The maps.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// The maps, to be changed behind the writer's back: for tests.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Whether there were entries in the maps when they were opened: then the first
    /// thing to do once the cluster is known is a full pass.
    pub fn has_leftovers(&self) -> bool {
        self.leftovers
    }

    /// Whether no name and no address is stored.
    pub(super) fn is_empty(&self) -> bool {
        let maps = MapKind::ALL
            .into_iter()
            .filter(|map| *map != MapKind::Served);
        maps.map(|map| self.counts.entries(map)).sum::<u64>() == 0
    }

    /// Names whose last write failed.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.failed.iter().map(AsRef::as_ref)
    }

    /// Names that the programs leave to userspace, because their addresses find no room.
    pub fn crowded(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.crowded.iter().map(AsRef::as_ref)
    }

    /// Writes changes in their order, in which new names come before those that are
    /// gone. A failure keeps no other name from being written.
    pub fn apply(&mut self, changes: &[NameChange]) {
        if changes.is_empty() {
            return;
        }
        self.begin_writing();
        for change in changes {
            self.install(change.name.as_bytes(), change.data.as_ref());
        }
        self.end_writing();
    }

    /// From here on a name that is not found may exist all the same, see
    /// [`State::denies_since`].
    pub(super) fn begin_writing(&mut self) {
        debug_assert_eq!(self.state.flags & State::GENERATION, 0);
        self.next_generation();
        // The arrays are written by plain stores: none may be seen before the generation.
        fence(Ordering::SeqCst);
    }

    /// From here on a name that is not found does not exist.
    pub(super) fn end_writing(&mut self) {
        self.publish_counts();
        // All stores are seen before the generation.
        fence(Ordering::SeqCst);
        self.next_generation();
    }

    fn next_generation(&mut self) {
        let state = self.state.next_generation();
        if let Err(error) = self.put_state(state) {
            // The next one that can be written says the same.
            self.state = state;
            error!(
                error = &error as &dyn std::error::Error,
                "the programs cannot be told of writes"
            );
        }
    }

    /// Tries names whose write failed, or whose addresses found no room, once more;
    /// `lookup` gives their data as it is now, with the details. At most
    /// `RETRY_NAMES_MAX` at once, in turns.
    pub fn retry(&mut self, lookup: impl Fn(&[u8]) -> Option<NameData>) {
        let waiting: BTreeSet<_> = self.failed.union(&self.crowded).cloned().collect();
        let behind = (Bound::Excluded(self.retried.clone()), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Included(self.retried.clone()));
        let names = waiting
            .range::<Box<[u8]>, _>(behind)
            .chain(waiting.range::<Box<[u8]>, _>(before));
        let names: Vec<_> = names.take(RETRY_NAMES_MAX).collect();
        let Some(last) = names.last() else { return };
        self.retried.clone_from(last);
        self.begin_writing();
        for name in names {
            self.install(name, lookup(name).as_ref());
        }
        self.end_writing();
    }

    /// Brings one name up to date and remembers it where that fails.
    pub(super) fn install(&mut self, wire: &[u8], data: Option<&NameData>) {
        if MapKey::of_name(wire).is_none() {
            // No query can ask for such a name, so none is missing.
            warn!(name = %show(wire), "not a name, left out");
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

    /// Remembers whether a name is stored with its addresses.
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
                "no room for the name's addresses, left to userspace"
            );
        }
    }

    /// A name could not be written. What the maps still have for it is outdated and is
    /// removed. Before that the right to negative answers is withdrawn, since the
    /// name's absence proves nothing.
    fn fail(&mut self, wire: &[u8], error: &SinkError) {
        self.counts.failure(error);
        self.crowded.remove(wire);
        if self.failed.insert(wire.into()) {
            error!(
                name = %show(wire),
                error = error as &dyn std::error::Error,
                "name not written, left to userspace"
            );
        }
        if let Err(error) = self.withdraw_denials() {
            error!(
                error = &error as &dyn std::error::Error,
                "negative answers not withdrawn, outdated record kept until the next try"
            );
            return;
        }
        if let Err(error) = self.forget_name(wire) {
            self.counts.failure(&error);
        }
    }

    fn withdraw_denials(&mut self) -> Result<(), SinkError> {
        if self.state.flags & State::COMPLETE == 0 {
            return Ok(());
        }
        self.put_state(State {
            flags: self.state.flags & !State::COMPLETE,
            ..self.state
        })
    }

    /// The last state written.
    pub fn state(&self) -> State {
        self.state
    }

    /// Writes the liveness entry.
    pub(super) fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.sink
            .put_state(state)
            .inspect_err(|error| self.counts.failure(error))?;
        self.state = state;
        let counts = &self.counts;
        counts.flags.store(state.flags.into(), Ordering::Relaxed);
        counts.serial.store(state.serial.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Counts the entries of the tables that have no list of what is free.
    pub(super) fn count_hashed(&self) {
        let arrays = self.sink.arrays();
        let mut endpoints = 0;
        read::for_each_endpoint(&self.sink, &mut |_, _| endpoints += 1);
        self.counts.set_entries(MapKind::Endpoints, endpoints);
        let slots = (0..arrays.reverse_buckets()).flat_map(|bucket| arrays.reverse(bucket));
        let slots = slots.filter(|slot| !slot.is_empty()).count();
        self.counts.set_entries(MapKind::Reverse, slots as u64);
    }

    /// Says how many entries there are.
    pub(super) fn publish_counts(&self) {
        let counts = &self.counts;
        counts.set_entries(MapKind::Table, self.table.used());
        counts.set_entries(MapKind::Chunks, self.sets.used());
        let len = |names: &BTreeSet<Box<[u8]>>| names.len() as u64;
        counts.pending.store(len(&self.failed), Ordering::Relaxed);
        counts.crowded.store(len(&self.crowded), Ordering::Relaxed);
    }
}

/// A relative name in presentation form, for messages.
pub fn show(wire: &[u8]) -> String {
    let labels = WireLabels::new(wire).map(|label| label.escape_ascii().to_string());
    labels.collect::<Vec<_>>().join(".")
}
