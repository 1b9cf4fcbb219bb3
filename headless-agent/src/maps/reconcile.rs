//! The full pass: the maps compared with the index.
//!
//! Changes are applied as they come; this finds the rest: another agent's leftovers, a
//! write that was lost, somebody with `bpftool`.
//!
//! A pass goes in steps, between which index and maps change. It walks over the index,
//! corrects what is missing or different in the maps, and marks what is right. The
//! writer marks everything that it writes meanwhile. Then the pass walks over the maps
//! and removes what has no mark.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headless_ebpf::abi::{ENDPOINT_ENTRIES, KeyClass, REVERSE_SLOTS, TABLE_HINTS};

use super::encode::encode;
use super::key::MapKey;
use super::kind::{MapKind, SinkError};
pub use super::marks::Drift;
use super::marks::Marks;
use super::name::{EndpointName, is_service};
use super::read::Located;
use super::sink::RecordSink;
use super::table::{self, Table};
use super::writer::Writer;
use super::{endpoints, read};
use crate::records::{Index, NameData, Part, Parts};

/// How often the loop makes a full pass.
pub const INTERVAL: Duration = Duration::from_mins(5);

/// How far a full pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The pass is complete and has corrected this.
    Done(Drift),
}

/// A full pass.
#[derive(Debug, Default)]
pub struct Reconcile {
    stage: Stage,
    drift: Drift,
}

/// The next thing to look at.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Start,
    Index(Parts),
    /// Buckets of the table of short keys from here on.
    Table(u32),
    /// Keys of the hash map of this class.
    Keys(KeyClass),
    /// Buckets of endpoints from here on.
    Endpoints(u32),
    /// Buckets of addresses from here on.
    Reverse(u32),
    Chunks,
    Done,
}

impl Reconcile {
    /// A pass that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with the pass until about `budget` entries have been looked at. Names and
    /// addresses may change between two steps.
    ///
    /// # Errors
    /// Where the maps cannot be read. Failed writes are remembered by the writer.
    pub fn step<S: RecordSink>(
        &mut self,
        writer: &mut Writer<S>,
        index: &Index,
        budget: usize,
    ) -> Result<Progress, SinkError> {
        let mut left = budget;
        while left > 0 {
            let cost = match std::mem::take(&mut self.stage) {
                Stage::Start => {
                    writer.begin_pass();
                    self.stage = Stage::Index(Parts::default());
                    1
                }
                Stage::Index(parts) => self.walk(parts, writer, index)?,
                Stage::Table(bucket) => {
                    let end = writer.sink.arrays().table_buckets();
                    self.stage = if bucket < end {
                        self.drift.stale += writer.sweep_table(bucket);
                        Stage::Table(bucket + 1)
                    } else {
                        writer.table = Table::open(writer.sink.arrays());
                        Stage::Keys(KeyClass::Short)
                    };
                    TABLE_HINTS
                }
                Stage::Keys(class) => {
                    let (seen, stale) = writer.sweep_keys(class)?;
                    self.drift.stale += stale;
                    self.stage = match class {
                        KeyClass::Short => Stage::Keys(KeyClass::Medium),
                        KeyClass::Medium => Stage::Keys(KeyClass::Long),
                        KeyClass::Long => Stage::Endpoints(0),
                    };
                    1 + seen
                }
                Stage::Endpoints(bucket) => {
                    self.stage = if bucket < writer.sink.arrays().endpoint_buckets() {
                        self.drift.stale += writer.sweep_endpoints(bucket);
                        Stage::Endpoints(bucket + 1)
                    } else {
                        Stage::Reverse(0)
                    };
                    ENDPOINT_ENTRIES
                }
                Stage::Reverse(bucket) => {
                    self.stage = if bucket < writer.sink.arrays().reverse_buckets() {
                        self.drift.stale += writer.sweep_reverse(bucket);
                        Stage::Reverse(bucket + 1)
                    } else {
                        Stage::Chunks
                    };
                    REVERSE_SLOTS
                }
                Stage::Chunks => {
                    self.drift.stale += writer.end_pass();
                    writer.count_pass(self.drift);
                    self.stage = Stage::Done;
                    1
                }
                Stage::Done => {
                    self.stage = Stage::Done;
                    return Ok(Progress::Done(self.drift));
                }
            };
            left = left.saturating_sub(cost);
        }
        Ok(match self.stage {
            Stage::Done => Progress::Done(self.drift),
            _ => Progress::More,
        })
    }

    /// One part of the index. Returns how many entries these were.
    fn walk<S: RecordSink>(
        &mut self,
        mut parts: Parts,
        writer: &mut Writer<S>,
        index: &Index,
    ) -> Result<usize, SinkError> {
        let Some(part) = parts.next(index) else {
            self.stage = Stage::Table(0);
            return Ok(1);
        };
        writer.check_part(&part, &mut self.drift)?;
        self.stage = Stage::Index(parts);
        let addresses = part.pointed.map_or(0, |pointed| pointed.addresses.len());
        Ok(1 + part.names.len() + addresses)
    }
}

/// What is stored for a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    Missing,
    Differing,
}

impl<S: RecordSink> Writer<S> {
    /// Makes the maps hold exactly what the index has, in one go: see [`Reconcile`].
    pub fn reconcile(&mut self, index: &Index) -> Result<Drift, SinkError> {
        let mut pass = Reconcile::new();
        loop {
            if let Progress::Done(drift) = pass.step(self, index, usize::MAX)? {
                return Ok(drift);
            }
        }
    }

    fn begin_pass(&mut self) {
        self.filling = self.is_empty();
        let arrays = self.sink.arrays();
        let marks = |buckets: u32, each: usize| vec![false; buckets as usize * each];
        self.marks = Some(Marks {
            hints: marks(arrays.table_buckets(), TABLE_HINTS),
            keys: HashSet::new(),
            endpoints: marks(arrays.endpoint_buckets(), ENDPOINT_ENTRIES),
            reverse: marks(arrays.reverse_buckets(), REVERSE_SLOTS),
        });
        self.sets.extents.begin_pass();
    }

    /// Frees the chunks that nothing names. Returns how many runs of chunks that were.
    fn end_pass(&mut self) -> u64 {
        self.marks = None;
        self.name_chunks.forget_leftovers();
        self.sets.extents.see(&(0..1));
        for chunk in self.name_chunks.all() {
            self.sets.extents.see(&(chunk..chunk + 1));
        }
        let lost = self.sets.extents.end_pass();
        self.publish_counts();
        self.count_hashed();
        lost
    }

    fn count_pass(&self, drift: Drift) {
        let counts = &self.counts;
        if !self.filling {
            counts.drift.fetch_add(drift.total(), Ordering::Relaxed);
        }
        counts.reconciles.fetch_add(1, Ordering::Relaxed);
    }

    /// Corrects what belongs together in one generation: where a Service's record is
    /// written anew, its endpoints may have another number.
    fn check_part(&mut self, part: &Part, drift: &mut Drift) -> Result<(), SinkError> {
        let mut writing = false;
        let checked = part.names.iter().try_for_each(|(name, data)| {
            let wire = name.as_bytes();
            let standing = self.standing(wire, data)?;
            if standing == Standing::Current {
                return Ok(());
            }
            // A name that could not be written is missing for a known reason.
            if !self.failed.contains(wire) && !self.crowded.contains(wire) {
                match standing {
                    Standing::Missing => drift.missing += 1,
                    _ => drift.differing += 1,
                }
            }
            if !std::mem::replace(&mut writing, true) {
                self.begin_writing();
            }
            self.install(wire, Some(data));
            Ok(())
        });
        if writing {
            self.end_writing();
        }
        if let Some(pointed) = &part.pointed {
            self.check_pointed(pointed, drift);
        }
        checked
    }

    /// Compares a name with what is stored, and marks it where it is right.
    fn standing(&mut self, wire: &[u8], data: &NameData) -> Result<Standing, SinkError> {
        let (key, service) = if let Some(name) = EndpointName::new(wire) {
            let Some(service) = self.known_service(name.service)? else {
                return Ok(Standing::Missing);
            };
            if let Some(entry) = name.entry(service, data)
                && let Some(number) =
                    endpoints::find(self.sink.arrays(), &self.config.hash_key, entry)
            {
                if let Some(marks) = &mut self.marks {
                    marks.endpoints[number] = true;
                }
                return Ok(Standing::Current);
            }
            (MapKey::of_endpoint(wire, service), Some(service))
        } else {
            let service = (!is_service(wire)).then_some(0);
            (MapKey::of_name(wire), service)
        };
        // A name without a key is none that anybody can ask for.
        let Some(key) = key else {
            return Ok(Standing::Current);
        };
        let Some(located) = self.locate(&key)? else {
            return Ok(Standing::Missing);
        };
        let record = located.record();
        let is_numbered = match service {
            Some(service) => record.service == service,
            None => record.service != 0,
        };
        let hash_key = &self.config.hash_key;
        let holds = read::holds(self.sink.arrays(), hash_key, &key, &record, &encode(data));
        if !is_numbered || !holds {
            return Ok(Standing::Differing);
        }
        self.mark(&key, &located);
        Ok(Standing::Current)
    }

    fn mark(&mut self, key: &MapKey, located: &Located) {
        let record = located.record();
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        if let Some(extent) = read::extent(arrays, hash_key, key, &record) {
            self.sets.extents.see(&extent);
        }
        let Some(marks) = &mut self.marks else { return };
        match located {
            Located::Table(found) => marks.hints[found.hint()] = true,
            Located::Map(_) => drop(marks.keys.insert(*key)),
        }
    }

    /// Removes the records of a bucket that have no mark. Returns how many these were.
    fn sweep_table(&mut self, bucket: u32) -> u64 {
        let Some(marks) = &self.marks else { return 0 };
        let records = table::records(self.sink.arrays(), bucket);
        let stale = records.filter(|(hint, ..)| !marks.hints[*hint]);
        let stale: Vec<_> = stale.map(|(hint, ..)| hint).collect();
        if !stale.is_empty() {
            self.begin_writing();
            for hint in &stale {
                Table::delete_hint(self.sink.arrays(), *hint);
            }
            self.end_writing();
        }
        stale.len() as u64
    }

    /// Removes the records of a hash map that have no mark. Returns how many records
    /// were there, and how many these were.
    fn sweep_keys(&mut self, class: KeyClass) -> Result<(usize, u64), SinkError> {
        let mut keys = Vec::new();
        if self.config.has_names(class) {
            self.sink.for_each(class, &mut |key, _| keys.push(key))?;
        }
        let all = keys.len();
        if let Some(marks) = &self.marks {
            keys.retain(|key| !marks.keys.contains(key));
        }
        if !keys.is_empty() {
            self.begin_writing();
            let deleted = keys
                .iter()
                .try_for_each(|key| self.sink.delete(key).map(drop));
            self.end_writing();
            deleted?;
        }
        let entries = (all - keys.len()) as u64;
        self.counts.set_entries(MapKind::of_class(class), entries);
        Ok((all, keys.len() as u64))
    }

    /// Removes the endpoints of a bucket that have no mark. Returns how many these were.
    fn sweep_endpoints(&mut self, bucket: u32) -> u64 {
        let Some(marks) = &self.marks else { return 0 };
        let entries = endpoints::entries(self.sink.arrays(), bucket);
        let stale = entries.filter(|(number, _)| !marks.endpoints[*number]);
        let stale: Vec<_> = stale.map(|(number, _)| number).collect();
        if !stale.is_empty() {
            self.begin_writing();
            for number in &stale {
                endpoints::delete(self.sink.arrays(), *number);
            }
            let gone = stale.len() as u64;
            let left = self.counts.entries(MapKind::Endpoints).saturating_sub(gone);
            self.counts.set_entries(MapKind::Endpoints, left);
            self.end_writing();
        }
        stale.len() as u64
    }
}
