//! The full pass: all maps are compared with the index and corrected.
//!
//! Changes are written as they arrive. The full pass finds the other differences: entries of
//! another agent, writes that were lost, and changes by other programs, such as `bpftool`.
//!
//! A pass takes many steps, and index and maps may change between them. First the pass walks
//! over the index: it corrects entries that are missing or differ, and marks entries that
//! are right. All writes of the writer set marks, too. Then the pass walks over the maps and
//! deletes entries without a mark.
//!
//! A pass that begins with empty maps only writes: it looks up nothing, and nothing can be
//! stale.

mod check;
mod drift;
mod returns;
mod sweep;

use std::time::Duration;

use headless_ebpf::abi::{ENDPOINT_ENTRIES, KeyClass, REVERSE_SLOTS, TABLE_HINTS};

pub use self::drift::Drift;
use super::place::table::Table;
use super::store::{RecordSink, SinkError};
use super::writer::Writer;
use crate::records::{Index, Parts};

/// Time between two full passes.
pub const INTERVAL: Duration = Duration::from_mins(5);

/// The outcome of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The pass is not complete.
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

/// The part of the maps that the pass looks at next. A number is the number of a bucket.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Start,
    Index(Parts),
    Table(u32),
    Map(KeyClass),
    Endpoints(u32),
    Reverse(u32),
    Chunks,
    Done,
}

impl Reconcile {
    /// A pass that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues the pass until it has looked at about `budget` entries. A Service is one
    /// piece, and so is a hash map, however many entries they have.
    ///
    /// # Errors
    /// When the maps cannot be read. The writer remembers failed writes, which are no errors
    /// here.
    pub fn step<S: RecordSink>(
        &mut self,
        writer: &mut Writer<S>,
        index: &Index,
        budget: usize,
    ) -> Result<Progress, SinkError> {
        let progress = self.advance(writer, index, budget);
        writer.end_filling();
        progress
    }

    /// Makes a step. A generation that it has begun is left to the caller to end.
    fn advance<S: RecordSink>(
        &mut self,
        writer: &mut Writer<S>,
        index: &Index,
        budget: usize,
    ) -> Result<Progress, SinkError> {
        let mut left = budget;
        while left > 0 {
            let (next, cost) = match std::mem::take(&mut self.stage) {
                Stage::Start => {
                    writer.begin_pass();
                    (Stage::Index(Parts::default()), 1)
                }
                Stage::Index(parts) => self.walk(parts, writer, index)?,
                Stage::Done => {
                    self.stage = Stage::Done;
                    break;
                }
                stage => self.sweep(stage, writer)?,
            };
            self.stage = next;
            left = left.saturating_sub(cost);
        }
        Ok(match self.stage {
            Stage::Done => Progress::Done(self.drift),
            _ => Progress::More,
        })
    }

    /// Compares one part of the index with the maps. Returns the next stage, and how many
    /// entries the part has.
    fn walk<S: RecordSink>(
        &mut self,
        mut parts: Parts,
        writer: &mut Writer<S>,
        index: &Index,
    ) -> Result<(Stage, usize), SinkError> {
        let Some(part) = parts.next(index) else {
            let next = if writer.filling {
                Stage::Chunks
            } else {
                Stage::Table(0)
            };
            return Ok((next, 1));
        };
        writer.check_part(&part, index, &mut self.drift)?;
        let addresses = part.pointed.map_or(0, |pointed| pointed.addresses.len());
        let names = part.names.len() + part.regular.len();
        Ok((Stage::Index(parts), 1 + names + addresses))
    }

    /// Deletes entries without a mark: of one bucket, of one hash map, or all chunks. Returns
    /// the next stage, and how many entries were looked at.
    fn sweep<S: RecordSink>(
        &mut self,
        stage: Stage,
        writer: &mut Writer<S>,
    ) -> Result<(Stage, usize), SinkError> {
        let arrays = writer.sink.arrays();
        Ok(match stage {
            Stage::Table(bucket) if bucket < arrays.table_buckets() => {
                self.drift.stale += writer.sweep_table(bucket);
                (Stage::Table(bucket + 1), TABLE_HINTS)
            }
            Stage::Table(_) => {
                // Finds the slots of deleted hints.
                writer.table = Table::open(arrays);
                (Stage::Map(KeyClass::Short), TABLE_HINTS)
            }
            Stage::Map(class) => {
                let (entries, deleted) = writer.sweep_map(class)?;
                self.drift.stale += deleted;
                let next = match class {
                    KeyClass::Short => Stage::Map(KeyClass::Medium),
                    KeyClass::Medium => Stage::Map(KeyClass::Long),
                    KeyClass::Long => Stage::Endpoints(0),
                };
                (next, 1 + entries)
            }
            Stage::Endpoints(bucket) if bucket < arrays.endpoint_buckets() => {
                self.drift.stale += writer.sweep_endpoints(bucket);
                (Stage::Endpoints(bucket + 1), ENDPOINT_ENTRIES)
            }
            Stage::Endpoints(_) => (Stage::Reverse(0), 1),
            Stage::Reverse(bucket) if bucket < arrays.reverse_buckets() => {
                self.drift.stale += writer.sweep_reverse(bucket);
                (Stage::Reverse(bucket + 1), REVERSE_SLOTS)
            }
            Stage::Reverse(_) => (Stage::Chunks, 1),
            Stage::Chunks => {
                self.drift.stale += writer.end_pass();
                writer.count_pass(self.drift);
                (Stage::Done, 1)
            }
            other => (other, 1),
        })
    }
}

impl<S: RecordSink> Writer<S> {
    /// Makes a whole full pass at once.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn reconcile(&mut self, index: &Index) -> Result<Drift, SinkError> {
        let mut pass = Reconcile::new();
        loop {
            if let Progress::Done(drift) = pass.step(self, index, usize::MAX)? {
                return Ok(drift);
            }
        }
    }
}
