//! The full pass, step by step: see [`crate::maps::reconcile`].

use tracing::debug;

use crate::maps::reconcile::{Drift, Progress, Reconcile};
use crate::maps::writer::Writer;
use crate::maps::{RecordSink, SinkError};
use crate::records::Index;

/// A full pass that has begun.
#[derive(Debug, Default)]
pub(super) struct FullPass {
    pass: Reconcile,
    steps: u32,
}

/// Entries that one step looks at. A step of regular endpoints takes about a millisecond.
const ENTRIES_AT_ONCE: usize = 1024;

impl FullPass {
    /// Makes the next step. Returns the corrected differences once the pass is complete.
    ///
    /// # Errors
    /// When the maps cannot be read. The pass cannot go on then.
    pub(super) fn step<S: RecordSink>(
        &mut self,
        writer: &mut Writer<S>,
        index: &Index,
    ) -> Result<Option<Drift>, SinkError> {
        self.steps += 1;
        let Progress::Done(drift) = self.pass.step(writer, index, ENTRIES_AT_ONCE)? else {
            return Ok(None);
        };
        debug!(steps = self.steps, "full pass complete");
        Ok(Some(drift))
    }
}
