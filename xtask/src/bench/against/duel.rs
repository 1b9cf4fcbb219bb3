//! Two agents with the same hook and cluster, asked the same questions in turn.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use nix::sched::CpuSet;
use serde::Serialize;

use crate::bench::cluster::Question;
use crate::bench::served::Served;
use crate::figures::{median, number, ratio};
use crate::lab::agent::Hook;
use crate::lab::network::Netns;
use crate::lab::program;
use crate::latency::{self, Client, Target};

/// The agent of this checkout and the agent of the other revision.
pub(super) type Pair = [Served; 2];

/// The questions: A, 8 AAAA with OPT, NXDOMAIN.
const QUESTIONS: [Question; 3] = [Question::A, Question::Aaaa, Question::Absent];

/// Queries of a side before its first round.
const WARM_UP: u32 = 500;

/// The extent of the measurement of each question.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Extent {
    /// Rounds, in each of which both sides are asked.
    pub(super) rounds: u32,
    /// Queries of a side in a round of round trips.
    pub(super) queries: u32,
    /// Queries of a side in a round of run times.
    pub(super) runs: u32,
}

impl Extent {
    pub(super) const QUICK: Self = Self {
        rounds: 31,
        queries: 2_000,
        runs: 5_000,
    };
    pub(super) const FULL: Self = Self {
        rounds: 101,
        queries: 5_000,
        runs: 10_000,
    };
}

/// One question to one pair. Arrays have this checkout's figure first.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) hook: &'static str,
    /// Number of Services in the cluster.
    pub(super) services: u32,
    pub(super) question: &'static str,
    /// Medians of the rounds' medians in microseconds.
    pub(super) p50_us: [f64; 2],
    /// Median of the rounds' ratios, new to old.
    pub(super) p50_ratio: f64,
    /// Medians of the rounds' mean run times in nanoseconds.
    pub(super) run_ns: [f64; 2],
    /// Median of the rounds' ratios, new to old.
    pub(super) run_ratio: f64,
}

/// `xdp` or `tc`, as the agent's status calls the program.
pub(super) fn label(hook: Hook) -> &'static str {
    match hook {
        Hook::Tc => "tc",
        Hook::Auto | Hook::Xdp => "xdp",
    }
}

/// Where one side's question is asked.
#[derive(Clone)]
struct DuelSide {
    netns: Arc<Netns>,
    target: Target,
    program: u32,
}

/// Measures all questions, client and programs on `cpus`.
///
/// # Errors
/// When an answer is missing, wrong, or not given by the program `label`.
pub(super) async fn measure(
    pair: &Pair,
    label: &'static str,
    extent: Extent,
    cpus: &CpuSet,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for question in QUESTIONS {
        let mut before = Vec::new();
        let mut asked = Vec::new();
        for served in pair {
            before.push(served.status().await?);
            asked.push(DuelSide {
                netns: Arc::clone(served.pod.netns()),
                target: question.target(served.server, served.services)?,
                program: served.program_id(label).await?,
            });
        }
        let cpus = *cpus;
        let measured = tokio::task::spawn_blocking(move || {
            let trips = alternate(&asked, extent.rounds, |side, warm_up| {
                let queries = if warm_up { WARM_UP } else { extent.queries };
                p50(side, &cpus, queries)
            })?;
            // The kernel counts run times while this is open, which costs time itself.
            let _counting = enable_stats(Stats::RunTime).context("cannot turn bpf_stats on")?;
            let runs = alternate(&asked, extent.rounds, |side, warm_up| {
                let queries = if warm_up { WARM_UP } else { extent.runs };
                run_time(side, &cpus, queries)
            })?;
            anyhow::Ok([trips, runs])
        });
        let measured = measured.await?;
        let [trips, runs] =
            measured.with_context(|| format!("cannot measure {label}: {}", question.label()))?;
        let queries = u64::from(extent.queries) + u64::from(extent.runs);
        let queries = u64::from(extent.rounds) * queries;
        for (served, before) in pair.iter().zip(&before) {
            served.ensure_answered(before, label, queries).await?;
        }
        let medians = |[new, old]: &[Vec<f64>; 2]| [new, old].map(|of| median(of.iter().copied()));
        rows.push(Row {
            hook: label,
            services: pair[0].services,
            question: question.label(),
            p50_us: medians(&trips),
            p50_ratio: ratio(&trips[0], &trips[1]),
            run_ns: medians(&runs),
            run_ratio: ratio(&runs[0], &runs[1]),
        });
    }
    Ok(rows)
}

/// The figures of each round for both sides, after a round without figures. The side
/// that goes first changes from round to round.
fn alternate(
    asked: &[DuelSide],
    rounds: u32,
    measure: impl Fn(&DuelSide, bool) -> Result<f64>,
) -> Result<[Vec<f64>; 2]> {
    for side in asked {
        measure(side, true)?;
    }
    let mut figures = [Vec::new(), Vec::new()];
    for round in 0..rounds as usize {
        for step in 0..figures.len() {
            let side = (round + step) % figures.len();
            figures[side].push(measure(&asked[side], false)?);
        }
    }
    Ok(figures)
}

/// The median round trip in microseconds.
fn p50(side: &DuelSide, cpus: &CpuSet, queries: u32) -> Result<f64> {
    side.netns.run(|| {
        latency::pin_thread(cpus)?;
        let histogram = Client::new(&side.target)?.measure(queries)?;
        Ok(number(histogram.value_at_quantile(0.5)) / 1e3)
    })
}

/// The program's mean run time in nanoseconds.
fn run_time(side: &DuelSide, cpus: &CpuSet, queries: u32) -> Result<f64> {
    let (time, runs) = program::run_time(side.program)?;
    p50(side, cpus, queries)?;
    let (time_after, runs_after) = program::run_time(side.program)?;
    let runs = runs_after.saturating_sub(runs);
    anyhow::ensure!(
        runs >= u64::from(queries),
        "the program ran {runs} times for {queries} queries"
    );
    Ok(time_after.saturating_sub(time).as_secs_f64() * 1e9 / number(runs))
}
