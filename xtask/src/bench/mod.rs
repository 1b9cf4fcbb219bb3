//! `cargo xtask bench`: measures headless beside references in the same run: bare XDP
//! reflection, CoreDNS, or another revision.

mod against;
mod cluster;
mod hooks;
mod machine;
mod scale;
mod served;
mod tables;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    hooks: hooks::Options,

    /// Measure this checkout's programs beside those of a git revision instead.
    #[arg(long, value_name = "REVISION", conflicts_with = "flow_rounds")]
    against: Option<String>,
}

/// Other measurements than the hooks.
#[derive(Debug, Subcommand)]
enum Part {
    /// Memory, time to sync and freshness beside `CoreDNS`, in one cluster.
    Scale(scale::Options),
}

/// Measures, prints a table and writes the same as JSON into `target/bench`.
///
/// # Errors
/// When a part cannot be built or measured.
pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match &bench.part {
        None => match &bench.against {
            Some(revision) => against::run(revision, bench.hooks.quick),
            None => hooks::run(&bench.hooks),
        },
        Some(Part::Scale(options)) => scale::run(options).map(|()| ExitCode::SUCCESS),
    }
}

/// Checks that `cargo xtask bench scale` works.
///
/// # Errors
/// When it cannot be built, fails, or an answer is wrong.
pub(crate) fn check_scale() -> Result<()> {
    scale::check()
}
