//! The stage of the mirror: reads the cluster while the programs are loaded, makes the
//! maps hold it, and follows it.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::datapath::load::{Kernel, Loaded, Programs, Wanted};
use crate::maps::WriteCounts;
use crate::maps::writer::Writer;
use crate::mirror::{Intake, Keeper, Mirror, Policy};
use crate::watch::Batch;

/// What the stage needs.
pub(super) struct Stage {
    /// The index, empty.
    pub(super) mirror: Arc<Mirror>,
    /// Where the writer counts.
    pub(super) writes: Arc<WriteCounts>,
    /// Settings of the loop.
    pub(super) policy: Policy,
    /// What is loaded.
    pub(super) wanted: Wanted,
    /// Where maps and counters can be read, once they are there.
    pub(super) kernel: watch::Sender<Option<Arc<Kernel>>>,
    /// Gets the programs once their maps hold the cluster.
    pub(super) filled: oneshot::Sender<Programs>,
}

impl Stage {
    /// Runs until the source ends, which is an error.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        let Self {
            mirror,
            writes,
            policy,
            wanted,
            kernel,
            filled,
        } = self;
        let seed = wanted.config.seal_seed;
        let loading = spawn_blocking(move || wanted.load());
        let mut intake = Intake::new(mirror);
        let Loaded {
            programs,
            sink,
            kernel: readable,
        } = intake.until(loading, &mut batches).await???;
        kernel.send_replace(Some(readable));
        let mut keeper = Keeper::new(intake, Writer::new(sink, seed, writes), policy);
        keeper.read(&mut batches).await?;
        keeper.fill().await?;
        // Without a receiver the agent is about to stop.
        filled
            .send(programs)
            .ok()
            .context("nobody attaches programs")?;
        keeper.run(batches).await
    }
}
