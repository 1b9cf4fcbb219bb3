//! The heartbeat: a write to `STATE` that moves the deadline of the programs' answers.
//!
//! This module has no timer. The loop that writes the records also beats. So the
//! heartbeats end when the loop hangs, and the programs stop answering at the deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::corefile::Parts;
use rustix::time::{ClockId, clock_gettime};

/// Time between two heartbeats.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// `CLOCK_MONOTONIC` in nanoseconds, which programs read with `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    );
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Unix time in seconds, for the serial of the zone's SOA record.
pub fn unix_serial() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() as u32)
}

/// Content of a heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// How long from now on the programs may answer.
    pub lease: Duration,
    /// Serial of the zone's SOA record.
    pub serial: u32,
    /// Whether the index holds all names of the cluster as it is now.
    pub may_deny: bool,
    /// The parts of the questions that are left to CoreDNS.
    pub passes: Parts,
}
