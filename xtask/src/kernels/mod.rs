//! `cargo xtask test --kernels`: runs the suites that load programs on Debian's kernels in
//! virtual machines, and counts the instructions that the verifiers look at.

mod budget;
mod debian;
mod guest;
mod image;
mod script;

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use self::budget::{Budget, Entry};
pub(crate) use self::debian::Series;
use self::debian::{Kernel, SERIES};
pub(crate) use self::guest::Clock;
use self::guest::Report;
use self::image::{Base, Programs};
use crate::workspace::{FEATURES, PEERS, ROOT, Suites};
use crate::{apt, cache, ebpf, exec};

/// Debian's packages that virtual machines and their root file systems need.
const PACKAGES: [&str; 10] = [
    "binutils",
    "busybox-static",
    "cpio",
    "debian-archive-keyring",
    "ethtool",
    "iproute2",
    "libc-bin",
    "qemu-system-x86",
    "util-linux",
    "xz-utils",
];

/// Suites that need root but make no sense in a guest. The first compiles programs for two
/// C libraries. The second needs readers and writers that run at the same time, and a guest
/// has one CPU. The last floods the agent and a veth with more than an emulated CPU can take.
const LEFT_OUT: [&str; 3] = ["live_resolvers", "replaced", "live_flood"];

/// A suite that needs no root and runs in the guests all the same: it checks the golden frames,
/// with which the other suites compare.
const BESIDES: &str = "golden";

/// The run of the suites on one kernel.
struct Run {
    series: Series,
    /// The release of the package, or of the kernel once it has booted.
    release: String,
    report: Report,
    failures: Vec<String>,
    duration: Duration,
}

/// Kernels that are ready to boot in virtual machines.
pub(crate) struct Machines {
    kernels: Vec<(Series, Kernel)>,
    clock: Clock,
    /// The lock of the kernels' folder.
    lock: File,
}

/// Installs what virtual machines need and downloads the kernels: the named ones, or all if
/// none is named.
///
/// # Errors
/// When a package cannot be installed, or the archive cannot be reached.
pub(crate) fn prepare(named: &[Series], clock: Clock) -> Result<Machines> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("--kernels needs an x86_64 machine: the suites are built for the one they run on");
    }
    apt::ensure(&PACKAGES)?;
    let lock = cache::lock(&exec::target().join("kernels"), "kernels")?;
    let series = if named.is_empty() { &SERIES } else { named };
    let kernels = series
        .iter()
        .map(|series| {
            let kernel = Kernel::get(*series)
                .with_context(|| format!("cannot get a kernel {}", series.name))?;
            Ok((*series, kernel))
        })
        .collect::<Result<_>>()?;
    Ok(Machines {
        kernels,
        clock,
        lock,
    })
}

/// Runs the named suites on each kernel, or all suites if none is named. With `update`, the
/// verifiers' counts become the budget.
///
/// # Errors
/// When anything fails in a guest. The message names all failures.
pub(crate) fn run(machines: Machines, suites: &[String], update: bool) -> Result<()> {
    let base = Base::new(&build(suites)?)?;
    let mut budget = Budget::read()?;
    let Machines {
        kernels,
        clock,
        lock,
    } = machines;
    let waiting = Mutex::new(kernels.into_iter().enumerate());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next()
    };
    // Each guest has one CPU, so as many guests run at a time as there are CPUs.
    let work = || {
        let mut runs = Vec::new();
        while let Some((place, (series, kernel))) = next() {
            runs.push((place, run_one(series, kernel, &base, clock)));
        }
        runs
    };
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let mut runs: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cpus).map(|_| scope.spawn(work)).collect();
        let workers = workers.into_iter();
        workers
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    runs.sort_unstable_by_key(|(place, _)| *place);
    let mut runs: Vec<Run> = runs.into_iter().map(|(_, run)| run).collect();
    if !update {
        for run in runs
            .iter_mut()
            .filter(|run| !run.report.verified.is_empty())
        {
            let findings = budget.findings(run.series.name, &run.report.verified);
            run.failures.extend(findings);
        }
    }
    drop(lock);
    println!("\n{}", table(&runs));
    if update {
        record(&mut budget, &runs)?;
    }
    let failures: Vec<_> = runs
        .iter()
        .flat_map(|run| {
            let failures = run.failures.iter();
            failures.map(|failure| format!("{}: {failure}", run.release))
        })
        .collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n       "));
    }
    Ok(())
}

/// Runs the suites on one kernel. When it does not boot, this kernel has failed, not the
/// others.
fn run_one(series: Series, kernel: Kernel, base: &Base, clock: Clock) -> Run {
    exec::progress("kernels", &format!("booting {}", kernel.release));
    let start = Instant::now();
    let report = base
        .with_modules(&kernel)
        .and_then(|image| guest::boot(series.name, &kernel.image, &image, clock))
        .unwrap_or_else(|error| Report {
            problems: vec![format!("{error:#}")],
            ..Report::default()
        });
    let mut failures = report.failures();
    let counts = report.suites.iter().any(|(name, _)| name == "verifier");
    if counts && report.verified.is_empty() {
        failures.push("no program was counted".to_owned());
    }
    let run = Run {
        series,
        release: report.release.clone().unwrap_or(kernel.release),
        report,
        failures,
        duration: start.elapsed(),
    };
    let (outcome, duration) = (outcome(&run), exec::elapsed(run.duration));
    exec::progress(
        "kernels",
        &format!("{}: {outcome}, {duration}", run.release),
    );
    run
}

/// Builds the programs for the guests: the named suites, or all if none is named.
fn build(named: &[String]) -> Result<Programs> {
    let objects = ebpf::build()?;
    let all = Suites::read()?;
    let peers = all.requiring(PEERS);
    let mut suites: Vec<_> = all
        .requiring(ROOT)
        .into_iter()
        .chain([BESIDES])
        .filter(|name| !peers.contains(name) && !LEFT_OUT.contains(name))
        .collect();
    suites.sort_unstable();
    if let Some(unknown) = named.iter().find(|name| !suites.contains(&name.as_str())) {
        bail!(
            "no suite {unknown} for other kernels: {}",
            suites.join(", ")
        );
    }
    if !named.is_empty() {
        suites.retain(|suite| named.iter().any(|name| name == suite));
    }
    let mut agent = exec::cargo();
    agent.args(["build", "--workspace", "--features", FEATURES]);
    agent.args(["--bin", "headless-agent"]);
    let agent = executables(&mut agent)?.remove("headless-agent");
    let mut command = exec::cargo();
    command.args(["test", "--no-run", "--workspace", "--features", FEATURES]);
    for suite in &suites {
        command.args(["--test", suite]);
    }
    let mut executables = executables(&mut command)?;
    let suites = suites
        .into_iter()
        .map(|suite| {
            let program = executables.remove(suite);
            let program = program.with_context(|| format!("cargo built no suite {suite}"))?;
            Ok((suite.to_owned(), program))
        })
        .collect::<Result<_>>()?;
    Ok(Programs {
        suites,
        agent: agent.context("cargo built no agent")?,
        objects: vec![objects.xdp, objects.reflect],
    })
}

/// Runs cargo. Returns the executables by target.
fn executables(cargo: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("what runs on the kernels does not build: {}", output.status);
    }
    Ok(artifacts(&String::from_utf8_lossy(&output.stdout)))
}

/// The executables in cargo's messages.
fn artifacts(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
    };
    messages.lines().filter_map(executable).collect()
}

fn outcome(run: &Run) -> String {
    let (passed, all) = (run.report.passed(), run.report.suites.len());
    match run.failures.len() {
        0 => format!("{passed} of {all} suites passed"),
        failed => format!("{passed} of {all} suites passed, {failed} failures"),
    }
}

fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    let header = [
        "KERNEL",
        "PROGRAM",
        "INSTRUCTIONS",
        "SUITES",
        "TESTS",
        "SECONDS",
    ];
    table.load_style(NOTHING).set_header(header);
    for number in 2..header.len() {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for run in runs {
        let programs: Vec<_> = run.report.verified.keys().map(String::as_str).collect();
        let counts: Vec<_> = run.report.verified.values().map(u32::to_string).collect();
        table.add_row([
            run.release.clone(),
            programs.join("\n"),
            counts.join("\n"),
            format!("{} of {}", run.report.passed(), run.report.suites.len()),
            run.report.tests().to_string(),
            run.duration.as_secs().to_string(),
        ]);
    }
    table
}

/// Writes the counts of the kernels without a failure.
fn record(budget: &mut Budget, runs: &[Run]) -> Result<()> {
    let date = exec::output(Command::new("date").args(["-u", "+%F"]))?;
    for run in runs.iter().filter(|run| run.failures.is_empty()) {
        let entry = Entry {
            release: run.release.clone(),
            date: date.trim().to_owned(),
            suites: run.report.passed(),
            tests: run.report.tests(),
            programs: run.report.verified.clone(),
        };
        budget.set(run.series.name, entry);
    }
    budget.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"golden\"},\
                        \"executable\":\"/t/golden-1\"}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lib\"},\
                        \"executable\":null}\n{\"reason\":\"build-finished\"}\nnot JSON\n";
        let expected = [("golden".to_owned(), PathBuf::from("/t/golden-1"))];
        assert_eq!(artifacts(messages), BTreeMap::from(expected));
    }

    #[test]
    fn the_table_has_a_line_for_each_program() {
        let verified = [("reflect", 76), ("headless_xdp", 110_398)];
        let run = Run {
            series: SERIES[0],
            release: "5.10.0-32-cloud-amd64".into(),
            report: Report {
                verified: verified.map(|(name, count)| (name.into(), count)).into(),
                ..Report::default()
            },
            failures: Vec::new(),
            duration: Duration::from_secs(61),
        };
        let table = table(&[run]).to_string();
        let words: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[0][..2], ["KERNEL", "PROGRAM"]);
        assert_eq!(
            words[1][..3],
            ["5.10.0-32-cloud-amd64", "headless_xdp", "110398"]
        );
        assert_eq!(words[2], ["reflect", "76"]);
        assert_eq!(words[1].last(), Some(&"61"));
    }
}
