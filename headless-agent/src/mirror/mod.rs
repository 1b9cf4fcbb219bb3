//! The cluster as this node knows it, and the loop that keeps index and maps
//! in step with it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use headless_ebpf::abi::{Config, SERVERS_MAX, ServerAddress};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::args::ServiceRef;
use crate::maps::heartbeat::{self, Beat};
use crate::maps::writer::Writer;
use crate::maps::{RecordSink, reconcile};
use crate::records::Index;
use crate::watch::health::Health;
use crate::watch::{Batch, Event, Kind, Problem};

/// Problems that `status` shows.
const PROBLEMS_SHOWN_MAX: usize = 100;

/// Upper bounds of the buckets of the programming duration, in seconds.
const PROGRAMMING_BUCKETS: [f64; 10] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// What happened to an object, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It exists or has changed.
    Apply,
    /// It is gone.
    Delete,
    /// All of its kind were listed.
    List,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Apply, Self::Delete, Self::List];

    /// Label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// What everybody may read while the loop writes: the index, the choices, and
/// what was seen of the cluster.
#[derive(Debug)]
pub struct Mirror {
    index: RwLock<Index>,
    config: Config,
    source: Arc<Health>,
    events: Mutex<BTreeMap<(Kind, Change), u64>>,
    problems: Mutex<Problems>,
    servers: RwLock<Vec<IpAddr>>,
    programming: Histogram,
}

#[derive(Debug, Default)]
struct Problems {
    by_reason: BTreeMap<&'static str, u64>,
    latest: VecDeque<String>,
}

impl Mirror {
    /// An empty one.
    pub fn new(mut index: Index, config: Config) -> Self {
        index.set_serial(heartbeat::unix_serial());
        Self {
            index: RwLock::new(index),
            config,
            source: Arc::default(),
            events: Mutex::default(),
            problems: Mutex::default(),
            servers: RwLock::default(),
            programming: Histogram::new(PROGRAMMING_BUCKETS),
        }
    }

    /// The index. Held only while one question is answered: writers wait.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// The operator's choices.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Serial of the SOA: unix time of the last change.
    pub fn serial(&self) -> u32 {
        self.index.read().serial()
    }

    /// How the source is doing.
    pub fn source(&self) -> &Arc<Health> {
        &self.source
    }

    /// Events since the start, by kind of object and change.
    pub fn events(&self, kind: Kind, change: Change) -> u64 {
        let events = self.events.lock();
        events.get(&(kind, change)).copied().unwrap_or_default()
    }

    /// Problems since the start, by the label of their reason.
    pub fn problem_counts(&self) -> BTreeMap<&'static str, u64> {
        self.problems.lock().by_reason.clone()
    }

    /// What was wrong with objects as they came, latest last.
    pub fn reported(&self) -> Vec<String> {
        self.problems.lock().latest.iter().cloned().collect()
    }

    /// Addresses whose port 53 the programs answer.
    pub fn servers(&self) -> Vec<IpAddr> {
        self.servers.read().clone()
    }

    /// From the arrival of a batch's first change to the last map write that the
    /// batch caused.
    pub fn programming(&self) -> &Histogram {
        &self.programming
    }

    fn count(&self, event: &Event) {
        let counted = match event {
            Event::Apply(object) => (object.reference().kind, Change::Apply),
            Event::Delete(reference) => (reference.kind, Change::Delete),
            Event::Restarted(kind) => (*kind, Change::List),
            Event::Restart(_) => return,
        };
        *self.events.lock().entry(counted).or_default() += 1;
    }

    fn report(&self, problem: &Problem) {
        warn!("{problem}");
        let mut problems = self.problems.lock();
        let count = problems.by_reason.entry(problem.reason.label());
        *count.or_default() += 1;
        if problems.latest.len() == PROBLEMS_SHOWN_MAX {
            problems.latest.pop_front();
        }
        problems.latest.push_back(problem.to_string());
    }
}

/// What the loop needs to know.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long the programs answer after the last heartbeat.
    pub lease: Duration,
    /// The Service of the cluster's own DNS, whose addresses are answered.
    pub cluster_dns: ServiceRef,
    /// Further addresses that are answered.
    pub listen: Vec<IpAddr>,
}

/// The loop: events to the index, changes of names to the maps, and the
/// heartbeat, which therefore ends where the loop hangs.
#[derive(Debug)]
pub struct Keeper<S> {
    mirror: Arc<Mirror>,
    writer: Writer<S>,
    policy: Policy,
    filled: watch::Sender<bool>,
}

impl<S: RecordSink> Keeper<S> {
    /// `filled` becomes true once the source has been read in full and the maps
    /// hold it.
    pub fn new(
        mirror: Arc<Mirror>,
        writer: Writer<S>,
        policy: Policy,
        filled: watch::Sender<bool>,
    ) -> Self {
        Self {
            mirror,
            writer,
            policy,
            filled,
        }
    }

    /// Runs until the source ends, which is an error.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        let mut beats = tokio::time::interval(heartbeat::INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = tokio::time::Instant::now() + reconcile::INTERVAL;
        let mut passes = tokio::time::interval_at(first, reconcile::INTERVAL);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = batches.recv() => {
                    let batch = batch.context("the source of cluster objects ended")?;
                    self.apply(batch)?;
                }
                _ = beats.tick() => {
                    let index = self.mirror.index.read();
                    self.writer.retry(|name| index.detailed(name));
                    drop(index);
                    self.beat()?;
                }
                _ = passes.tick() => self.reconcile()?,
            }
        }
    }

    fn apply(&mut self, batch: Batch) -> anyhow::Result<()> {
        let Batch {
            events,
            problems,
            arrived,
        } = batch;
        let arrived = arrived.unwrap_or_else(Instant::now);
        for problem in &problems {
            self.mirror.report(problem);
        }
        for event in &events {
            self.mirror.count(event);
        }
        let mut index = self.mirror.index.write();
        let before = index.revision();
        // One lock for the batch: no question sees half of it.
        let names = index.apply_all(events);
        let pointers = index.take_pointers();
        let changed = index.revision() != before;
        if changed {
            index.set_serial(heartbeat::unix_serial());
        }
        let synced = index.synced();
        let filling = synced && !*self.filled.borrow();
        drop(index);
        if !changed && !filling {
            return Ok(());
        }
        self.writer.apply(&names);
        self.writer.point(&pointers);
        if synced {
            // Before that, addresses would seem to be gone that are yet to come.
            self.serve()?;
        }
        debug!(names = names.len(), "changes written");
        if filling {
            // Leftovers of an earlier agent go before anybody is answered.
            self.reconcile()?;
        }
        self.beat()?;
        // The first list says how large the cluster is, not how fast this is.
        if !names.is_empty() && synced && !filling {
            self.mirror
                .programming
                .observe(arrived.elapsed().as_secs_f64());
        }
        if filling {
            let names = self.mirror.index.read().names().count();
            info!(names, "the cluster has been read");
            self.filled.send_replace(true);
        }
        Ok(())
    }

    /// Brings the map of served addresses up to date.
    fn serve(&mut self) -> anyhow::Result<()> {
        let Policy {
            cluster_dns,
            listen,
            ..
        } = &self.policy;
        let ServiceRef { namespace, name } = cluster_dns;
        let mut servers = self.mirror.index.read().server_addresses(namespace, name);
        for address in listen {
            if !servers.contains(address) {
                servers.push(*address);
            }
        }
        if servers.len() > SERVERS_MAX as usize {
            warn!(
                addresses = servers.len(),
                "more addresses than can be served, the last ones are left out"
            );
            servers.truncate(SERVERS_MAX as usize);
        }
        if *self.mirror.servers.read() == servers {
            return Ok(());
        }
        let addresses: Vec<_> = servers.iter().copied().map(ServerAddress::from).collect();
        self.writer
            .serve(&addresses)
            .context("cannot write the served addresses")?;
        info!(?servers, "served addresses");
        *self.mirror.servers.write() = servers;
        Ok(())
    }

    fn beat(&mut self) -> anyhow::Result<()> {
        let beat = Beat {
            lease: self.policy.lease,
            serial: self.mirror.serial(),
            synced: self.mirror.index.read().synced(),
        };
        self.writer.beat(beat).context("cannot write the heartbeat")
    }

    fn reconcile(&mut self) -> anyhow::Result<()> {
        let index = self.mirror.index.read();
        let drift = self
            .writer
            .reconcile(
                |name| index.detailed(name),
                index.names(),
                &index.pointers(),
            )
            .context("cannot compare the maps with the index")?;
        drop(index);
        if drift.total() > 0 {
            warn!(?drift, "maps differed from the index");
        }
        self.beat()
    }
}

#[cfg(test)]
mod tests;
