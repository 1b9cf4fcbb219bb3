//! `cargo xtask demo`: the agent at work without a cluster. Network namespaces are a node
//! and the pods of a `StatefulSet`, the agent serves `deploy/demo/`, and one more pod asks.
//! The demo checks every claim that it prints, and ends with an error when a check fails.

mod answers;
mod cluster;
mod readiness;
mod screen;
mod speed;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use crate::lab::agent::Hook;
use crate::lab::floor;
use crate::lab::sandbox::{self, Control};
use crate::{apt, ebpf, exec, lab};
use cluster::Cluster;
use screen::Screen;

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Leave the pods up at the end and say how to enter them.
    #[arg(long)]
    keep: bool,

    /// Hook of the programs [default: the agent's].
    #[arg(long)]
    hook: Option<Hook>,

    /// Show the agent's log on standard error.
    #[arg(long)]
    verbose: bool,

    /// Start this agent instead of building one.
    #[arg(long, value_name = "FILE", hide = true)]
    agent: Option<PathBuf>,
}

/// Runs the demo. Exit status 0 means that every check has passed.
///
/// # Errors
/// When a part cannot be set up, or a check fails.
pub(crate) fn run(arguments: &DemoArgs) -> Result<ExitCode> {
    sandbox::enter(
        || {
            if exec::on_path("busybox").is_none() {
                apt::ensure(&["busybox-static"])?;
            }
            if arguments.agent.is_none() {
                return lab::build_plain_agent().map(drop);
            }
            ebpf::build().map(drop)
        },
        async |mut control| {
            let init_pid = control.init_pid;
            let kept = tokio::select! {
                kept = show(arguments, init_pid) => kept?,
                interrupt = control.interrupted() => return Ok(interrupt?.exit_code()),
            };
            if let Some(kept) = kept {
                kept.wait(&mut control).await?;
            }
            Ok(ExitCode::SUCCESS)
        },
    )
}

async fn show(arguments: &DemoArgs, init_pid: u32) -> Result<Option<Kept>> {
    let screen = Screen::new();
    let agent = arguments.agent.clone().unwrap_or_else(lab::plain_agent);
    let cluster = Cluster::set_up(&agent, arguments.hook, arguments.verbose).await?;
    screen.heading("A node, four pods, the agent")?;
    for pod in cluster.pods() {
        screen.output(&format!(
            "{:<8}{:<12} behind {}",
            pod.name(),
            pod.address().to_string(),
            pod.host_end()
        ))?;
    }
    answers::show(&cluster, screen).await?;
    readiness::show(&cluster, screen).await?;
    speed::show(&cluster, screen, &exec::target().join(floor::OBJECT)).await?;
    if arguments.keep {
        return Kept::new(cluster, screen, init_pid).map(Some);
    }
    cluster.agent.stop().await?;
    screen.heading("All of this was verified")?;
    Ok(None)
}

/// A demo that stays up.
struct Kept {
    _cluster: Cluster,
    /// A process in each pod, so that `nsenter` can enter the pod.
    _sleepers: Vec<Child>,
}

impl Kept {
    fn new(cluster: Cluster, screen: Screen, init_pid: u32) -> Result<Self> {
        screen.heading("The pods stay up until Ctrl-C or SIGTERM; from another terminal:")?;
        let node = format!("nsenter --target {init_pid} --all");
        screen.output(&format!("the node: {node} sh"))?;
        let mut sleepers = Vec::new();
        for pod in cluster.pods() {
            let mut command = pod.command("sleep");
            command.arg("infinity").stdin(Stdio::null());
            let child = Command::from(command).spawn().context("cannot run sleep")?;
            let pid = child.id().context("sleep ended")?;
            screen.output(&format!(
                "{}: {node} nsenter --target {pid} --net --mount sh",
                pod.name()
            ))?;
            sleepers.push(child);
        }
        Ok(Self {
            _cluster: cluster,
            _sleepers: sleepers,
        })
    }

    async fn wait(self, control: &mut Control) -> Result<()> {
        control.interrupted().await.map(drop)
    }
}
