//! The state that the programs read: deadline, completeness, and the generation around writes
//! over names.

use std::collections::BTreeSet;
use std::sync::atomic::{Ordering, fence};

use headless_ebpf::abi::{Config, PASSED_MAX, PassedNames, State};
use tracing::error;

use super::Writer;
use crate::corefile::Part;
use crate::maps::encode::{passed_hashes, passed_names};
use crate::maps::heartbeat::{Beat, monotonic_ns};
use crate::maps::store::{RecordSink, SinkError};

impl<S: RecordSink> Writer<S> {
    /// Begins an odd generation: until [`Self::end_writing`] the programs deny no name,
    /// because a look-up may miss a name that exists ([`State::denies_since`]).
    pub(in crate::maps) fn begin_writing(&mut self) {
        debug_assert!(!self.is_writing());
        self.next_generation();
        // Arrays are written by plain stores. No reader may see one before the generation.
        fence(Ordering::SeqCst);
    }

    /// Begins an even generation: a name that a look-up does not find does not exist, if the
    /// maps are complete.
    pub(in crate::maps) fn end_writing(&mut self) {
        // Every reader that sees the generation sees all stores.
        fence(Ordering::SeqCst);
        self.next_generation();
    }

    /// Makes one write. If it replaces or moves a name that exists, the programs deny nothing
    /// meanwhile, and no look-up that has begun before.
    ///
    /// A name that is new or deleted needs no generation: whether a look-up finds it or not,
    /// the answer is right at some moment of the look-up. So a tenant that makes and deletes
    /// names all the time keeps no other tenant's questions from being denied.
    pub(super) fn write_over<T>(&mut self, exists: bool, write: impl FnOnce(&mut Self) -> T) -> T {
        if !exists || self.is_writing() {
            return write(self);
        }
        self.begin_writing();
        let written = write(self);
        self.end_writing();
        written
    }

    /// Whether an odd generation has begun.
    pub(in crate::maps) fn is_writing(&self) -> bool {
        self.state.flags & State::GENERATION != 0
    }

    fn next_generation(&mut self) {
        let state = self.state.next_generation();
        if let Err(error) = self.put_state(state) {
            // The next write of the state has this generation, too.
            self.state = state;
            error!(
                error = &error as &dyn std::error::Error,
                "cannot tell the programs that a name is written over"
            );
        }
    }

    /// Beats: moves the deadline to the lease from now on. The programs may give negative
    /// answers only if the index holds all names and all writes have succeeded.
    ///
    /// # Errors
    /// When the state cannot be written. The deadline stays.
    pub fn beat(&mut self, beat: Beat) -> Result<(), SinkError> {
        let Beat {
            lease,
            serial,
            may_deny,
            passes,
        } = beat;
        let now = monotonic_ns();
        let lease = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        let is_complete = may_deny && self.failed.is_empty();
        self.put_state(State {
            deadline_ns: now.saturating_add(lease),
            serial,
            flags: self.state.flags & !(State::COMPLETE | State::PASSES | State::PASS_NAMES)
                | if is_complete { State::COMPLETE } else { 0 }
                | passes.bits()
                | self.config.passed.flag(),
        })?;
        self.counts.beat_ns.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Beats, and leaves names of the zone, which are given without the zone, to CoreDNS. Each
    /// question that is left before and after the heartbeat is left at every moment, whichever
    /// write fails: new names come before the state, and old names go after it. While the zone is
    /// left, names stay as they are.
    ///
    /// The zone is left until the next heartbeat where old and new names do not fit together, or
    /// new ones cannot be written.
    ///
    /// # Errors
    /// When the state cannot be written. The deadline stays.
    pub fn beat_leaving(
        &mut self,
        beat: Beat,
        names: &BTreeSet<Box<str>>,
    ) -> Result<(), SinkError> {
        if beat.passes.has(Part::Zone) {
            return self.beat(beat);
        }
        let added = if self.state.flags & State::PASS_ZONE == 0 {
            self.pass_more(names)
        } else {
            self.pass_names(names).map(|()| true)
        };
        let added = added.unwrap_or_else(|error| {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot tell the programs which names are left to CoreDNS: the zone is"
            );
            false
        });
        if !added {
            return self.beat(Beat {
                passes: beat.passes | Part::Zone.into(),
                ..beat
            });
        }
        self.beat(beat)?;
        if let Err(error) = self.pass_names(names) {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot tell the programs which names are not left to CoreDNS any more"
            );
        }
        Ok(())
    }

    /// Passes the questions for exactly these names.
    ///
    /// # Errors
    /// When the settings cannot be written, or the names do not fit.
    pub(in crate::maps) fn pass_names(
        &mut self,
        names: &BTreeSet<Box<str>>,
    ) -> Result<(), SinkError> {
        let passed = passed_names(&self.config, names).ok_or(SinkError::PassedNames);
        let passed = passed.inspect_err(|error| self.counts.failure(error))?;
        self.put_passed(&passed)
    }

    /// Passes the questions for these names, too. Returns whether they fit beside the present
    /// ones.
    fn pass_more(&mut self, names: &BTreeSet<Box<str>>) -> Result<bool, SinkError> {
        let hashes = passed_hashes(&self.config.hash_key, names);
        let mut hashes = hashes
            .filter(|hashes| hashes.len() <= PASSED_MAX)
            .ok_or(SinkError::PassedNames)
            .inspect_err(|error| self.counts.failure(error))?;
        let present = self.config.passed.hashes.into_iter();
        hashes.extend(present.filter(|hash| *hash != 0));
        let Some(passed) = self.config.passed.with(&hashes) else {
            return Ok(false);
        };
        self.put_passed(&passed).map(|()| true)
    }

    fn put_passed(&mut self, passed: &PassedNames) -> Result<(), SinkError> {
        if *passed == self.config.passed {
            return Ok(());
        }
        let config = Config {
            passed: *passed,
            ..self.config
        };
        self.sink
            .put_config(&config)
            .inspect_err(|error| self.counts.failure(error))?;
        self.config = config;
        self.counts.wrote(1);
        Ok(())
    }

    /// Keeps the programs from negative answers until the next heartbeat allows them.
    pub(super) fn withdraw_denials(&mut self) -> Result<(), SinkError> {
        if self.state.flags & State::COMPLETE == 0 {
            return Ok(());
        }
        self.put_state(State {
            flags: self.state.flags & !State::COMPLETE,
            ..self.state
        })
    }

    /// Says whether the programs look for the mark of a namespace before they deny a name.
    pub(super) fn put_yielding(&mut self, yielding: bool) -> Result<(), SinkError> {
        let bit = if yielding { State::YIELDING } else { 0 };
        let flags = self.state.flags & !State::YIELDING | bit;
        if flags == self.state.flags {
            return Ok(());
        }
        self.put_state(State {
            flags,
            ..self.state
        })
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.sink
            .put_state(state)
            .inspect_err(|error| self.counts.failure(error))?;
        self.state = state;
        let counts = &self.counts;
        counts.flags.store(state.flags.into(), Ordering::Relaxed);
        counts.serial.store(state.serial.into(), Ordering::Relaxed);
        Ok(())
    }
}
