//! The loop that keeps index, maps, served addresses and heartbeat together.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use super::full_pass::FullPass;
use super::intake::{Intake, SOURCE_ENDED};
use super::served::Served;
use crate::corefile::Left;
use crate::maps::heartbeat::{self, Beat};
use crate::maps::writer::Writer;
use crate::maps::{RecordSink, SinkError, reconcile};
use crate::records::{NameChange, Pointers};
use crate::watch::{Batch, ServiceRef};

/// The most names that are written between two looks at the clock.
const NAMES_AT_ONCE: usize = 256;

/// Time after a full pass in which no other one begins early. A tenant whose names come and go
/// cannot make the loop walk over all maps more often.
const EARLY: Duration = Duration::from_secs(30);

/// The operator's choices for the loop.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long the programs answer after the last heartbeat.
    pub lease: Duration,
    /// How long the source may be silent before negative answers are withheld.
    pub source_max_age_deny: Duration,
    /// The Service of the cluster's DNS, whose addresses are served.
    pub cluster_dns: ServiceRef,
    /// Other served addresses.
    pub listen: Vec<IpAddr>,
}

/// The loop. It applies events to the index, writes changed names to the maps, and beats.
/// Because one loop does all three, heartbeats end when it hangs.
#[derive(Debug)]
pub struct Keeper<S> {
    pub(super) intake: Intake,
    pub(super) writer: Writer<S>,
    pub(super) policy: Policy,
    served: Served,
    /// The full pass that is under way.
    pass: Option<FullPass>,
    /// Time of the last step of a full pass.
    passed: tokio::time::Instant,
    /// Whether the maps have once been equal to an index of the whole cluster.
    pub(super) complete: bool,
    /// Time of the last heartbeat.
    beaten: Instant,
}

impl<S: RecordSink> Keeper<S> {
    /// A loop that continues with the index of `intake`. From now on `/livez` expects
    /// heartbeats.
    pub fn new(intake: Intake, writer: Writer<S>, policy: Policy) -> Self {
        let now = heartbeat::monotonic_ns();
        writer.counts.beat_ns.store(now, Ordering::Relaxed);
        Self {
            intake,
            writer,
            policy,
            served: Served::default(),
            pass: None,
            passed: tokio::time::Instant::now(),
            complete: false,
            beaten: Instant::now(),
        }
    }

    /// Makes the maps equal to the index. Entries of another agent are deleted before the
    /// programs answer any query.
    ///
    /// # Errors
    /// When the maps cannot be read, or the heartbeat cannot be written.
    pub async fn fill(&mut self) -> anyhow::Result<()> {
        self.intake.absorb().await;
        self.serve();
        self.pass = Some(FullPass::default());
        let context = "cannot compare the maps with the index";
        while !self.step().context(context)? {
            self.breathe().await?;
        }
        self.complete = true;
        self.beat()?;
        let services = self.intake.mirror.index().services_end();
        info!(services, "the cluster has been read");
        Ok(())
    }

    /// Runs until the source ends.
    ///
    /// # Errors
    /// When the source has ended, or the heartbeat cannot be written.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        let mut beats = beats();
        let first = tokio::time::Instant::now() + reconcile::INTERVAL;
        let mut passes = tokio::time::interval_at(first, reconcile::INTERVAL);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let large_due = self.intake.large_due();
            tokio::select! {
                batch = batches.recv() => self.take(batch.context(SOURCE_ENDED)?).await?,
                _ = beats.tick() => {
                    // Catching up takes long where many names are tried again.
                    self.beat()?;
                    self.catch_up();
                    self.breathe().await?;
                    if self.passed.elapsed() >= EARLY && self.writer.has_drained() {
                        self.pass.get_or_insert_default();
                    }
                }
                () = large_due => self.settle(None).await?,
                _ = passes.tick() => {
                    self.pass.get_or_insert_default();
                }
                () = std::future::ready(()), if self.pass.is_some() => {
                    if let Err(error) = self.step() {
                        error!(
                            error = &error as &dyn std::error::Error,
                            "cannot compare the maps with the index, next try in {} s",
                            reconcile::INTERVAL.as_secs()
                        );
                    }
                    yield_now().await;
                }
            }
        }
    }

    /// Applies a batch to index and maps, step by step. All of its events come before the first
    /// name, so that an endpoint that moves between slices is never missing.
    pub(super) async fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        let Batch {
            events,
            reports,
            arrived,
            memory: _memory,
        } = batch;
        let arrived = arrived.unwrap_or_else(Instant::now);
        self.intake.report(reports);
        let mut events = events.into_iter();
        while self.intake.take_step(&mut events) {
            // An event of a large Service changes hints at once.
            while let Some(pointers) = self.intake.pointers_step() {
                self.write(&[], &pointers).await?;
            }
            self.breathe().await?;
        }
        self.settle(Some(arrived)).await
    }

    /// Brings names up to date in index and maps: of all small Services, and of one large
    /// Service that is due. `arrived` is the time at which the changes have come, if they are
    /// new.
    async fn settle(&mut self, arrived: Option<Instant>) -> anyhow::Result<()> {
        let mut written = self.settle_small().await?;
        let begun = Instant::now();
        if let Some((number, names)) = self.intake.large_step() {
            written += names.len();
            self.write(&names, &Pointers::default()).await?;
            written += self.settle_small().await?;
            self.intake.rest_large(number, begun.elapsed());
        }
        if self.complete {
            // The addresses of an incomplete list would replace addresses that are served.
            self.serve();
        }
        if written > 0 {
            debug!(names = written, "wrote changed names");
            self.beat()?;
            // The first lists are no changes: their duration depends on the cluster's size.
            if let Some(arrived) = arrived.filter(|_| self.complete) {
                let seconds = arrived.elapsed().as_secs_f64();
                self.intake.mirror.programming.observe(seconds);
            }
        }
        self.intake.show();
        Ok(())
    }

    /// Brings the names of everything but large Services up to date in index and maps. Returns
    /// the number of changed names.
    async fn settle_small(&mut self) -> anyhow::Result<usize> {
        let mut written = 0;
        while let Some((names, pointers)) = self.intake.settle_step() {
            written += names.len();
            self.write(&names, &pointers).await?;
        }
        Ok(written)
    }

    /// Writes changed names and hints to the maps.
    async fn write(&mut self, names: &[NameChange], pointers: &Pointers) -> anyhow::Result<()> {
        for names in names.chunks(NAMES_AT_ONCE) {
            self.writer.write(names, &self.intake.mirror.index.read());
            self.breathe().await?;
        }
        self.writer
            .point(pointers, &self.intake.mirror.index.read());
        self.breathe().await
    }

    /// Makes one step of the full pass that is under way. Returns whether the pass is
    /// complete. A pass ends when a step fails.
    fn step(&mut self) -> Result<bool, SinkError> {
        let Some(mut pass) = self.pass.take() else {
            return Ok(true);
        };
        let index = self.intake.mirror.index.read();
        self.passed = tokio::time::Instant::now();
        let Some(drift) = pass.step(&mut self.writer, &index)? else {
            self.pass = Some(pass);
            return Ok(false);
        };
        if self.complete && drift.total() > 0 {
            warn!(
                ?drift,
                "corrected differences between the maps and the index"
            );
        }
        Ok(true)
    }

    /// Writes changed served addresses to the map.
    pub(super) fn serve(&mut self) {
        let Policy {
            cluster_dns,
            listen,
            ..
        } = &self.policy;
        let index = self.intake.mirror.index.read();
        let mut addresses = index.service_addresses(cluster_dns);
        drop(index);
        let shown = &mut self.intake.shown;
        shown.without_address = addresses.is_empty().then(|| cluster_dns.clone());
        for address in listen {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if let Err(error) = self.served.place(addresses, &mut self.writer, shown) {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot write the served addresses"
            );
        }
    }

    /// Beats if a heartbeat is due, and lets other tasks run. Long work calls this between its
    /// steps.
    async fn breathe(&mut self) -> anyhow::Result<()> {
        if self.beaten.elapsed() >= heartbeat::INTERVAL {
            self.beat()?;
        }
        yield_now().await;
        Ok(())
    }

    /// Tries failed writes again, with the present data of the names.
    pub(super) fn catch_up(&mut self) {
        let index = self.intake.mirror.index.read();
        self.writer.catch_up(&index);
        drop(index);
        if self.complete {
            self.serve();
        }
    }

    /// Beats: moves the deadline of the programs' answers, and says whether they may give
    /// negative answers.
    pub(super) fn beat(&mut self) -> anyhow::Result<()> {
        self.judge_source();
        let report = self.intake.mirror.standing().report();
        let Left { parts, names } = &report.left;
        let index = self.intake.mirror.index.read();
        let beat = Beat {
            lease: self.policy.lease,
            serial: index.serial(),
            may_deny: self.complete && index.may_deny(),
            passes: *parts,
        };
        drop(index);
        self.writer
            .beat_leaving(beat, names)
            .context("cannot write the heartbeat")?;
        self.beaten = Instant::now();
        self.intake.show();
        Ok(())
    }

    /// Decides whether the index is current. It is not if the source has been silent for
    /// longer than negative answers allow.
    fn judge_source(&self) {
        let mirror = &self.intake.mirror;
        let max = self.policy.source_max_age_deny;
        let silence = mirror.source.silence().filter(|it| it.age > max);
        if mirror.index.read().is_current() == silence.is_none() {
            return;
        }
        mirror.index.write().set_current(silence.is_none());
        if let Some(silence) = silence {
            warn!("{silence}: negative answers are withheld until it does");
        } else {
            info!("the API server sends again: negative answers are given again");
        }
    }

    #[cfg(test)]
    pub(super) fn beaten_ago(&mut self, age: Duration) {
        self.beaten -= age;
    }
}

/// Ticks at once, and then whenever a heartbeat is due.
fn beats() -> tokio::time::Interval {
    let mut beats = tokio::time::interval(heartbeat::INTERVAL);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}
