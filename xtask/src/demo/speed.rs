//! Third part of the demo: the kernel's answer beside a program that only returns the query.
//!
//! The demo's agent is built without optimization, so its own answers are not measured here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use nix::sched::CpuSet;

use super::answers::SERVICE_NAME;
use super::cluster::{Cluster, WEB};
use super::screen::Screen;
use crate::figures::median;
use crate::lab::CLUSTER_DNS;
use crate::lab::floor::Floor;
use crate::lab::network::Netns;
use crate::lab::program::run_time;
use crate::latency::{self, Client, Target};

/// Number of rounds. Each round measures every path once, so other work of the machine
/// affects all paths alike.
const ROUNDS: usize = 15;

/// Queries of a path in a round.
const QUERIES: u32 = 2_000;

/// Queries before the first round.
const WARM_UP: u32 = 500;

/// Queries for the mean run time of the program.
const PROGRAM_QUERIES: u32 = 50_000;

/// The two paths of a query, in the order of the output.
const PATHS: [&str; 2] = ["kernel", "bare XDP reflection"];
const KERNEL: usize = 0;
const FLOOR: usize = 1;

/// Aims for the ratio `kernel / floor` and for the program's run time. They are shown and not enforced, because they depend on the machine as much as on the
/// program.
const FLOOR_RATIO_MAX: f64 = 1.5;
const PROGRAM_RUN_TIME_MAX: Duration = Duration::from_nanos(300);

/// A round trip's quantiles in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Quantiles {
    p50: u64,
    p99: u64,
}

/// For each round, the quantiles of each path.
type Rounds = Vec<[Quantiles; PATHS.len()]>;

/// The server of each path, and the namespace of its client.
#[derive(Clone, Debug)]
struct Targets([(Arc<Netns>, Target); PATHS.len()]);

/// Measures and prints. Checks that each query took the path that it is counted for.
///
/// # Errors
/// When an answer is missing or wrong, or the counters disagree.
pub(crate) async fn show(cluster: &Cluster, screen: Screen, reflect: &Path) -> Result<()> {
    let floor = Floor::new(reflect)?;
    let answers = u16::try_from(WEB.len())?;
    let client = cluster.client.netns();
    let kernel = Target::addresses(CLUSTER_DNS, SERVICE_NAME, answers)?;
    let asked = Targets([
        (Arc::clone(client), kernel.clone()),
        (Arc::clone(floor.netns()), kernel.reflected()),
    ]);

    screen.heading("Round trips of one query at a time")?;
    screen.note(&format!(
        "A of {SERVICE_NAME}, {answers} records; medians of {ROUNDS} alternating rounds of {QUERIES} queries"
    ))?;
    let (program, _) = cluster.program().await?;
    screen.note(&format!("the kernel answers in {program}"))?;
    let all = latency::allowed_cpus()?;
    let one = latency::first_cpu(&all)?;
    for (cpus, heading) in [(one, "client on one CPU"), (all, "client on any CPU")] {
        let before = cluster.answers().await?;
        let rounds = measure(asked.clone(), cpus).await?;
        let counted = cluster.answers().await?.since(before);
        let expected = u64::from(WARM_UP) + u64::from(QUERIES) * u64::try_from(ROUNDS)?;
        ensure!(
            counted.kernel >= expected,
            "the counters have {} answers by the kernel, not {expected}",
            counted.kernel
        );
        print(screen, heading, &rounds)?;
    }
    screen.verified("every answer was right, and the kernel gave it by the counters, too")?;

    screen.heading("The program's own time")?;
    let (run_time, count) = program_run_time(cluster, kernel, one).await?;
    screen.output(&format!(
        "{} ns a query by bpf_stats, mean of {count} runs ({})",
        run_time.as_nanos(),
        met(
            run_time < PROGRAM_RUN_TIME_MAX,
            &format!("below {} ns", PROGRAM_RUN_TIME_MAX.as_nanos())
        )
    ))?;
    screen.verified(&format!(
        "the program ran for each of {PROGRAM_QUERIES} queries"
    ))
}

async fn measure(asked: Targets, cpus: CpuSet) -> Result<Rounds> {
    tokio::task::spawn_blocking(move || {
        for (netns, target) in &asked.0 {
            measure_path(netns, target, &cpus, WARM_UP)?;
        }
        let mut rounds = Rounds::with_capacity(ROUNDS);
        for number in 0..ROUNDS {
            let mut round = [Quantiles::default(); PATHS.len()];
            for step in 0..PATHS.len() {
                // Each path comes first, second and last equally often.
                let path = (number + step) % PATHS.len();
                if let (Some((netns, target)), Some(result)) =
                    (asked.0.get(path), round.get_mut(path))
                {
                    *result = measure_path(netns, target, &cpus, QUERIES)
                        .with_context(|| format!("{} failed", PATHS[path]))?;
                }
            }
            rounds.push(round);
        }
        Ok(rounds)
    })
    .await?
}

fn measure_path(netns: &Netns, target: &Target, cpus: &CpuSet, count: u32) -> Result<Quantiles> {
    netns.run(|| {
        latency::pin_thread(cpus)?;
        let histogram = Client::new(target)?.measure(count)?;
        Ok(Quantiles {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
        })
    })
}

fn print(screen: Screen, heading: &str, rounds: &Rounds) -> Result<()> {
    screen.output(&format!("{heading:<34}{:>9}{:>12}", "p50", "p99"))?;
    for (path, name) in PATHS.iter().enumerate() {
        let p50 = median(rounds.iter().map(|round| micros(round[path].p50)));
        let p99 = median(rounds.iter().map(|round| micros(round[path].p99)));
        screen.output(&format!("  {name:<30}{p50:>8.1} us{p99:>9.1} us"))?;
    }
    // Ratios within one round cancel out a slow spell of the machine.
    let ratio = median(
        rounds
            .iter()
            .map(|round| micros(round[KERNEL].p50) / micros(round[FLOOR].p50)),
    );
    screen.output(&format!(
        "  {:<30}{ratio:>8.2} x  ({})",
        "kernel / bare reflection",
        met(
            ratio <= FLOOR_RATIO_MAX,
            &format!("at most {FLOOR_RATIO_MAX} x")
        )
    ))?;
    Ok(())
}

fn met(met: bool, aim: &str) -> String {
    let verdict = if met { "met" } else { "not met here" };
    format!("aim {aim}: {verdict}")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "round trips of days would lose nanoseconds"
)]
fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The mean run time of the program on the client's veth, and of how many runs.
async fn program_run_time(
    cluster: &Cluster,
    target: Target,
    cpus: CpuSet,
) -> Result<(Duration, u64)> {
    let (_, id) = cluster.program().await?;
    let netns = Arc::clone(cluster.client.netns());
    tokio::task::spawn_blocking(move || {
        // The kernel counts run times while this descriptor is open.
        let _counting = enable_stats(Stats::RunTime).context("cannot turn bpf_stats on")?;
        let (time_before, count_before) = run_time(id)?;
        measure_path(&netns, &target, &cpus, PROGRAM_QUERIES)?;
        let (time, count) = run_time(id)?;
        let (time, count) = (time.saturating_sub(time_before), count - count_before);
        ensure!(
            count >= u64::from(PROGRAM_QUERIES),
            "the program ran {count} times for {PROGRAM_QUERIES} queries"
        );
        Ok((time / u32::try_from(count)?, count))
    })
    .await?
}
