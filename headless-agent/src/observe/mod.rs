//! What an operator sees: logs, metrics, `status` and `dump`.

pub mod admin;
pub mod client;
pub mod dump;
pub mod log;
pub mod metrics;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use crate::datapath::object::Capacities;
use crate::datapath::snapshot::Snapshots;
use crate::maps::WriteCounts;
use crate::maps::kernel::{KernelCounters, KernelSink};
use crate::mirror::Mirror;
use crate::responder;

/// Everything that can be looked at while the agent runs.
#[derive(Debug)]
pub struct Observed {
    /// The cluster.
    pub mirror: Arc<Mirror>,
    /// What the writer did.
    pub writes: Arc<WriteCounts>,
    /// What the responder did.
    pub responder: Arc<responder::Counts>,
    /// What the programs did.
    pub counters: KernelCounters,
    /// The maps, for reading.
    pub maps: KernelSink,
    /// Room of the maps.
    pub capacities: Capacities,
    /// The programs and the interfaces that carry them.
    pub datapath: Snapshots,
    /// How long the programs answer after the last heartbeat.
    pub lease: Duration,
}
