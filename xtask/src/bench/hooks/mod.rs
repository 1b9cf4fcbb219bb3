//! `cargo xtask bench`: answers by XDP and tc beside the floor, the agent and `CoreDNS`,
//! the programs' run time, and their cost to the pods' other traffic.
//!
//! All measurements alternate in rounds within one lab. Speed is never asserted: aims are
//! shown as met or not met.

mod coredns;
mod extent;
mod flow;
mod program;
mod report;
mod round_trips;
mod site;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;
use nix::sched::CpuSet;

use self::extent::{FULL, QUICK};
use self::flow::Cpus;
use self::report::Report;
use self::site::Site;

use crate::bench::machine::{self, Machine};
use crate::lab::sandbox;
use crate::peers::{self, Peer};
use crate::{exec, lab, latency};

/// Options of `cargo xtask bench`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure fewer rounds: about 4 minutes instead of 10.
    #[arg(long)]
    pub(super) quick: bool,

    /// Rounds of traffic. Each round measures every hook once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    flow_rounds: Option<u32>,
}

/// Measures, prints tables and writes `target/bench/quick.json`, or
/// `target/bench/full.json`.
///
/// # Errors
/// When not root, when a part cannot be built or set up, or when an answer is
/// missing or wrong.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    sandbox::enter(
        || {
            peers::path(Peer::Coredns)?;
            lab::build_agent()
        },
        async |mut control| {
            tokio::select! {
                done = measure(*options) => done.map(|()| ExitCode::SUCCESS),
                interrupt = control.interrupted() => Ok(interrupt?.exit_code()),
            }
        },
    )
}

async fn measure(options: Options) -> Result<()> {
    let [mut trips, runs] = if options.quick { QUICK } else { FULL };
    trips.flow_rounds = options.flow_rounds.unwrap_or(trips.flow_rounds);
    let load_before = machine::load()?;
    let all = latency::allowed_cpus()?;
    let first = latency::first_cpu(&all)?;
    exec::progress("bench", "a node, six pods, five agents, CoreDNS");
    let site = Site::set_up(&first).await?;
    exec::progress("bench", "round trips");
    let round_trips = round_trips::measure(&site, trips, &first).await?;
    exec::progress("bench", "the programs' time");
    let programs = program::measure(&site, runs, &first).await?;
    exec::progress("bench", "the pods' other traffic");
    let cpus = Cpus {
        sender: first,
        receiver: others(&all, &first)?,
    };
    let traffic = traffic::measure(&site, trips, cpus).await?;
    site.stop().await?;
    let report = Report {
        machine: Machine::read(load_before)?,
        round_trip_extent: trips,
        program_extent: runs,
        flow_seconds: trips.flow.as_secs_f64(),
        round_trips,
        programs,
        traffic,
    };
    let name = if options.quick { "quick" } else { "full" };
    let file = exec::target().join(format!("bench/{name}.json"));
    report.write(&file)?;
    print!("{report}");
    exec::progress("bench", &format!("{} has the figures", file.display()));
    Ok(())
}

/// The first CPU of `all` that is not in `but`, or `but` if there is none.
fn others(all: &CpuSet, but: &CpuSet) -> Result<CpuSet> {
    let mut rest = *all;
    for cpu in 0..CpuSet::count() {
        if but.is_set(cpu)? {
            rest.unset(cpu)?;
        }
    }
    Ok(latency::first_cpu(&rest).unwrap_or(*but))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_other_cpu_is_another_where_there_is_one() {
        let mut two = CpuSet::new();
        two.set(1).unwrap();
        two.set(3).unwrap();
        let first = latency::first_cpu(&two).unwrap();
        let other = others(&two, &first).unwrap();
        assert!(other.is_set(3).unwrap() && !other.is_set(1).unwrap());
        assert_eq!(others(&first, &first).unwrap(), first);
    }
}
