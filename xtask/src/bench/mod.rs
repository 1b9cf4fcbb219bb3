//! `cargo xtask bench`: figures, each beside something real in the same run.

mod hooks;
mod scale;

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
}

/// What else can be measured.
#[derive(Debug, Subcommand)]
enum Part {
    /// Memory, time to sync and freshness beside `CoreDNS`, in a large cluster.
    Scale(scale::Options),
}

/// Measures, prints a table and writes the same as JSON into `target/bench`.
///
/// # Errors
/// When a part cannot be built or measured.
pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match &bench.part {
        None => hooks::run(&bench.hooks),
        Some(Part::Scale(options)) => scale::run(options).map(|()| ExitCode::SUCCESS),
    }
}
