//! Applies batches of events to the index.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::reported::Reported;
use super::{EventKind, Mirror, Snapshot};
use crate::maps::heartbeat;
use crate::records::{NameChange, Pointers};
use crate::watch::{Batch, Event, Report};

/// The most work ([`Index::work`](crate::records::Index::work)) of one step under the lock of the index, unless a single
/// Service or slice needs more. Readers of the index wait for one or two milliseconds meanwhile.
pub(super) const WORK_MAX: usize = 4096;

/// How many times as long as its change a large Service rests, so that one which changes all the
/// time takes at most a tenth of the loop's time. The time is measured, because a change of one of
/// 5,000 endpoints takes half a millisecond, and one of 16,384 entries at once takes 25.
const RESTS: u32 = 9;

/// The longest rest of a large Service.
const REST_MAX: Duration = Duration::from_secs(1);

/// Applies events to the index, counts them, and collects the problems of objects.
#[derive(Debug)]
pub struct Intake {
    pub(super) mirror: Arc<Mirror>,
    /// The state that is published next.
    pub(super) shown: Snapshot,
    reported: Reported,
}

impl Intake {
    /// An intake for the index of `mirror`.
    pub fn new(mirror: Arc<Mirror>) -> Self {
        Self {
            shown: Snapshot::clone(&mirror.snapshot()),
            mirror,
            reported: Reported::default(),
        }
    }

    /// Applies batches to the index until `ready` is complete, and returns the result of
    /// `ready`. So the agent reads the cluster while the maps are made.
    ///
    /// Names are made when no batch waits. So a Service whose slices come in many batches is
    /// merged once.
    ///
    /// # Errors
    /// When the source ends before `ready` is complete.
    pub async fn until<T>(
        &mut self,
        ready: impl Future<Output = T>,
        batches: &mut mpsc::Receiver<Batch>,
    ) -> anyhow::Result<T> {
        let mut ready = std::pin::pin!(ready);
        loop {
            let unsettled = self.mirror.index().is_unsettled();
            let batch = tokio::select! {
                biased;
                result = &mut ready => return Ok(result),
                batch = batches.recv() => batch.context(SOURCE_ENDED)?,
                () = yield_now(), if unsettled => {
                    if !self.absorb_step() {
                        self.show();
                    }
                    continue;
                }
            };
            let Batch {
                events,
                reports,
                arrived: _,
                memory: _memory,
            } = batch;
            self.report(reports);
            let mut events = events.into_iter();
            while self.take_step(&mut events) {
                self.mirror.index.write().forget_changes();
                yield_now().await;
            }
            self.show();
        }
    }

    /// Brings some names up to date, without their changes. Returns whether others are left.
    fn absorb_step(&mut self) -> bool {
        let mut index = self.mirror.index.write();
        let more = index.settle(WORK_MAX, None);
        index.forget_changes();
        more
    }

    /// Brings all names up to date, without their changes.
    pub(super) async fn absorb(&mut self) {
        while self.absorb_step() {
            yield_now().await;
        }
    }

    /// Collects reports about objects that cannot be served as they are.
    pub(super) fn report(&mut self, reports: Vec<Report>) {
        self.reported.take(reports, &mut self.shown);
    }

    /// Takes some events into the index, and counts them. Returns whether some are left.
    pub(super) fn take_step(&mut self, events: &mut impl Iterator<Item = Event>) -> bool {
        let counts = &mut self.shown.events;
        let mut counted = events.inspect(|event| {
            if let Some(counted) = EventKind::of(event) {
                *counts.entry(counted).or_default() += 1;
            }
        });
        let mut index = self.mirror.index.write();
        let before = index.revision();
        let more = index.take(&mut counted, WORK_MAX);
        if index.revision() != before {
            index.set_serial(heartbeat::unix_serial());
        }
        more
    }

    /// Brings some names up to date, but none of large Services. Returns the changed names and
    /// hints; `None` where nothing is left.
    pub(super) fn settle_step(&mut self) -> Option<(Vec<NameChange>, Pointers)> {
        let mut index = self.mirror.index.write();
        let mut names = Vec::new();
        if index.has_pointers() {
            // No more hints wait than one step has left over.
        } else if index.is_ready() {
            index.settle_small(WORK_MAX, now(), Some(&mut names));
        } else {
            return None;
        }
        Some((names, index.take_pointers_within(WORK_MAX)))
    }

    /// Brings the names of one large Service up to date that is due. Returns its number for
    /// [`Self::rest_large`], and the changed names; their hints follow with
    /// [`Self::settle_step`].
    pub(super) fn large_step(&mut self) -> Option<(u32, Vec<NameChange>)> {
        let mut names = Vec::new();
        let mut index = self.mirror.index.write();
        let number = index.settle_large(now(), Some(&mut names))?;
        Some((number, names))
    }

    /// Lets a large Service rest whose change took this time.
    pub(super) fn rest_large(&mut self, number: u32, took: Duration) {
        let (now, rest) = (now(), (took * RESTS).min(REST_MAX));
        let mut index = self.mirror.index.write();
        index.rest_large(number, now, now + rest);
    }

    /// Waits until a large Service is due; for ever if none waits.
    pub(super) fn large_due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.mirror.index().large_due();
        async move {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Returns some changed hints.
    pub(super) fn pointers_step(&mut self) -> Option<Pointers> {
        let mut index = self.mirror.index.write();
        let changed = index.has_pointers();
        changed.then(|| index.take_pointers_within(WORK_MAX))
    }

    /// Publishes the state.
    pub(super) fn show(&mut self) {
        let index = self.mirror.index.read();
        self.shown.missing = index.missing();
        self.shown.current = index.is_current();
        self.shown.serial = index.serial();
        drop(index);
        self.mirror.publish(&self.shown);
    }
}

/// The time on the clock of the runtime, which tests can set.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// The error that ends the loop.
pub(super) const SOURCE_ENDED: &str = "the source of cluster objects ended";
