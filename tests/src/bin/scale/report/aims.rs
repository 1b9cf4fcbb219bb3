//! Figures with a limit. Limits are shown as met or not, and fail nothing.

use serde::Serialize;

use crate::peers::{Agent, CoreDns};

/// A figure and its limit.
#[derive(Debug, Serialize)]
pub(super) struct Aim {
    pub(super) what: &'static str,
    pub(super) value: f64,
    pub(super) limit: f64,
    pub(super) met: bool,
}

impl Aim {
    fn new(what: &'static str, value: f64, limit: f64) -> Self {
        Self {
            what,
            value,
            limit,
            met: value <= limit,
        }
    }
}

/// The most memory of the agent and its maps in a small cluster, in MB.
const SMALL_MB: f64 = 16.0;

/// The aims for a small cluster.
pub(super) fn small(agent: &Agent) -> Vec<Aim> {
    let memory = agent.common.memory_settled.anonymous + agent.maps_charged;
    let memory = memory as f64 / 1e6;
    vec![Aim::new("RssAnon and maps, MB", memory, SMALL_MB)]
}

/// The aims for a large cluster, all relative to CoreDNS.
pub(super) fn large(agent: &Agent, coredns: &CoreDns) -> Vec<Aim> {
    let (ours, theirs) = (&agent.common, &coredns.common);
    let memory = (ours.memory_settled.rss + agent.maps_charged) as f64;
    let ratios = [
        (
            "VmRSS and maps after loading",
            memory / theirs.memory_settled.rss as f64,
            0.25,
        ),
        (
            "processor time until ready",
            ours.sync_cpu / theirs.sync_cpu,
            0.6,
        ),
        ("time until ready", ours.sync / theirs.sync, 1.0),
        (
            "change in the largest Service, processor time",
            ours.large_cpu / theirs.large_cpu,
            1.0,
        ),
        (
            "change in the largest Service, p50",
            ours.large.p50 / theirs.large.p50,
            2.0,
        ),
        (
            "single change, processor time",
            ours.steady_cpu / theirs.steady_cpu,
            0.4,
        ),
    ];
    let aims = ratios.map(|(what, value, limit)| Aim::new(what, value, limit));
    aims.into()
}
