//! `cargo xtask bench`: figures, each beside something real in the same run.

mod scale;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Memory, time to sync and freshness beside `CoreDNS`, in a large cluster.
    Scale(scale::Options),
}

/// Measures, prints a table and writes the same as JSON into `target/bench`.
///
/// # Errors
/// When a part cannot be built or measured.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Scale(options) => scale::run(options),
    }
}
