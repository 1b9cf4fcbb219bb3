//! Round trips of one question at a time, for each path of a query.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sched::CpuSet;
use serde::Serialize;
use serde_json::Value;

use super::extent::Extent;
use super::site::{COREDNS, Site, UNSERVED};
use crate::bench::cluster::{Question, SERVICES_SMALL};
use crate::bench::served::counted;
use crate::figures::{median, number, ratio};
use crate::lab::network::Netns;
use crate::latency::{self, Client, Target};

/// Number of queries of a path before its first round.
const WARM_UP: u32 = 500;

/// The paths of a query, the floor first.
const PATHS: [&str; 5] = [
    "bare XDP reflection",
    "headless --hook xdp",
    "headless --hook tc",
    "headless's agent",
    "CoreDNS",
];

/// The figures of one question on one path.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) question: &'static str,
    pub(crate) path: &'static str,
    /// The program or process that gave the answers, by the agent's counters. It may differ
    /// from the path, because the agent answers questions that a program passes.
    pub(crate) answered_by: &'static str,
    /// Medians of the rounds' quantiles in microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Medians of the rounds' ratios to bare reflection.
    pub(crate) p50_ratio: f64,
    pub(crate) p99_ratio: f64,
}

/// The quantiles of each round of one path, in microseconds.
#[derive(Debug, Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Measures each question in alternating rounds. The client and the process that answers
/// run on `cpus`.
///
/// # Errors
/// When an answer is missing or wrong.
pub(crate) async fn measure(site: &Site, extent: Extent, cpus: &CpuSet) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for question in Question::ALL {
        let target = |server| question.target(server, SERVICES_SMALL);
        let from = |netns: &Arc<Netns>, target| (Arc::clone(netns), target);
        let asked = [
            from(site.floor.netns(), target(site.xdp.server)?.reflected()),
            from(site.xdp.pod.netns(), target(site.xdp.server)?),
            from(site.tc.pod.netns(), target(site.tc.server)?),
            from(site.xdp.pod.netns(), target(UNSERVED)?),
            from(site.bare.netns(), target(COREDNS)?),
        ];
        let before = [site.xdp.status().await?, site.tc.status().await?];
        let cpus = *cpus;
        let rounds = tokio::task::spawn_blocking(move || alternate(&asked, extent, &cpus)).await?;
        let rounds = rounds.with_context(|| format!("cannot measure {}", question.label()))?;
        let after = [site.xdp.status().await?, site.tc.status().await?];
        let asked = u64::from(WARM_UP) + u64::from(extent.rounds) * u64::from(extent.queries);
        let answered_by = [
            "the program",
            who(&before[0], &after[0], asked)?,
            who(&before[1], &after[1], asked)?,
            "agent",
            "CoreDNS",
        ];
        let floor = &rounds[0];
        for ((path, answered_by), of) in PATHS.into_iter().zip(answered_by).zip(&rounds) {
            rows.push(Row {
                question: question.label(),
                path,
                answered_by,
                p50_us: median(of.p50.iter().copied()),
                p99_us: median(of.p99.iter().copied()),
                p50_ratio: ratio(&of.p50, &floor.p50),
                p99_ratio: ratio(&of.p99, &floor.p99),
            });
        }
    }
    Ok(rows)
}

fn alternate(
    asked: &[(Arc<Netns>, Target); PATHS.len()],
    extent: Extent,
    cpus: &CpuSet,
) -> Result<[Rounds; PATHS.len()]> {
    let mut all: [Rounds; PATHS.len()] = Default::default();
    let ask = |path: usize, count| {
        let (netns, target) = &asked[path];
        ask(netns, target, cpus, count).with_context(|| format!("{} failed", PATHS[path]))
    };
    for path in 0..PATHS.len() {
        ask(path, WARM_UP)?;
    }
    for number in 0..extent.rounds as usize {
        for step in 0..PATHS.len() {
            // Each path comes first, second and so on equally often.
            let path = (number + step) % PATHS.len();
            let (p50, p99) = ask(path, extent.queries)?;
            all[path].p50.push(p50);
            all[path].p99.push(p99);
        }
    }
    Ok(all)
}

/// Median and 99th percentile in microseconds.
fn ask(netns: &Netns, target: &Target, cpus: &CpuSet, count: u32) -> Result<(f64, f64)> {
    netns.run(|| {
        latency::pin_thread(cpus)?;
        let histogram = Client::new(target)?.measure(count)?;
        let micros = |quantile| number(histogram.value_at_quantile(quantile)) / 1e3;
        Ok((micros(0.5), micros(0.99)))
    })
}

/// The path that answered at least `asked` questions between two statuses of an agent. If
/// several paths did, the one nearest to the pod.
///
/// # Errors
/// When nobody answered so many.
fn who(before: &Value, after: &Value, asked: u64) -> Result<&'static str> {
    ["xdp", "tc", "agent"]
        .into_iter()
        .find(|who| counted(before, after, who) >= asked)
        .with_context(|| format!("no counter of the agent has {asked} more answers"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::json;

    #[test]
    fn who_answered_is_who_counted_all_of_it() {
        let before = json!({"answers": {"xdp": 5, "tc": 0, "agent": 7}});
        let after = json!({"answers": {"xdp": 6, "tc": 10, "agent": 17}});
        assert_eq!(who(&before, &after, 1).unwrap(), "xdp");
        assert_eq!(who(&before, &after, 10).unwrap(), "tc");
        assert!(who(&before, &after, 11).is_err());
    }
}
