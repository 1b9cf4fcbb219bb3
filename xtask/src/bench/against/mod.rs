//! `cargo xtask bench --against REVISION`: measures the programs of this checkout beside the
//! programs of another revision, in alternating rounds of one lab.
//!
//! A revision's maps have a layout of their own, so each side has its own agent, too.

mod duel;
mod report;
mod revision;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sched::CpuSet;

use self::duel::{Extent, Pair};
use self::report::Report;
use super::cluster::{SERVICES_LARGE, SERVICES_SMALL};
use super::machine::{self, Machine};
use super::served::{Plan, Served, server};
use crate::lab::agent::Hook;
use crate::lab::network::{self, Netns};
use crate::lab::sandbox;
use crate::{exec, lab, latency};

/// The pairs of agents that are compared, by hook and number of Services.
const PAIRS: [(Hook, u32); 3] = [
    (Hook::Xdp, SERVICES_SMALL),
    (Hook::Tc, SERVICES_SMALL),
    (Hook::Xdp, SERVICES_LARGE),
];

/// Measures both, prints a table and writes `target/bench/against.json`.
///
/// # Errors
/// When not root, when a side cannot be built or started, or when an answer is missing,
/// wrong, or not given by the program.
pub(crate) fn run(name: &str, quick: bool) -> Result<ExitCode> {
    sandbox::enter(
        || {
            // The other side comes first: its build leaves its agent in this checkout's
            // place.
            revision::build(name)?;
            lab::build_agent()
        },
        async |mut control| {
            tokio::select! {
                done = measure(name, quick) => done.map(|()| ExitCode::SUCCESS),
                interrupt = control.interrupted() => Ok(interrupt?.exit_code()),
            }
        },
    )
}

async fn measure(name: &str, quick: bool) -> Result<()> {
    let load_before = machine::load()?;
    let cpus = latency::first_cpu(&latency::allowed_cpus()?)?;
    // It is in the cache by now.
    let (commit, old) = revision::build(name)?;
    let new = lab::built_agent();
    exec::progress(
        "bench",
        &format!("two agents for each of {} pairs", PAIRS.len()),
    );
    let pairs = set_up([&new, &old], &cpus).await?;
    let extent = if quick { Extent::QUICK } else { Extent::FULL };
    let mut rows = Vec::new();
    for (pair, (hook, services)) in pairs.iter().zip(PAIRS) {
        let label = duel::label(hook);
        exec::progress("bench", &format!("{label}, {services} Services"));
        rows.extend(duel::measure(pair, label, extent, &cpus).await?);
    }
    for [new, old] in pairs {
        new.agent.stop().await?;
        old.agent.stop().await?;
    }
    let report = Report {
        machine: Machine::read(load_before)?,
        against: commit,
        extent,
        rows,
    };
    let file = exec::target().join("bench/against.json");
    report.write(&file)?;
    print!("{report}");
    exec::progress("bench", &format!("{} has the figures", file.display()));
    Ok(())
}

/// Starts both agents of each pair, each with a pod of its own.
async fn set_up(agents: [&Path; 2], cpus: &CpuSet) -> Result<Vec<Pair>> {
    let count = u8::try_from(PAIRS.len() * agents.len())?;
    network::set_up_node(&(0..count).map(server).collect::<Vec<_>>())?;
    let node = Arc::new(Netns::current()?);
    let mut numbers = 0..count;
    let mut pairs = Vec::new();
    for (hook, services) in PAIRS {
        let mut pair = Vec::new();
        for (age, binary) in ["new", "old"].into_iter().zip(agents) {
            let number = numbers.next().context("no number is left")?;
            let plan = Plan {
                name: &format!("{age}-{number}"),
                hook,
                services,
                binary,
                unserved: None,
            };
            pair.push(Served::start(&node, number, &plan, cpus).await?);
        }
        pairs.push(Pair::try_from(pair).map_err(|_| anyhow::anyhow!("a side is missing"))?);
    }
    Ok(pairs)
}
