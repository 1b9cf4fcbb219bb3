//! The full pass: what is installed against what the index has.
//!
//! Changes are applied as they come; this finds what that missed: another
//! agent's leftovers, a write that was lost, somebody with `bpftool`.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headless_ebpf::abi::{ChunkKey, KeyClass, NameRecord};

use super::encode;
use super::writer::Writer;
use super::{MapKind, MapName, RecordSink, SinkError};
use crate::records::{NameData, RelativeName};

/// How often the loop makes a full pass.
pub const INTERVAL: Duration = Duration::from_mins(5);

/// What a full pass corrected, in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Names that were not installed.
    pub missing: u64,
    /// Names that were installed otherwise.
    pub differing: u64,
    /// Names and chunks that should not have been there.
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
    /// `lookup` gives the data of a name, `names` has all of them.
    pub fn reconcile(
        &mut self,
        lookup: impl Fn(&[u8]) -> Option<NameData>,
        names: impl Iterator<Item = (RelativeName, NameData)>,
    ) -> Result<Drift, SinkError> {
        let mut drift = Drift::default();
        self.number_from_installed()?;
        for class in KeyClass::ALL {
            self.reconcile_class(class, &lookup, &mut drift)?;
        }
        for (name, data) in names {
            let wire = name.as_bytes();
            if let Some(name) = MapName::from_wire(wire)
                && self.sink.name(&name)?.is_none()
            {
                // What could not be written is missing for a known reason.
                drift.missing += u64::from(!self.failed.contains(wire));
                self.install(wire, Some(&data));
            }
        }
        self.reconcile_chunks(&lookup, &mut drift)?;
        self.counts
            .drift
            .fetch_add(drift.total(), Ordering::Relaxed);
        self.counts.reconciles.fetch_add(1, Ordering::Relaxed);
        Ok(drift)
    }

    /// Numbers of sets that an earlier agent left are not handed out again.
    fn number_from_installed(&mut self) -> Result<(), SinkError> {
        if self.sets.is_empty() {
            let highest = self.sink.chunk_keys()?.iter().map(|key| key.set).max();
            let after = highest.unwrap_or_default().wrapping_add(1).max(1);
            self.next_set = self.next_set.max(after);
        }
        Ok(())
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
                Some(data) if self.is_current(&name, &wire, data, &installed) => {}
                _ => wrong.push((wire.into_boxed_slice(), data)),
            }
        })?;
        self.counts.set_entries(MapKind::of_class(class), entries);
        for (wire, data) in wrong {
            match data {
                Some(_) => drift.differing += 1,
                None => drift.stale += 1,
            }
            self.install(&wire, data.as_ref());
        }
        Ok(())
    }

    /// Whether the installed record is what would be written now, under the set
    /// number that the name has.
    fn is_current(
        &self,
        name: &MapName,
        wire: &[u8],
        data: &NameData,
        installed: &NameRecord,
    ) -> bool {
        let set = self.sets.get(wire).map(|set| set.number);
        *installed == encode::record(name, self.seed, data, set)
    }

    /// Writes names anew whose chunks are missing or differ, and deletes chunks
    /// that belong to no set.
    fn reconcile_chunks(
        &mut self,
        lookup: &impl Fn(&[u8]) -> Option<NameData>,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let mut wrong = Vec::new();
        for (wire, set) in &self.sets {
            let Some(data) = lookup(wire) else { continue };
            let mut current = true;
            for (key, chunk) in encode::chunks(self.seed, set.number, &data) {
                current &= self.sink.chunk(key)? == Some(chunk);
            }
            if !current {
                wrong.push((wire.clone(), data));
            }
        }
        for (wire, data) in wrong {
            drift.differing += 1;
            self.install(&wire, Some(&data));
        }
        let owned: HashSet<ChunkKey> = self.sets.values().flat_map(|set| set.keys()).collect();
        let installed = self.sink.chunk_keys()?;
        self.counts
            .set_entries(MapKind::Addresses, installed.len() as u64);
        for key in installed.into_iter().filter(|key| !owned.contains(key)) {
            drift.stale += 1;
            match self.sink.delete_chunk(key) {
                Ok(existed) => self.counts.removed(MapKind::Addresses, existed),
                Err(error) => self.counts.failure(&error),
            }
        }
        Ok(())
    }
}
