//! Applies changes of names in an order that never shows a half state.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headless_ebpf::abi::{
    ChunkKey, ChunkKind, DetailsHeader, NameRecord, SET_NUMBER_MAX, ServerAddress, State,
};
use tracing::{error, warn};

use super::encode::{self, Encoded};
use super::{MapKind, MapName, RecordSink, SinkError, WriteCounts};
use crate::records::name::Labels;
use crate::records::{NameChange, NameData};

/// Most names that one call of [`Writer::retry`] tries.
const RETRY_NAMES_MAX: usize = 256;

/// Writes names to a sink and remembers what it cannot see there: the names whose
/// write failed.
#[derive(Debug)]
pub struct Writer<S> {
    pub(super) sink: S,
    pub(super) seed: u64,
    pub(super) next_set: u32,
    pub(super) failed: BTreeSet<Box<[u8]>>,
    state: State,
    pub(crate) counts: Arc<WriteCounts>,
}

impl<S: RecordSink> Writer<S> {
    /// A writer to `sink`. `seed` is [`headless_ebpf::abi::Config::seal_seed`].
    pub fn new(sink: S, seed: u64, counts: Arc<WriteCounts>) -> Self {
        Self {
            sink,
            seed,
            next_set: 1,
            failed: BTreeSet::new(),
            state: State::default(),
            counts,
        }
    }

    /// Where the records go.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// The same, to change it behind the writer's back.
    #[cfg(test)]
    pub(crate) fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Names whose last write failed.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.failed.iter().map(AsRef::as_ref)
    }

    /// Writes a batch of changes in its order, which has what is there before
    /// what is gone. A failure keeps no other name from being written.
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

    /// As [`Self::install`], for a name that is found to be wrong.
    pub(super) fn correct(&mut self, wire: &[u8], data: Option<&NameData>) {
        self.begin_writing();
        self.install(wire, data);
        self.end_writing();
    }

    /// From here on a name that is not found may be there all the same, see
    /// [`State::denies_since`].
    fn begin_writing(&mut self) {
        debug_assert_eq!(self.state.flags & State::GENERATION, 0);
        self.next_generation();
    }

    /// From here on it is not there.
    fn end_writing(&mut self) {
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

    /// Tries the names whose write failed once more; `lookup` gives their data
    /// as it is now. Stops at the first that fails again: a map that is still
    /// full would fail for all.
    pub fn retry(&mut self, lookup: impl Fn(&[u8]) -> Option<NameData>) {
        let names: Vec<_> = self.failed.iter().take(RETRY_NAMES_MAX).cloned().collect();
        if names.is_empty() {
            return;
        }
        self.begin_writing();
        for name in names {
            if !self.install(&name, lookup(&name).as_ref()) {
                break;
            }
        }
        self.end_writing();
    }

    /// Brings one name up to date and remembers it where that fails. Whether
    /// it succeeded.
    pub(super) fn install(&mut self, wire: &[u8], data: Option<&NameData>) -> bool {
        let Some(name) = MapName::from_wire(wire) else {
            // No query can ask for a name that is none, so none is missing.
            warn!(name = %show(wire), "not a name, left out");
            return true;
        };
        let result = match data {
            Some(data) => self.put(&name, data),
            None => self.delete(&name),
        };
        match result {
            Ok(()) => {
                self.failed.remove(wire);
            }
            Err(error) => self.fail(&name, wire, &error),
        }
        let pending = self.failed.len() as u64;
        self.counts.pending.store(pending, Ordering::Relaxed);
        !self.failed.contains(wire)
    }

    /// The new set's chunks, the record that names it, then the old chunks go.
    fn put(&mut self, name: &MapName, data: &NameData) -> Result<(), SinkError> {
        let old = self.sink.name(name)?;
        let mut encoded = encode::encode(name, self.seed, data, self.next_set);
        if !encoded.chunks.is_empty() {
            let set = self.fresh_set()?;
            if set != self.next_set {
                encoded = encode::encode(name, self.seed, data, set);
            }
            self.next_set = following(set);
        }
        let Encoded { record, chunks } = encoded;
        let mut written = Vec::with_capacity(chunks.len());
        for (key, chunk) in chunks {
            match self.sink.put_chunk(key, chunk) {
                Ok(added) => self.counts.added(MapKind::Chunks, added),
                Err(error) => {
                    self.delete_chunks(written);
                    return Err(error);
                }
            }
            written.push(key);
        }
        match self.sink.put_name(name, record) {
            Ok(added) => {
                let kind = added.unwrap_or(MapKind::of_class(name.class()));
                self.counts.added(kind, added.is_some());
            }
            Err(error) => {
                self.delete_chunks(written);
                return Err(error);
            }
        }
        if let Some(old) = old {
            self.delete_set(&old);
        }
        Ok(())
    }

    /// Chunks that no record names are garbage, not wrong answers: what cannot
    /// be deleted now is found by the next full pass.
    fn delete_chunks(&mut self, keys: impl IntoIterator<Item = ChunkKey>) {
        for key in keys {
            match self.sink.delete_chunk(key) {
                Ok(existed) => self.counts.removed(MapKind::Chunks, existed),
                Err(error) => self.counts.failure(&error),
            }
        }
    }

    /// Deletes what a record that is no longer installed has named.
    fn delete_set(&mut self, record: &NameRecord) {
        self.delete_chunks(encode::address_chunks(record));
        for first in encode::first_details(record) {
            let header = match self.sink.chunk(first) {
                Ok(Some(chunk)) => DetailsHeader::from_word(chunk.words[0]),
                Ok(None) => continue,
                Err(error) => {
                    self.counts.failure(&error);
                    continue;
                }
            };
            let rest = (0..header.chunks).map(|index| ChunkKey { index, ..first });
            self.delete_chunks(rest);
        }
    }

    fn delete(&mut self, name: &MapName) -> Result<(), SinkError> {
        let old = self.sink.name(name)?;
        let existed = self.sink.delete_name(name)?;
        let kind = existed.unwrap_or(MapKind::of_class(name.class()));
        self.counts.removed(kind, existed.is_some());
        if let Some(old) = old {
            self.delete_set(&old);
        }
        Ok(())
    }

    /// A name could not be written. What the map still has for it is outdated,
    /// so it goes; and since its absence must not be taken for proof that there
    /// is no such name, the right to negative answers goes first.
    fn fail(&mut self, name: &MapName, wire: &[u8], error: &SinkError) {
        self.counts.failure(error);
        if self.failed.insert(wire.into()) {
            error!(
                name = %show(wire),
                error = error as &dyn std::error::Error,
                "name not written, left to userspace"
            );
        }
        if self.state.flags & State::COMPLETE != 0 {
            let flags = self.state.flags & !State::COMPLETE;
            if let Err(error) = self.put_state(State {
                flags,
                ..self.state
            }) {
                error!(
                    error = &error as &dyn std::error::Error,
                    "negative answers not withdrawn, outdated record kept until the next try"
                );
                return;
            }
        }
        match self.delete(name) {
            Ok(()) => {}
            Err(error) => self.counts.failure(&error),
        }
    }

    /// A number under which nothing is stored. Numbers start over after 2^24 sets,
    /// when no program can still be reading the first ones.
    fn fresh_set(&self) -> Result<u32, SinkError> {
        let mut number = self.next_set;
        loop {
            let mut used = false;
            for kind in ChunkKind::OF_SETS {
                used |= self.sink.chunk(ChunkKey::new(number, kind, 0))?.is_some();
            }
            if !used {
                return Ok(number);
            }
            number = following(number);
        }
    }

    /// Makes the served addresses exactly these, in this order. Returns the addresses
    /// that find no place.
    pub fn serve(&mut self, addresses: &[ServerAddress]) -> Result<Vec<ServerAddress>, SinkError> {
        let mut unplaced = Vec::new();
        let installed: HashMap<_, _> = self.sink.servers()?.into_iter().collect();
        self.counts
            .set_entries(MapKind::Servers, installed.len() as u64);
        for (index, address) in (0..).zip(addresses) {
            if installed.get(address) != Some(&index) {
                let added = self.sink.put_server(*address, index);
                match added.inspect_err(|error| self.counts.failure(error)) {
                    Ok(added) => self.counts.added(MapKind::Servers, added),
                    Err(SinkError::Full { .. }) => unplaced.push(*address),
                    Err(error) => return Err(error),
                }
            }
        }
        for address in installed.keys().filter(|key| !addresses.contains(key)) {
            let existed = self.sink.delete_server(*address);
            let existed = existed.inspect_err(|error| self.counts.failure(error))?;
            self.counts.removed(MapKind::Servers, existed);
        }
        Ok(unplaced)
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
}

/// The number after this one.
pub(super) const fn following(set: u32) -> u32 {
    if set >= SET_NUMBER_MAX { 1 } else { set + 1 }
}

/// A relative name in presentation form, for messages.
pub fn show(wire: &[u8]) -> String {
    let labels = Labels::new(wire).map(|label| label.escape_ascii().to_string());
    labels.collect::<Vec<_>>().join(".")
}
