//! The loop.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use super::full_pass::FullPass;
use super::reported::Reported;
use super::{EventKind, Mirror, Snapshot};
use crate::maps::heartbeat::{self, Beat};
use crate::maps::writer::Writer;
use crate::maps::{RecordSink, SinkError, reconcile};
use crate::records::{NameChange, Pointers};
use crate::watch::{Batch, Event, Object, ServiceRef};

/// How much the index takes in at once: events, and endpoints of slices. Readers of
/// the index wait meanwhile, about a millisecond or two.
const PIECE_MAX: usize = 2048;

/// Names that are written without a look at the time.
const NAMES_AT_ONCE: usize = 256;

/// The operator's choices for the loop.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long the programs answer after the last heartbeat.
    pub lease: Duration,
    /// How long the source may be silent before nothing is denied any more.
    pub source_max_age_deny: Duration,
    /// The Service of the cluster's own DNS, whose addresses are answered.
    pub cluster_dns: ServiceRef,
    /// Further addresses that are answered.
    pub listen: Vec<IpAddr>,
}

/// The loop: events to the index, changes of names to the maps, and the
/// heartbeat, which therefore ends where the loop hangs.
#[derive(Debug)]
pub struct Keeper<S> {
    pub(super) mirror: Arc<Mirror>,
    pub(super) writer: Writer<S>,
    pub(super) policy: Policy,
    filled: watch::Sender<bool>,
    /// What is published next.
    pub(super) shown: Snapshot,
    reported: Reported,
    /// The served addresses as last placed in the map.
    pub(super) placed: Vec<IpAddr>,
    /// The full pass that is under way.
    pass: Option<FullPass>,
    /// Whether the maps have once held the whole cluster and nothing else.
    complete: bool,
    beaten: Instant,
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
        let shown = Snapshot::clone(&mirror.snapshot());
        Self {
            mirror,
            writer,
            policy,
            filled,
            shown,
            reported: Reported::default(),
            placed: Vec::new(),
            pass: None,
            complete: false,
            beaten: Instant::now(),
        }
    }

    /// Runs until the source ends, which is an error.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        // From here on the loop is expected to beat.
        let now = heartbeat::monotonic_ns();
        self.writer.counts.beat_ns.store(now, Ordering::Relaxed);
        let mut beats = tokio::time::interval(heartbeat::INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = tokio::time::Instant::now() + reconcile::INTERVAL;
        let mut passes = tokio::time::interval_at(first, reconcile::INTERVAL);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = batches.recv() => {
                    let batch = batch.context("the source of cluster objects ended")?;
                    self.take(batch).await?;
                }
                _ = beats.tick() => {
                    self.catch_up();
                    self.beat()?;
                }
                _ = passes.tick() => {
                    self.pass.get_or_insert_default();
                }
                () = std::future::ready(()), if self.pass.is_some() => {
                    if let Err(error) = self.step() {
                        error!(
                            error = &error as &dyn std::error::Error,
                            "the maps cannot be compared with the index; tried again in {} s",
                            reconcile::INTERVAL.as_secs()
                        );
                    }
                    yield_now().await;
                }
            }
        }
    }

    /// Takes in a batch, piece by piece.
    pub(super) async fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        let Batch {
            events,
            reports,
            arrived,
        } = batch;
        let arrived = arrived.unwrap_or_else(Instant::now);
        self.reported.take(reports, &mut self.shown);
        let mut written = 0;
        for piece in Pieces::new(events) {
            for event in &piece {
                if let Some(counted) = EventKind::of(event) {
                    *self.shown.events.entry(counted).or_default() += 1;
                }
            }
            let (names, pointers) = self.index(piece);
            written += names.len();
            self.write(&names, &pointers).await?;
        }
        let synced = self.mirror.index().synced();
        let filling = synced && !self.complete;
        if synced {
            // Before that, addresses would seem to be gone that are yet to come.
            self.serve();
        }
        if filling {
            self.fill().await?;
        }
        if written > 0 || filling {
            debug!(names = written, "changes written");
            self.beat()?;
        }
        self.show();
        // The first list says how large the cluster is, not how fast this is.
        if written > 0 && synced && !filling {
            let seconds = arrived.elapsed().as_secs_f64();
            self.mirror.programming.observe(seconds);
        }
        if filling {
            self.filled.send_replace(true);
        }
        Ok(())
    }

    /// Takes events into the index. One lock for all: no question sees half of them.
    fn index(&self, events: Vec<Event>) -> (Vec<NameChange>, Pointers) {
        let mut index = self.mirror.index.write();
        let before = index.revision();
        let names = index.apply_all(events);
        let pointers = index.take_pointers();
        if index.revision() != before {
            index.set_serial(heartbeat::unix_serial());
        }
        (names, pointers)
    }

    async fn write(&mut self, names: &[NameChange], pointers: &Pointers) -> anyhow::Result<()> {
        for names in names.chunks(NAMES_AT_ONCE) {
            self.writer.apply(names);
            self.breathe().await?;
        }
        self.writer.point(pointers);
        self.breathe().await
    }

    /// Ends the first fill: leftovers of an earlier agent go before anybody is
    /// answered.
    async fn fill(&mut self) -> anyhow::Result<()> {
        self.pass.get_or_insert_default();
        let context = "cannot compare the maps with the index";
        while !self.step().context(context)? {
            self.breathe().await?;
        }
        info!(
            services = self.mirror.index().services_end(),
            "the cluster has been read"
        );
        self.complete = true;
        Ok(())
    }

    /// Makes one step of the full pass that is under way. Whether none is left. A pass
    /// that fails is over.
    fn step(&mut self) -> Result<bool, SinkError> {
        let Some(mut pass) = self.pass.take() else {
            return Ok(true);
        };
        let index = self.mirror.index.read();
        let Some(drift) = pass.step(&mut self.writer, &index)? else {
            self.pass = Some(pass);
            return Ok(false);
        };
        if drift.total() > 0 {
            warn!(
                ?drift,
                "the maps differed from the index and were corrected"
            );
        }
        Ok(true)
    }

    /// Lets others run, and beats where it is time: called between the pieces of long
    /// work.
    async fn breathe(&mut self) -> anyhow::Result<()> {
        if self.beaten.elapsed() >= heartbeat::INTERVAL {
            self.beat()?;
        }
        yield_now().await;
        Ok(())
    }

    /// Tries again what could not be written.
    fn catch_up(&mut self) {
        let index = self.mirror.index.read();
        self.writer.retry(|name| index.detailed(name));
        let synced = index.synced();
        drop(index);
        if synced {
            self.serve();
        }
    }

    /// Tells the programs that the agent lives, and whether they may deny.
    pub(super) fn beat(&mut self) -> anyhow::Result<()> {
        self.judge_source();
        let index = self.mirror.index.read();
        let beat = Beat {
            lease: self.policy.lease,
            serial: index.serial(),
            synced: self.complete && index.may_deny(),
        };
        drop(index);
        self.writer
            .beat(beat)
            .context("cannot write the heartbeat")?;
        self.beaten = Instant::now();
        self.show();
        Ok(())
    }

    /// Takes the index for current unless the source has been silent for too long.
    fn judge_source(&self) {
        let max = self.policy.source_max_age_deny;
        let silence = self.mirror.source.silence();
        let silence = silence.filter(|silence| silence.age > max);
        if self.mirror.index.read().is_current() == silence.is_none() {
            return;
        }
        self.mirror.index.write().set_current(silence.is_none());
        if let Some(silence) = silence {
            warn!("{silence}: nothing is denied until it does");
        } else {
            info!("the API server is heard again: negative answers are given");
        }
    }

    #[cfg(test)]
    pub(super) fn beaten_ago(&mut self, age: Duration) {
        self.beaten -= age;
    }

    /// Publishes the state of the loop.
    fn show(&mut self) {
        let index = self.mirror.index.read();
        self.shown.missing = index.missing();
        self.shown.current = index.is_current();
        self.shown.serial = index.serial();
        drop(index);
        self.mirror.publish(&self.shown);
    }
}

/// The events of a batch in pieces of at most [`PIECE_MAX`], or of one event.
pub(super) struct Pieces {
    events: std::iter::Peekable<std::vec::IntoIter<Event>>,
}

impl Pieces {
    pub(super) fn new(events: Vec<Event>) -> Self {
        Self {
            events: events.into_iter().peekable(),
        }
    }

    fn weight(event: &Event) -> usize {
        match event {
            Event::Apply(Object::EndpointSlice(slice)) => 1 + slice.endpoints.len(),
            _ => 1,
        }
    }
}

impl Iterator for Pieces {
    type Item = Vec<Event>;

    fn next(&mut self) -> Option<Vec<Event>> {
        let first = self.events.next()?;
        let mut weight = Self::weight(&first);
        let mut piece = vec![first];
        while let Some(event) = self.events.next_if(|event| {
            weight += Self::weight(event);
            weight <= PIECE_MAX
        }) {
            piece.push(event);
        }
        Some(piece)
    }
}
