//! Tells the programs that the agent lives and what its word is worth.
//!
//! There is no timer here: the loop that applies changes beats. Where it hangs,
//! the beats end, and the programs stop answering when the lease runs out.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headless_ebpf::abi::State;
use rustix::time::{ClockId, clock_gettime};

use super::kind::SinkError;
use super::sink::RecordSink;
use super::writer::Writer;

/// How often the loop beats.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// `CLOCK_MONOTONIC` in nanoseconds: what `bpf_ktime_get_ns` returns.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    );
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Unix time in seconds, as a SOA serial has it.
pub fn unix_serial() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() as u32)
}

/// What a beat says.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Answers may be given until now plus this.
    pub lease: Duration,
    /// Serial of the SOA.
    pub serial: u32,
    /// Whether a name that is not in the maps does not exist, as far as the agent knows.
    pub may_deny: bool,
}

impl<S: RecordSink> Writer<S> {
    /// Moves the deadline forward. Completeness is claimed only while every
    /// write has succeeded.
    pub fn beat(&mut self, beat: Beat) -> Result<(), SinkError> {
        let Beat {
            lease,
            serial,
            may_deny,
        } = beat;
        let now = monotonic_ns();
        let lease = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        let complete = may_deny && self.failed.is_empty();
        self.put_state(State {
            deadline_ns: now.saturating_add(lease),
            serial,
            flags: self.state().flags & !State::COMPLETE
                | if complete { State::COMPLETE } else { 0 },
        })?;
        self.counts.beat_ns.store(now, Ordering::Relaxed);
        Ok(())
    }
}
