//! Applies batches of events to the index.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::reported::Reported;
use super::{EventKind, Mirror, Snapshot};
use crate::maps::heartbeat;
use crate::records::{Index, NameChange, Pointers};
use crate::watch::{Batch, Event, Object, Report};

/// The most events and endpoints that are applied to the index under one lock. Readers of the
/// index wait for one or two milliseconds meanwhile.
const PIECE_MAX: usize = 2048;

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
    /// # Errors
    /// When the source ends before `ready` is complete.
    pub async fn until<T>(
        &mut self,
        ready: impl Future<Output = T>,
        batches: &mut mpsc::Receiver<Batch>,
    ) -> anyhow::Result<T> {
        let mut ready = std::pin::pin!(ready);
        loop {
            let batch = tokio::select! {
                result = &mut ready => return Ok(result),
                batch = batches.recv() => batch.context(SOURCE_ENDED)?,
            };
            self.report(batch.reports);
            for piece in Pieces::new(batch.events) {
                self.apply(piece, Index::absorb);
                yield_now().await;
            }
            self.show();
        }
    }

    /// Collects reports about objects that cannot be served as they are.
    pub(super) fn report(&mut self, reports: Vec<Report>) {
        self.reported.take(reports, &mut self.shown);
    }

    /// Applies events to the index under one lock, so that no reader sees only a part of them.
    /// Returns the changed names and hints.
    pub(super) fn index(&mut self, events: Vec<Event>) -> (Vec<NameChange>, Pointers) {
        self.apply(events, |index, events| {
            (index.apply_all(events), index.take_pointers())
        })
    }

    /// Counts events, and applies them to the index under one lock.
    fn apply<T>(
        &mut self,
        events: Vec<Event>,
        apply: impl FnOnce(&mut Index, Vec<Event>) -> T,
    ) -> T {
        for event in &events {
            if let Some(counted) = EventKind::of(event) {
                *self.shown.events.entry(counted).or_default() += 1;
            }
        }
        let mut index = self.mirror.index.write();
        let before = index.revision();
        let applied = apply(&mut index, events);
        if index.revision() != before {
            index.set_serial(heartbeat::unix_serial());
        }
        applied
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

/// The error that ends the loop.
pub(super) const SOURCE_ENDED: &str = "the source of cluster objects ended";

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
