//! The answers of `/livez` and `/readyz`: whether the agent lives, and whether it is ready.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::corefile::standing::Report;
use crate::datapath::snapshot::{Snapshot, Snapshots};
use crate::maps::{WriteCounts, heartbeat};
use crate::mirror::{self, Mirror};
use crate::watch::Kind;
use crate::watch::health::Silence;

/// Time without a heartbeat after which the loop counts as stuck.
pub const STUCK_AFTER: Duration = heartbeat::INTERVAL.saturating_mul(3);

/// The places where stages publish their signs of life.
#[derive(Clone, Debug)]
pub struct Signs {
    /// The index and its loop.
    pub mirror: Arc<Mirror>,
    /// Counters of the writer.
    pub writes: Arc<WriteCounts>,
    /// The programs and the interfaces that carry them.
    pub datapath: Snapshots,
}

impl Signs {
    /// The programs and their interfaces, as they were at the last comparison.
    pub fn datapath(&self) -> Arc<Snapshot> {
        Arc::clone(&self.datapath.borrow())
    }

    /// The signs of life at this moment.
    pub fn vitals(&self) -> Vitals {
        let source = self.mirror.source();
        let beat = self.writes.beat_ns.load(Ordering::Relaxed);
        let age = heartbeat::monotonic_ns().saturating_sub(beat);
        Vitals {
            mirror: self.mirror.snapshot(),
            heartbeat_age: (beat != 0).then(|| Duration::from_nanos(age)),
            source_age: source.age(),
            silence: source.silence(),
            outages: source.outages(),
            attached: self.datapath().compared,
            standing: self.mirror.standing().report(),
        }
    }
}

/// The signs of life at one moment.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// The state that the loop published last.
    pub mirror: Arc<mirror::Snapshot>,
    /// Time since the last heartbeat; `None` where the loop has not begun.
    pub heartbeat_age: Option<Duration>,
    /// How far the agent may be behind the cluster: 0 while every watch runs.
    pub source_age: Duration,
    /// The watch that has been silent for longest.
    pub silence: Option<Silence>,
    /// The last failure of each watch that does not run.
    pub outages: Vec<(Kind, String)>,
    /// Whether the pods that were there at the start have their programs.
    pub attached: bool,
    /// The questions that are left to CoreDNS, with the reasons.
    pub standing: Arc<Report>,
}

impl Vitals {
    /// A sentence for the operator if the loop is stuck.
    pub fn stuck(&self) -> Option<String> {
        let age = self.heartbeat_age.filter(|age| *age >= STUCK_AFTER)?;
        Some(format!(
            "the loop is stuck: no heartbeat for {:.1} s, {} is usual",
            age.as_secs_f64(),
            humantime::format_duration(heartbeat::INTERVAL),
        ))
    }

    /// A sentence for the operator if negative answers are withheld because the source has
    /// been silent for too long.
    pub fn silent(&self) -> Option<String> {
        let silence = self.silence.filter(|_| !self.mirror.current);
        silence.map(|silence| format!("{silence}: negative answers are withheld"))
    }

    /// A line for each thing that keeps the agent from being ready, with the reason where
    /// it is known.
    pub fn unready(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.stuck().into_iter().collect();
        for what in &self.mirror.missing {
            let outages = self.outages.iter();
            let whys = outages.filter(|(kind, _)| kind.resource() == *what);
            let whys: Vec<_> = whys.map(|(_, why)| why.as_str()).collect();
            lines.push(match whys.as_slice() {
                [] => format!("{what} synced"),
                whys => format!("{what} synced: {}", whys.join("; ")),
            });
        }
        lines.extend(self.silent());
        if !self.attached {
            lines.push("programs attached".into());
        }
        lines
    }
}

#[cfg(test)]
mod tests;
