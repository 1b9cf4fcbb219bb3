//! The full pass: what is installed against what the index has.
//!
//! Changes are applied as they come; this finds what that missed: another
//! agent's leftovers, a write that was lost, somebody with `bpftool`.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headless_ebpf::abi::{ChunkKey, KeyClass, NameRecord};

use super::encode::{self, Encoded};
use super::reverse::is_name;
use super::writer::Writer;
use super::{MapKind, MapName, RecordSink, SinkError};
use crate::records::{NameData, Pointers, RelativeName};

/// How often the loop makes a full pass.
pub const INTERVAL: Duration = Duration::from_mins(5);

/// What a full pass corrected, in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Names that were not installed.
    pub missing: u64,
    /// Names that were installed otherwise.
    pub differing: u64,
    /// Names, chunks and addresses that should not have been there.
    pub stale: u64,
}

impl Drift {
    /// All of it.
    pub fn total(self) -> u64 {
        self.missing + self.differing + self.stale
    }
}

impl<S: RecordSink> Writer<S> {
    /// Makes the maps hold exactly what `index` holds. Failed writes are
    /// remembered as always; an error means that the maps could not be read.
    ///
    /// `lookup` gives the data of a name with its details, `names` has all names,
    /// `pointers` all addresses.
    pub fn reconcile(
        &mut self,
        lookup: impl Fn(&[u8]) -> Option<NameData>,
        names: impl Iterator<Item = (RelativeName, NameData)>,
        pointers: &Pointers,
    ) -> Result<Drift, SinkError> {
        let mut drift = Drift::default();
        for class in KeyClass::ALL {
            self.reconcile_class(class, &lookup, &mut drift)?;
        }
        for (name, _) in names {
            let wire = name.as_bytes();
            if let Some(name) = MapName::from_wire(wire)
                && self.sink.name(&name)?.is_none()
            {
                // What could not be written is missing for a known reason.
                drift.missing += u64::from(!self.failed.contains(wire));
                self.correct(wire, lookup(wire).as_ref());
            }
        }
        self.reconcile_chunks(&lookup, &mut drift)?;
        drift.stale += self.reconcile_pointers(pointers)?;
        self.counts
            .drift
            .fetch_add(drift.total(), Ordering::Relaxed);
        self.counts.reconciles.fetch_add(1, Ordering::Relaxed);
        Ok(drift)
    }

    fn reconcile_class(
        &mut self,
        class: KeyClass,
        lookup: &impl Fn(&[u8]) -> Option<NameData>,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let mut entries = 0;
        let mut wrong = Vec::new();
        self.sink.for_each_name(class, &mut |name, installed| {
            entries += 1;
            let wire = name.wire();
            let data = lookup(&wire);
            match &data {
                Some(data) if self.encode(&name, data, &installed).record == installed => {}
                _ => wrong.push((wire.into_boxed_slice(), data)),
            }
        })?;
        if class == KeyClass::Short {
            let in_table = self.sink.table_len();
            self.counts.set_entries(MapKind::Table, in_table);
            entries -= in_table;
        }
        self.counts.set_entries(MapKind::of_class(class), entries);
        for (wire, data) in wrong {
            match data {
                Some(_) => drift.differing += 1,
                None => drift.stale += 1,
            }
            self.correct(&wire, data.as_ref());
        }
        Ok(())
    }

    /// What would be written now, under the set number that the name has.
    fn encode(&self, name: &MapName, data: &NameData, installed: &NameRecord) -> Encoded {
        encode::encode(name, self.seed, data, installed.set())
    }

    /// Writes names anew whose chunks are missing or differ, and deletes chunks
    /// that belong to no name.
    fn reconcile_chunks(
        &mut self,
        lookup: &impl Fn(&[u8]) -> Option<NameData>,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let mut owned = self.owned_chunks(lookup)?;
        if !owned.wrong.is_empty() {
            for wire in std::mem::take(&mut owned.wrong) {
                drift.differing += 1;
                self.correct(&wire, lookup(&wire).as_ref());
            }
            owned = self.owned_chunks(lookup)?;
        }
        let owned = owned.keys;
        let installed = self.sink.chunk_keys()?;
        self.counts
            .set_entries(MapKind::Chunks, installed.len() as u64);
        let of_sets = installed.into_iter().filter(|key| !is_name(*key));
        for key in of_sets.filter(|key| !owned.contains(key)) {
            drift.stale += 1;
            match self.sink.delete_chunk(key) {
                Ok(existed) => self.counts.removed(MapKind::Chunks, existed),
                Err(error) => self.counts.failure(&error),
            }
        }
        Ok(())
    }

    /// The chunks that installed names name, and the names whose chunks are not
    /// what they should be.
    fn owned_chunks(
        &self,
        lookup: &impl Fn(&[u8]) -> Option<NameData>,
    ) -> Result<Owned, SinkError> {
        let mut owned = Owned::default();
        let mut expected = Vec::new();
        for class in KeyClass::ALL {
            self.sink.for_each_name(class, &mut |name, installed| {
                if installed.set() == 0 {
                    return;
                }
                let wire = name.wire();
                if let Some(data) = lookup(&wire) {
                    let chunks = self.encode(&name, &data, &installed).chunks;
                    expected.push((wire.into_boxed_slice(), chunks));
                }
            })?;
            for (wire, chunks) in expected.drain(..) {
                let mut current = true;
                for (key, chunk) in chunks {
                    current &= self.sink.chunk(key)? == Some(chunk);
                    owned.keys.insert(key);
                }
                if !current {
                    owned.wrong.push(wire);
                }
            }
        }
        Ok(owned)
    }
}

/// See [`Writer::owned_chunks`].
#[derive(Debug, Default)]
struct Owned {
    keys: HashSet<ChunkKey>,
    wrong: Vec<Box<[u8]>>,
}
