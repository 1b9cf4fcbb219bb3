//! `cargo xtask bench scale`: the agent and `CoreDNS`, one after the other, on
//! the same API server with the same objects and changes.

use crate::peers::{self, Peer};
use crate::{apt, exec, lab};
use anyhow::{Result, ensure};

/// Options of `cargo xtask bench scale`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Headless Services of the cluster.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Their endpoints, 5,000 of which are in one Service.
    #[arg(long, default_value_t = 150_000)]
    endpoints: u32,
    /// Changes, first at a steady rate, then at once.
    #[arg(long, default_value_t = 2_000)]
    changes: u32,
    /// A tenth of the cluster.
    #[arg(long, conflicts_with_all = ["services", "endpoints"])]
    quick: bool,
}

/// Builds what is measured, and measures.
///
/// # Errors
/// When not root, or where a program cannot be built or fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        exec::is_root(),
        "`cargo xtask bench scale` makes network namespaces and loads BPF programs: run it as root"
    );
    apt::ensure(&["iproute2"])?;
    let coredns = peers::path(Peer::Coredns)?;
    // As in the image.
    lab::build_agent_with(&["jemalloc"])?;
    let target = exec::target();
    let mut build = exec::cargo();
    build
        .args(["build", "--release", "--package", "headless-tests"])
        .args(["--bin", "scale", "--features", "root-tests,peers"])
        .arg("--target-dir")
        .arg(&target);
    exec::run(&mut build)?;

    let Options {
        mut services,
        mut endpoints,
        changes,
        quick,
    } = *options;
    if quick {
        services /= 10;
        endpoints /= 10;
    }
    let file = target.join("bench/scale.json");
    let mut command = exec::isolated(target.join("release/scale"));
    command
        .args([services, endpoints, changes].map(|number| number.to_string()))
        .arg(&file)
        .env("HEADLESS_AGENT", lab::built_agent())
        .env("HEADLESS_COREDNS", coredns);
    exec::run(&mut command)?;
    exec::progress("bench", &format!("{} has the figures", file.display()));
    Ok(())
}
