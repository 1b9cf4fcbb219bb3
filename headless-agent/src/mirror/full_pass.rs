//! The full pass: the maps are compared with the index and corrected, step by step.

use tracing::debug;

use crate::maps::reconcile::Drift;
use crate::maps::writer::Writer;
use crate::maps::{RecordSink, SinkError};
use crate::records::Index;

/// A full pass that has begun.
#[derive(Debug, Default)]
pub(super) struct FullPass {
    steps: u32,
}

impl FullPass {
    /// Makes the next step; returns what the whole pass has corrected once it is
    /// complete.
    pub(super) fn step<S: RecordSink>(
        &mut self,
        writer: &mut Writer<S>,
        index: &Index,
    ) -> Result<Option<Drift>, SinkError> {
        self.steps += 1;
        let lookup = |name: &[u8]| index.detailed(name);
        let drift = writer.reconcile(lookup, index.names(), &index.pointers())?;
        debug!(steps = self.steps, "full pass complete");
        Ok(Some(drift))
    }
}
