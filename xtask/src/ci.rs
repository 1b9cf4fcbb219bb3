//! `cargo xtask ci`: runs every gate that a change has to pass, and shows each with its
//! time. A failed gate does not stop the later ones.

use crate::kernels::{self, Clock, Series};
use crate::workspace::FEATURES;
use crate::{bench, deny, ebpf, exec, pins, test, tidy};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Options of `cargo xtask ci`.
#[derive(clap::Args, Debug)]
#[group(skip)]
pub(crate) struct Options {
    #[command(flatten)]
    test: test::Options,
}

/// Environment variable with the names of gates that are not run, separated by commas:
/// `advisories,kernels`. A gate that cannot run fails, unless it is named here.
const SKIP: &str = "HEADLESS_CI_SKIP";

/// Environment variable with the kernels on which all suites run: `5.10`, `5.10,7.x` or
/// `all`. Each takes a quarter of an hour. Without it, only the suite `verifier` runs, on
/// [`STABLE`].
const KERNELS: &str = "HEADLESS_CI_KERNELS";

/// Kernels of Debian's releases, which change little.
const STABLE: [&str; 3] = ["5.10", "6.1", "6.12"];

/// Environment variable that adds a gate: each fuzz target runs for this number of seconds.
/// The first build takes minutes, since libFuzzer instruments every dependency.
const FUZZ: &str = "HEADLESS_CI_FUZZ";

/// The targets of `tests/fuzz`.
const FUZZ_TARGETS: [&str; 2] = ["respond", "message"];

/// The result of a gate that has not failed.
enum Outcome {
    Passed,
    Skipped(String),
}

type Gate<'a> = (&'static str, &'a dyn Fn() -> Result<Outcome>);

/// Runs all gates and prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let tests = || test::run(&options.test).map(|()| Outcome::Passed);
    let scale = || scale(&options.test);
    let kernels = kernels()?;
    let other_kernels = || other_kernels(kernels.as_deref());
    let mut gates: Vec<Gate<'_>> = vec![
        ("compiler", &compiler),
        ("fmt", &fmt),
        ("tidy", &|| tidy::run().map(|()| Outcome::Passed)),
        ("clippy", &clippy),
        ("clippy for BPF", &clippy_bpf),
        ("deny", &licences),
        ("advisories", &advisories),
        ("doc", &doc),
        ("test", &tests),
        ("bench scale", &scale),
        ("kernels", &other_kernels),
    ];
    let fuzz_seconds = fuzz_seconds(&env::var(FUZZ).unwrap_or_default())?;
    let fuzz = || fuzz(fuzz_seconds);
    if fuzz_seconds > 0 {
        gates.push(("fuzz", &fuzz));
    }
    let skipped = skipped(&env::var(SKIP).unwrap_or_default(), &gates)?;
    let mut results = Vec::new();
    for (name, gate) in gates {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = if skipped.contains(name) {
            Ok(Outcome::Skipped(format!("NOT CHECKED: {SKIP} names it")))
        } else {
            gate()
        };
        if let Err(error) = &result {
            eprintln!("{name} failed: {error:#}");
        }
        results.push((name, start.elapsed(), result));
    }
    println!("\n{}", table(&results));
    let failed: Vec<_> = results
        .iter()
        .filter(|(_, _, result)| result.is_err())
        .map(|(name, _, _)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("failed gates: {}", failed.join("; "));
    }
    Ok(())
}

/// The gates named in [`SKIP`].
fn skipped(names: &str, gates: &[Gate<'_>]) -> Result<BTreeSet<String>> {
    let names = names.split(',').map(str::trim);
    let names: BTreeSet<_> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    for name in &names {
        if !gates.iter().any(|(gate, _)| gate == name) {
            let gates: Vec<_> = gates.iter().map(|(name, _)| *name).collect();
            bail!("{SKIP}: `{name}` is no gate: {}", gates.join(", "));
        }
    }
    Ok(names)
}

/// The kernels in [`KERNELS`]; an empty list stands for all kernels.
fn kernels() -> Result<Option<Vec<Series>>> {
    let named = env::var(KERNELS).unwrap_or_default();
    named_kernels(&named).map_err(|error| anyhow!("{KERNELS}={named}: {error}"))
}

fn named_kernels(named: &str) -> Result<Option<Vec<Series>>, String> {
    match named {
        "" => Ok(None),
        "all" => Ok(Some(Vec::new())),
        named => {
            let series = named.split([',', ' ']).filter(|name| !name.is_empty());
            series
                .map(Series::parse)
                .collect::<Result<_, _>>()
                .map(Some)
        }
    }
}

/// Runs all suites on the kernels in [`KERNELS`]. Without the variable, runs the suite
/// `verifier` on [`STABLE`], half a minute each.
fn other_kernels(asked: Option<&[Series]>) -> Result<Outcome> {
    if let Some(series) = asked {
        kernels::run(kernels::prepare(series, Clock::Time)?, &[], false)?;
        return Ok(Outcome::Passed);
    }
    let stable = STABLE.map(Series::parse).into_iter();
    let stable: Vec<_> = stable
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!(error))?;
    let machines = kernels::prepare(&stable, Clock::Time)?;
    kernels::run(machines, &["verifier".to_owned()], false)?;
    Ok(Outcome::Passed)
}

/// The seconds in [`FUZZ`]; 0 for no run.
fn fuzz_seconds(text: &str) -> Result<u32> {
    if text.is_empty() {
        return Ok(0);
    }
    let seconds = text.parse();
    seconds.map_err(|error| anyhow!("{FUZZ}={text}: {error}"))
}

/// Runs each fuzz target. New inputs go below `target/fuzz`, inputs that crash into
/// `tests/fuzz/artifacts`.
fn fuzz(seconds: u32) -> Result<Outcome> {
    let nightly = |arguments: &[&str]| {
        let mut command = exec::isolated("cargo");
        command.arg("+nightly").args(arguments);
        command.current_dir(exec::workspace().join("tests"));
        command
    };
    exec::output(&mut nightly(&["fuzz", "--version"]))
        .with_context(|| format!("{FUZZ} needs rustup's nightly and cargo-fuzz"))?;
    // The fuzzed code has no `unsafe`, so a sanitizer has nothing to find.
    let options = ["--dev", "--sanitizer", "none"];
    for target in FUZZ_TARGETS {
        let found = exec::target().join("fuzz").join(target);
        std::fs::create_dir_all(&found)
            .with_context(|| format!("cannot make {}", found.display()))?;
        let mut command = nightly(&["fuzz", "run"]);
        command.args(options).arg(target).arg(found);
        command.args(["fuzz/corpus/respond", "--", "-max_len=1500"]);
        exec::run(command.arg(format!("-max_total_time={seconds}")))?;
    }
    Ok(Outcome::Passed)
}

fn table(results: &[(&str, Duration, Result<Outcome>)]) -> String {
    let mut table = String::new();
    for (name, duration, result) in results {
        let outcome = match result {
            Ok(Outcome::Passed) => "passed",
            Ok(Outcome::Skipped(reason)) => reason.as_str(),
            Err(_) => "FAILED",
        };
        let duration = exec::elapsed(*duration);
        let _infallible = writeln!(table, "{name:<20} {duration:>12}  {outcome}");
    }
    table
}

/// Runs `cargo xtask bench scale --ci`, unless options leave out what it needs.
fn scale(options: &test::Options) -> Result<Outcome> {
    for (option, left_out) in [("--fast", options.fast), ("--no-root", options.no_root)] {
        if left_out {
            return Ok(Outcome::Skipped(format!(
                "NOT CHECKED: {option} leaves it out"
            )));
        }
    }
    bench::check_scale()?;
    Ok(Outcome::Passed)
}

fn fmt() -> Result<Outcome> {
    exec::run(exec::cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    exec::run(
        exec::cargo()
            .args(["clippy", "--workspace", "--all-targets"])
            .args(["--features", FEATURES])
            .args(["--", "-Dwarnings"]),
    )?;
    Ok(Outcome::Passed)
}

fn clippy_bpf() -> Result<Outcome> {
    ensure!(ebpf::lint()?, "the compiler for BPF has no clippy");
    Ok(Outcome::Passed)
}

/// Checks that the compiler of the agent and the tasks is pinned.
fn compiler() -> Result<Outcome> {
    pins::check_compiler(&mut exec::isolated("rustc"))?;
    Ok(Outcome::Passed)
}

fn licences() -> Result<Outcome> {
    deny::check(&["bans", "licenses", "sources"])?;
    Ok(Outcome::Passed)
}

/// A gate of its own, because it needs the `RustSec` database, which is in no registry.
fn advisories() -> Result<Outcome> {
    deny::check(&["advisories"]).with_context(|| {
        format!("where the RustSec database cannot be fetched, set {SKIP}=advisories")
    })?;
    Ok(Outcome::Passed)
}

fn doc() -> Result<Outcome> {
    exec::run(
        exec::cargo()
            .env("RUSTDOCFLAGS", "-Dwarnings")
            .args(["doc", "--workspace", "--no-deps"])
            .args(["--features", FEATURES])
            .arg("--document-private-items"),
    )?;
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn fuzz_targets_run_only_if_asked_for() {
        assert_eq!(fuzz_seconds("").unwrap(), 0);
        assert_eq!(fuzz_seconds("20").unwrap(), 20);
        assert!(fuzz_seconds("20s").is_err());
    }

    #[test]
    fn all_suites_run_on_the_kernels_that_are_asked_for() {
        assert_eq!(named_kernels("").unwrap(), None);
        assert_eq!(named_kernels("all").unwrap(), Some(Vec::new()));
        let two = named_kernels("5.10,7.x").unwrap().unwrap();
        let expected = ["5.10", "7.x"].map(|name| Series::parse(name).unwrap());
        assert_eq!(two, expected);
        assert!(named_kernels("4.19").is_err());
    }

    #[test]
    fn only_gates_that_exist_are_left_out() {
        let gates: [Gate<'_>; 2] = [("fmt", &fmt), ("bench scale", &fmt)];
        assert_eq!(skipped("", &gates).unwrap().len(), 0);
        let both = skipped("bench scale, fmt", &gates).unwrap();
        assert!(both.contains("fmt") && both.contains("bench scale"));
        let error = skipped("fmt,format", &gates).unwrap_err().to_string();
        assert!(
            error.contains("`format` is no gate: fmt, bench scale"),
            "{error}"
        );
    }

    #[test]
    fn table_tells_failed_from_skipped() {
        let second = Duration::from_secs(1);
        let table = table(&[
            ("fmt", second, Ok(Outcome::Passed)),
            (
                "deny",
                second,
                Ok(Outcome::Skipped("NOT CHECKED: off".into())),
            ),
            ("test", second, Err(anyhow!("one failed"))),
        ]);
        let words: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[0], ["fmt", "1.0", "s", "passed"]);
        assert_eq!(words[1], ["deny", "1.0", "s", "NOT", "CHECKED:", "off"]);
        assert_eq!(words[2], ["test", "1.0", "s", "FAILED"]);
    }
}
