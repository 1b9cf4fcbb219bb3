//! The programs' run time, as the kernel counts it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use nix::sched::CpuSet;
use serde::Serialize;

use super::extent::Extent;
use super::site::Site;
use crate::bench::cluster::{Question, SERVICES_SMALL};
use crate::bench::served::Served;
use crate::figures::{median, number, ratio};
use crate::lab::network::Netns;
use crate::lab::program;
use crate::latency::{self, Client, Target};

/// The figures of one program and question.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// `xdp`, `tc` or `reflect`.
    pub(crate) program: &'static str,
    pub(crate) question: &'static str,
    /// Number of Services in the cluster.
    pub(crate) services: u32,
    /// Number of counted runs.
    pub(crate) runs: u64,
    /// Mean over all runs in nanoseconds.
    pub(crate) mean_ns: f64,
    /// Median of the rounds' means in nanoseconds.
    pub(crate) median_ns: f64,
}

/// The size of a loaded program.
#[derive(Debug, Serialize)]
pub(crate) struct Loaded {
    pub(crate) program: &'static str,
    /// Number of instructions that the verifier looked at, from kernel 5.16 on.
    pub(crate) verified_instructions: Option<u32>,
    /// Number of its instructions after the verifier.
    pub(crate) instructions: Option<u32>,
}

/// All figures of the programs.
#[derive(Debug, Serialize)]
pub(crate) struct Programs {
    pub(crate) rows: Vec<Row>,
    pub(crate) loaded: Vec<Loaded>,
    /// Medians of the rounds' ratios of the large cluster to the small one.
    pub(crate) xdp_growth: f64,
    pub(crate) tc_growth: f64,
}

/// Bytes of a BPF instruction (`struct bpf_insn`).
const INSTRUCTION_LEN: u32 = 8;

/// One program, its question, and its figures so far.
struct Case {
    program: &'static str,
    question: Question,
    services: u32,
    id: u32,
    netns: Arc<Netns>,
    target: Target,
    /// Each round's mean in nanoseconds.
    means: Vec<f64>,
    runs: u64,
    nanoseconds: f64,
}

/// Measures in alternating rounds, on `cpus`.
///
/// # Errors
/// When an answer is missing, wrong, or not given by the program.
pub(crate) async fn measure(site: &Site, extent: Extent, cpus: &CpuSet) -> Result<Programs> {
    let mut cases = vec![Case {
        program: "reflect",
        question: Question::A,
        services: SERVICES_SMALL,
        id: site.floor.program(),
        netns: Arc::clone(site.floor.netns()),
        target: Question::A
            .target(site.xdp.server, SERVICES_SMALL)?
            .reflected(),
        means: Vec::new(),
        runs: 0,
        nanoseconds: 0.0,
    }];
    let mut loaded = Vec::new();
    for (program, question, served) in [
        ("xdp", Question::A, &site.xdp),
        ("tc", Question::A, &site.tc),
        ("xdp", Question::A, &site.xdp_large),
        ("tc", Question::A, &site.tc_large),
        ("xdp", Question::Aaaa, &site.xdp),
        ("tc", Question::Aaaa, &site.tc),
        ("xdp", Question::Absent, &site.xdp),
        ("tc", Question::Absent, &site.tc),
    ] {
        cases.push(case(program, question, served).await?);
    }
    for (program, served) in [("xdp", &site.xdp), ("tc", &site.tc)] {
        loaded.push(looked_at(program, served.program_id(program).await?)?);
    }
    let parties = [&site.xdp, &site.tc, &site.xdp_large, &site.tc_large];
    let mut before = Vec::new();
    for served in parties {
        before.push(served.status().await?);
    }
    let cpus = *cpus;
    let cases = tokio::task::spawn_blocking(move || alternate(cases, extent, &cpus)).await??;
    for ((served, before), path) in parties
        .into_iter()
        .zip(&before)
        .zip(["xdp", "tc", "xdp", "tc"])
    {
        let of = |case: &&Case| case.program == path && case.services == served.services;
        let cases = u64::try_from(cases.iter().filter(of).count())?;
        let asked = cases * u64::from(extent.rounds) * u64::from(extent.queries);
        served.ensure_answered(before, path, asked).await?;
    }
    let means = |program: &str, small: bool| {
        let found = cases.iter().find(|case| {
            case.program == program
                && case.question == Question::A
                && (case.services == SERVICES_SMALL) == small
        });
        found.map_or_else(Vec::new, |case| case.means.clone())
    };
    let growth = |program| ratio(&means(program, false), &means(program, true));
    Ok(Programs {
        xdp_growth: growth("xdp"),
        tc_growth: growth("tc"),
        loaded,
        rows: cases.iter().map(row).collect(),
    })
}

async fn case(program: &'static str, question: Question, served: &Served) -> Result<Case> {
    Ok(Case {
        program,
        question,
        services: served.services,
        id: served.program_id(program).await?,
        netns: Arc::clone(served.pod.netns()),
        target: question.target(served.server, served.services)?,
        means: Vec::new(),
        runs: 0,
        nanoseconds: 0.0,
    })
}

fn looked_at(name: &'static str, id: u32) -> Result<Loaded> {
    let info = program::find(id)?;
    Ok(Loaded {
        program: name,
        verified_instructions: info.verified_instruction_count(),
        instructions: info.size_translated().map(|bytes| bytes / INSTRUCTION_LEN),
    })
}

fn alternate(mut cases: Vec<Case>, extent: Extent, cpus: &CpuSet) -> Result<Vec<Case>> {
    // The kernel counts run times while this descriptor is open.
    let _counting = enable_stats(Stats::RunTime).context("cannot turn bpf_stats on")?;
    for _ in 0..extent.rounds {
        for case in &mut cases {
            let (time, runs) = program::run_time(case.id)?;
            case.netns.run(|| {
                latency::pin_thread(cpus)?;
                Client::new(&case.target)?.measure(extent.queries).map(drop)
            })?;
            let (time_after, runs_after) = program::run_time(case.id)?;
            let nanoseconds = time_after.saturating_sub(time).as_secs_f64() * 1e9;
            let runs = runs_after.saturating_sub(runs);
            anyhow::ensure!(
                runs >= u64::from(extent.queries),
                "the program {} ran {runs} times for {} queries",
                case.program,
                extent.queries
            );
            case.means.push(nanoseconds / number(runs));
            case.runs += runs;
            case.nanoseconds += nanoseconds;
        }
        cases.rotate_left(1);
    }
    Ok(cases)
}

fn row(case: &Case) -> Row {
    Row {
        program: case.program,
        question: case.question.label(),
        services: case.services,
        runs: case.runs,
        mean_ns: case.nanoseconds / number(case.runs),
        median_ns: median(case.means.iter().copied()),
    }
}
