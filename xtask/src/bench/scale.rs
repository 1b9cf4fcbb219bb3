//! `cargo xtask bench scale`: the agent and `CoreDNS`, one after the other, with the
//! same API server, objects and changes.

use std::path::PathBuf;

use crate::peers::{self, Peer};
use crate::workspace::{FEATURES, Suites};
use crate::{apt, ebpf, exec, lab};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// The program that measures, and the features it needs.
const PROGRAM: [&str; 4] = ["--bin", "scale", "--features", "root-tests,peers"];

/// Options of `cargo xtask bench scale`.
#[derive(clap::Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line"
)]
pub(crate) struct Options {
    /// Headless Services of the cluster.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Their endpoints, a thirtieth of which are in one Service.
    #[arg(long, default_value_t = 150_000)]
    endpoints: u32,
    /// Changes, first at a steady rate, then at once.
    #[arg(long, default_value_t = 2_000)]
    changes: u32,
    /// Measure a tenth of the cluster.
    #[arg(long, conflicts_with_all = ["services", "endpoints"])]
    quick: bool,
    /// Measure a common cluster: 200 Services, 1,000 pods.
    #[arg(long, conflicts_with_all = ["services", "endpoints", "quick"])]
    small: bool,
    /// Measure the agent alone with `--endpoints headless` and `all`, in a cluster of which one
    /// Service of 20 is headless.
    #[arg(long)]
    scopes: bool,
    /// Check in under two minutes that the benchmark works and all answers are right.
    /// Programs are not optimized, so the figures mean nothing.
    #[arg(long, conflicts_with_all = ["services", "endpoints", "changes", "quick", "small", "scopes"])]
    ci: bool,
}

impl Options {
    /// The name of the file for the figures, and the plan as the program takes it
    /// (`tests/src/bin/scale/plan.rs`).
    fn plan(&self) -> (String, Value) {
        let Self {
            services,
            endpoints,
            changes,
            ..
        } = *self;
        let plan = |services: u32, endpoints: u32, largest: u32| {
            json!({
                "services": services, "endpoints": endpoints, "largest": largest,
                "headless_every": 1, "changes": changes, "large_changes": 200, "settling": 15,
            })
        };
        let (name, mut plan) = if self.small {
            ("scale-small", plan(200, 1_000, 100))
        } else if self.quick {
            ("scale-quick", plan(services / 10, endpoints / 10, 5_000))
        } else if self.ci {
            let mut plan = plan(services / 10, endpoints / 10, 5_000);
            plan["changes"] = 200.into();
            plan["large_changes"] = 20.into();
            plan["settling"] = 0.into();
            ("scale-ci", plan)
        } else {
            ("scale", plan(services, endpoints, endpoints / 30))
        };
        if self.scopes {
            plan["headless_every"] = 20.into();
            return (format!("{name}-scopes"), plan);
        }
        (name.to_owned(), plan)
    }
}

/// Builds the programs and measures.
///
/// # Errors
/// When not root, when a program cannot be built or fails, or when an answer is wrong.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        exec::is_root(),
        "`cargo xtask bench scale` makes network namespaces and loads BPF programs: run it as root"
    );
    apt::ensure(&["iproute2"])?;
    let coredns = peers::path(Peer::Coredns)?;
    let programs = if options.ci {
        debug_programs()?
    } else {
        release_programs()?
    };
    measure(options, &programs, coredns)
}

/// Runs the form of `--ci` with what `cargo xtask test` has built.
///
/// # Errors
/// As [`run`].
pub(crate) fn check() -> Result<()> {
    run(&Options {
        services: 10_000,
        endpoints: 150_000,
        changes: 2_000,
        quick: false,
        small: false,
        scopes: false,
        ci: true,
    })
}

/// The built programs.
struct Programs {
    scale: PathBuf,
    agent: PathBuf,
}

/// Optimized programs, the agent as the image has it.
fn release_programs() -> Result<Programs> {
    let agent = lab::build_image_agent()?;
    let target = exec::target();
    let mut build = exec::cargo();
    build
        .args(["build", "--release", "--package", "headless-tests"])
        .args(PROGRAM)
        .arg("--target-dir")
        .arg(&target);
    exec::run(&mut build)?;
    Ok(Programs {
        scale: target.join("release/scale"),
        agent,
    })
}

/// The programs as `cargo xtask test` builds them, which has built them before in CI.
fn debug_programs() -> Result<Programs> {
    ebpf::build()?;
    let build = ["build", "--workspace", "--features", FEATURES];
    exec::run(exec::cargo().args(build))?;
    let folder = Suites::read()?.target.join("debug");
    Ok(Programs {
        scale: folder.join("scale"),
        agent: folder.join("headless-agent"),
    })
}

fn measure(options: &Options, programs: &Programs, coredns: PathBuf) -> Result<()> {
    let (name, plan) = options.plan();
    let file = exec::target().join(format!("bench/{name}.json"));
    let mut command = exec::isolated(&programs.scale);
    command
        .arg(plan.to_string())
        .arg(&file)
        .env("HEADLESS_AGENT", &programs.agent)
        .env("HEADLESS_COREDNS", coredns);
    exec::run(&mut command)?;
    exec::progress("bench", &format!("{} has the figures", file.display()));
    Ok(())
}
