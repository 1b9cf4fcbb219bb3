//! The Services whose names are behind their objects, and their turns.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

/// Most entries of a Service that is settled at once. A Service with more is large.
pub(super) const SMALL_MAX: usize = 1024;

/// A Service that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) number: u32,
    /// Its place in the order in which the Services have begun to wait.
    ticket: u64,
}

/// The Services whose names are behind their objects.
///
/// A change of a large Service costs as much as all of its entries, so large Services have a
/// queue of their own, and each rests in between. Otherwise a few of them could take the time of
/// all others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Services that have not had a turn, in the order of their tickets.
    new: VecDeque<Waiting>,
    /// Large Services by the time from which they may be settled, and by their tickets.
    large: BTreeMap<(Instant, u64), u32>,
    /// The tickets of the large Services.
    tickets: BTreeSet<u64>,
    /// The ends of the large Services' rests. Old ones are removed with the next rest.
    rests: HashMap<u32, Instant>,
    /// The next ticket.
    next: u64,
}

impl Queue {
    /// Adds a Service, which must not wait already.
    pub(super) fn push(&mut self, number: u32) {
        let ticket = self.next;
        self.next += 1;
        self.new.push_back(Waiting { number, ticket });
    }

    /// The next Service that has not had a turn.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.new.pop_front()
    }

    /// Puts a Service that has been popped at `now` to the large ones.
    pub(super) fn put_large(&mut self, waiting: Waiting, now: Instant) {
        let Waiting { number, ticket } = waiting;
        let rested = self.rests.get(&number).copied();
        let due = rested.map_or(now, |rested| rested.max(now));
        self.large.insert((due, ticket), number);
        self.tickets.insert(ticket);
    }

    /// The next large Service that is due at `now`; whether due or not without `now`.
    pub(super) fn pop_large(&mut self, now: Option<Instant>) -> Option<u32> {
        let first = self.large.first_entry()?;
        let (due, ticket) = *first.key();
        if now.is_some_and(|now| due > now) {
            return None;
        }
        self.tickets.remove(&ticket);
        Some(first.remove())
    }

    /// A large Service rests until `end`.
    pub(super) fn rest(&mut self, number: u32, now: Instant, end: Instant) {
        self.rests.retain(|_, end| *end > now);
        self.rests.insert(number, end);
    }

    /// The time from which the next large Service may be settled.
    pub(super) fn due(&self) -> Option<Instant> {
        self.large.keys().next().map(|(due, _)| *due)
    }

    /// The ticket of the next Service that begins to wait.
    pub(super) fn next_ticket(&self) -> u64 {
        self.next
    }

    /// Whether no Service with a smaller ticket waits.
    pub(super) fn is_past(&self, ticket: u64) -> bool {
        let new = self.new.front().map(|waiting| waiting.ticket);
        let oldest = new.into_iter().chain(self.tickets.first().copied()).min();
        oldest.is_none_or(|oldest| oldest >= ticket)
    }

    /// Whether a Service waits that has not had a turn.
    pub(super) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Whether no Service waits.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.large.is_empty()
    }
}
