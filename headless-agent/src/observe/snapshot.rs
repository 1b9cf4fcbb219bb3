//! The state of the running agent as one plain value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use headless_ebpf::abi::Path;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::policy::Policy;
use super::probes::{Signs, Vitals};
use super::tally::{AGENT, Tally};
use crate::corefile::standing::Report;
use crate::datapath;
use crate::datapath::load::Kernel;
use crate::maps::MapKind;
use crate::policy::Decision;
use crate::records::EndpointScope;
use crate::responder;
use crate::watch::Kind;
use crate::watch::choice::Choice;
use crate::watch::health::{FailureReason, Health};

/// The places where the stages publish, and the maps and counters of the kernel.
#[derive(Debug)]
pub struct Sources {
    /// Signs of life of the loop and the data path.
    pub signs: Signs,
    /// Counters of the responder.
    pub responder: Arc<responder::ResponderCounts>,
    /// Counters and maps, once they are there.
    pub kernel: watch::Receiver<Option<Arc<Kernel>>>,
    /// The decision about the node's pods.
    pub policy: Policy,
    /// The watch of the Corefile.
    pub corefile: Arc<Health>,
    /// How long the programs answer after the last heartbeat.
    pub lease: Duration,
    /// When the agent started.
    pub started: Instant,
}

/// The agent at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Signs of life.
    pub vitals: Vitals,
    /// Failed requests to the API server, by kind and reason.
    pub failures: Vec<(Kind, FailureReason, u64)>,
    /// Counted answers and passes, by label of the program, or of the agent.
    pub tallies: Vec<(&'static str, Tally)>,
    /// Messages to the responder that the engine passed, by result.
    pub messages: Messages,
    /// Results of the writer's writes.
    pub writes: Writes,
    /// Use of every map.
    pub maps: BTreeMap<MapKind, Map>,
    /// The programs and their interfaces, as they were at the last comparison.
    pub datapath: Arc<datapath::snapshot::Snapshot>,
    /// The decision about the node's pods.
    pub policy: Arc<Decision>,
    /// How long the programs answer after the last heartbeat.
    pub lease: Duration,
    /// Time since the agent started.
    pub uptime: Duration,
    /// The Services whose endpoints the agent knows.
    pub endpoints: Endpoints,
    /// The questions that are left to CoreDNS, with the reasons.
    pub standing: Arc<Report>,
}

/// The Services whose endpoints the agent knows.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// Which Services they are.
    pub scope: EndpointScope,
    /// The choice at the start, where the cluster's size has decided.
    pub choice: Option<Choice>,
    /// Number of EndpointSlices that the agent knows.
    pub slices: u64,
}

/// A map.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Map {
    /// Number of entries.
    pub entries: u64,
    /// The most entries that the map can hold.
    pub capacity: u64,
    /// Estimate of its kernel memory in bytes.
    pub bytes: u64,
}

/// Messages to the responder that the engine passed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages {
    /// Answered by the rules outside the engine.
    pub resolved: u64,
    /// Refused: another server would have to answer.
    pub refused: u64,
    /// Without an answer: no queries, or no DNS at all.
    pub ignored: u64,
    /// With a reply that could not be sent.
    pub unsent: u64,
}

/// Results of the writer's writes.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// Writes that succeeded.
    pub written: u64,
    /// Writes that failed for want of capacity.
    pub full: u64,
    /// Writes that failed otherwise.
    pub failed: u64,
    /// Names whose last write failed and that are tried again.
    pub pending: u64,
    /// Names whose addresses find no room and that userspace answers.
    pub crowded: u64,
    /// Services whose names or reverse names yield, and that userspace answers.
    pub yielding_services: u64,
    /// Namespaces with names that yield.
    pub yielding_namespaces: u64,
    /// The first of these namespaces.
    pub yielding: Vec<String>,
    /// Entries that a full pass found to differ from the index.
    pub drift: u64,
    /// Whether the programs may give negative answers.
    pub complete: bool,
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Sources {
    /// Counters and maps.
    ///
    /// # Errors
    /// While the programs are being loaded.
    pub fn kernel(&self) -> anyhow::Result<Arc<Kernel>> {
        let kernel = self.kernel.borrow().clone();
        kernel.context("the programs are being loaded, there are no maps yet")
    }

    /// The state of the whole agent at this moment.
    ///
    /// # Errors
    /// Where the kernel does not let the counters be read.
    pub fn look(&self) -> anyhow::Result<Snapshot> {
        let source = self.signs.mirror.source();
        let failures = Kind::WATCHED.into_iter().flat_map(|kind| {
            let reasons = FailureReason::ALL.into_iter();
            reasons.map(move |reason| {
                let all = [source, &self.policy.health, &self.corefile];
                let counts = all.map(|it| it.failures(kind, reason));
                (kind, reason, counts.iter().sum())
            })
        });
        let counts = &self.responder;
        Ok(Snapshot {
            vitals: self.signs.vitals(),
            failures: failures.collect(),
            tallies: self.tallies()?,
            messages: Messages {
                resolved: load(&counts.resolved),
                refused: load(&counts.refused),
                ignored: load(&counts.ignored),
                unsent: load(&counts.unsent),
            },
            writes: self.writes(),
            maps: self.map_usage(),
            datapath: self.signs.datapath(),
            policy: Arc::clone(&self.policy.decisions.borrow()),
            lease: self.lease,
            uptime: self.started.elapsed(),
            endpoints: self.endpoints(),
            standing: self.signs.mirror.standing().report(),
        })
    }

    fn endpoints(&self) -> Endpoints {
        let mirror = &self.signs.mirror;
        let index = mirror.index();
        Endpoints {
            scope: index.settings().endpoints,
            choice: mirror.choice().copied(),
            slices: index.slices(),
        }
    }

    fn writes(&self) -> Writes {
        let writes = &self.signs.writes;
        Writes {
            written: load(&writes.written),
            full: load(&writes.full),
            failed: load(&writes.failed),
            pending: load(&writes.pending),
            crowded: load(&writes.crowded),
            yielding_services: load(&writes.yielding_services),
            yielding_namespaces: load(&writes.yielding_namespaces),
            yielding: writes.yielding(),
            drift: load(&writes.drift),
            complete: writes.complete(),
        }
    }

    fn tallies(&self) -> anyhow::Result<Vec<(&'static str, Tally)>> {
        let kernel = match &*self.kernel.borrow() {
            Some(kernel) => kernel.counters.read().context("cannot read the counters")?,
            None => Vec::new(),
        };
        let paths = Path::ALL.iter();
        let mut tallies: Vec<_> = paths
            .map(|path| (path.label(), Tally::of(*path, &kernel)))
            .collect();
        tallies.push((AGENT, Tally::of(Path::Xdp, &self.responder.read())));
        Ok(tallies)
    }

    /// TCP connections to served addresses, by index of the interface.
    ///
    /// # Errors
    /// Where the kernel does not let the counts be read.
    pub fn connections(&self) -> anyhow::Result<BTreeMap<u32, u64>> {
        let context = "cannot read the counts of TCP connections";
        match &*self.kernel.borrow() {
            Some(kernel) => kernel.connections.read().context(context),
            None => Ok(BTreeMap::new()),
        }
    }

    fn map_usage(&self) -> BTreeMap<MapKind, Map> {
        let Ok(kernel) = self.kernel() else {
            return BTreeMap::new();
        };
        let usage = |map: MapKind| {
            let entries = self.signs.writes.entries(map);
            let usage = Map {
                entries,
                capacity: kernel.capacities.entries(map),
                bytes: kernel.capacities.bytes(map, entries),
            };
            (map, usage)
        };
        MapKind::ALL.into_iter().map(usage).collect()
    }
}
