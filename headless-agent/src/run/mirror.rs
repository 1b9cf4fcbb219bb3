//! The stage of the mirror: reads the cluster while the programs are loaded, fills the maps
//! with its names, and then follows its changes.

use std::sync::Arc;

use anyhow::Context as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::datapath::load::{Kernel, Loaded, Programs, Wanted};
use crate::maps::WriteCounts;
use crate::maps::capacity::{self, EntryCounts};
use crate::maps::writer::Writer;
use crate::mirror::{Intake, Keeper, Mirror, Policy};
use crate::threads::Worker;
use crate::watch::Batch;
use crate::watch::sample::Sample;

/// The parts of the stage.
pub(super) struct Stage {
    /// Samples of the cluster, from which its size is estimated.
    pub(super) samples: BoxFuture<'static, Vec<Sample>>,
    /// The index, empty.
    pub(super) mirror: Arc<Mirror>,
    /// Where the writer counts.
    pub(super) writes: Arc<WriteCounts>,
    /// Settings of the mirror's loop.
    pub(super) policy: Policy,
    /// The settings with which the programs are loaded.
    pub(super) wanted: Wanted,
    /// Most memory in bytes that the maps take.
    pub(super) map_memory: u64,
    /// Loads the programs.
    pub(super) loader: Worker,
    /// Publishes maps and counters for reading, once the programs are loaded.
    pub(super) kernel: watch::Sender<Option<Arc<Kernel>>>,
    /// Gets the programs once their maps hold the cluster.
    pub(super) filled: oneshot::Sender<Programs>,
}

impl Stage {
    /// Runs until the source ends, which is an error.
    pub(super) async fn run(self, batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        let Self {
            samples,
            mirror,
            writes,
            policy,
            wanted,
            map_memory,
            loader,
            kernel,
            filled,
        } = self;
        let mut start = Start {
            intake: Intake::new(Arc::clone(&mirror)),
            mirror,
            batches,
            wanted,
            map_memory,
            loader,
            kernel,
        };
        let Loaded { programs, sink, .. } = start.load(samples).await?;
        let Start {
            intake, batches, ..
        } = start;
        let writer = Writer::open(sink, writes).context("cannot read the maps")?;
        let mut keeper = Keeper::new(intake, writer, policy);
        keeper.fill().await?;
        // Without a receiver the agent is about to stop.
        filled
            .send(programs)
            .ok()
            .context("nobody attaches programs")?;
        keeper.run(batches).await
    }
}

/// The start: the cluster is read and the programs are loaded, side by side.
struct Start {
    mirror: Arc<Mirror>,
    intake: Intake,
    batches: mpsc::Receiver<Batch>,
    wanted: Wanted,
    map_memory: u64,
    loader: Worker,
    kernel: watch::Sender<Option<Arc<Kernel>>>,
}

impl Start {
    /// Reads the whole cluster and loads the programs, with maps that have room for it.
    ///
    /// The verifier takes a second or more, so loading begins as soon as the cluster's
    /// size is known from samples. If the samples have misled, the programs are loaded a
    /// second time once the cluster has been read.
    async fn load(&mut self, samples: BoxFuture<'static, Vec<Sample>>) -> anyhow::Result<Loaded> {
        let mirror = Arc::clone(&self.mirror);
        let first_look = async {
            tokio::select! {
                biased;
                () = mirror.read() => None,
                samples = samples => Some(samples),
            }
        };
        let samples = self.intake.until(first_look, &mut self.batches).await?;
        let mirror = Arc::clone(&self.mirror);
        let estimated = spawn_blocking(move || match samples {
            Some(samples) => {
                let settings = mirror.index().settings().clone();
                EntryCounts::estimated(samples, &settings)
            }
            None => EntryCounts::of(&mirror.index()),
        });
        let estimated = self.intake.until(estimated, &mut self.batches).await??;
        let loaded = self.load_for(&estimated).await?;
        let mirror = Arc::clone(&self.mirror);
        self.intake.until(mirror.read(), &mut self.batches).await?;
        let counts = spawn_blocking(move || EntryCounts::of(&mirror.index())).await?;
        if let Some(left_out) = capacity::capacities(&counts, self.map_memory).left_out {
            warn!(
                bound = self.map_memory,
                "not everything fits into the bound of the maps' memory: {left_out}"
            );
        }
        if capacity::suffice(&loaded.kernel.capacities, &counts, self.map_memory) {
            return Ok(loaded);
        }
        info!(
            ?counts,
            ?estimated,
            "the cluster is larger than its first pages let expect: the programs are loaded \
             again, with larger maps"
        );
        // The new maps may take the memory of the old ones.
        self.kernel.send_replace(None);
        drop(loaded);
        self.load_for(&counts).await
    }

    /// Loads the programs, with maps for a cluster of this size.
    async fn load_for(&mut self, counts: &EntryCounts) -> anyhow::Result<Loaded> {
        let capacities = capacity::capacities(counts, self.map_memory).capacities;
        let wanted = self.wanted.clone();
        let thread = self.loader.clone();
        let loading = thread.call(move || wanted.load(capacities));
        let loaded = self.intake.until(loading, &mut self.batches).await???;
        self.kernel.send_replace(Some(Arc::clone(&loaded.kernel)));
        Ok(loaded)
    }
}
