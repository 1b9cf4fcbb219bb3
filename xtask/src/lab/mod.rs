//! `cargo xtask lab`: runs a command in a pod. The node and its pods are network
//! namespaces.
//!
//! The node's network namespace has the host ends of the pods' veths, the agent, and on
//! `lo` the addresses that pods send questions to. A lab has no kube-proxy and no
//! `CoreDNS`, so the agent's responder is the cluster's DNS for questions that the kernel
//! passes. Cluster IPs of other Services lead nowhere.

pub(crate) mod agent;
pub(crate) mod floor;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod pod;
pub(crate) mod program;
pub(crate) mod sandbox;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use agent::{Agent, AgentOptions, Hook};
use network::Netns;
use pod::Pod;
use sandbox::{Control, Interrupt};

use crate::{ebpf, exec};

/// The cluster DNS Service's address, as kubeadm gives it.
pub(crate) const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The node's own DNS address, as `NodeLocal` `DNSCache` has it.
pub(crate) const NODE_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// The address of the first client pod. The other pods have the following addresses.
const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);

/// The most client pods: the lab has 253 names and addresses for them.
const PODS_MAX: u8 = 200;

/// The exit status of a shell for a command that it does not find.
const NOT_FOUND: u8 = 127;

/// The exit status of a shell for a command that it cannot execute.
const NOT_EXECUTABLE: u8 = 126;

/// Arguments of `cargo xtask lab`.
#[derive(Debug, clap::Args)]
pub(crate) struct LabArgs {
    /// Folder of Kubernetes YAML that the agent serves.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,

    /// How many client pods there are; the command runs in the first.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(PODS_MAX)))]
    pods: u8,

    /// Hook of the programs [default: the agent's].
    #[arg(long)]
    hook: Option<Hook>,

    /// One more argument for the agent; can be given many times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    agent_arg: Vec<OsString>,

    /// File for the agent's counters as JSON, written when the command has ended.
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,

    /// Show the agent's log on standard error.
    #[arg(long)]
    verbose: bool,

    /// Start this agent instead of building one.
    #[arg(long, value_name = "FILE", hide = true)]
    agent: Option<PathBuf>,

    /// The command to run in the first pod, and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command in a lab. Returns the command's exit status, or 128 plus the number of
/// the signal that ended it.
///
/// # Errors
/// When the lab cannot be set up, the agent does not become ready, or the
/// counters cannot be written.
pub(crate) fn run(arguments: &LabArgs) -> Result<ExitCode> {
    sandbox::enter(
        || {
            ensure!(
                arguments.manifests.is_dir(),
                "no folder {}",
                arguments.manifests.display()
            );
            if arguments.agent.is_none() {
                build_plain_agent()?;
            }
            Ok(())
        },
        async |control| node(arguments, control).await,
    )
}

/// Builds the BPF objects, and an agent without optimization, which takes a fifth of the time. The
/// programs in the kernel are the same.
pub(crate) fn build_plain_agent() -> Result<PathBuf> {
    build_agent_as("dev", &[])?;
    Ok(plain_agent())
}

/// The path of the agent that [`build_plain_agent`] builds.
pub(crate) fn plain_agent() -> PathBuf {
    exec::target().join("debug/headless-agent")
}

/// Builds the BPF objects, and the agent with the object inside.
pub(crate) fn build_agent() -> Result<()> {
    build_agent_as("release", &[])
}

/// Builds the BPF objects, and the agent as the image has it, but linked with the system's libc.
/// Returns its path.
pub(crate) fn build_image_agent() -> Result<PathBuf> {
    build_agent_as("image", &["jemalloc"])?;
    Ok(exec::target().join("image/headless-agent"))
}

fn build_agent_as(profile: &str, features: &[&str]) -> Result<()> {
    ebpf::build()?;
    let mut command = exec::cargo();
    command
        .args(["build", "--profile", profile, "--package", "headless-agent"])
        .args(["--features", &features.join(",")])
        .arg("--target-dir")
        .arg(exec::target());
    exec::run(&mut command)
}

/// The path of the agent that [`build_agent`] builds.
pub(crate) fn built_agent() -> PathBuf {
    exec::target().join("release/headless-agent")
}

/// A running lab.
struct Lab {
    agent: Agent,
    pods: Vec<Pod>,
}

impl Lab {
    async fn set_up(arguments: &LabArgs) -> Result<Self> {
        network::set_up_node(&[CLUSTER_DNS, NODE_DNS])?;
        let node = Netns::current()?;
        let mut pods = Vec::new();
        for number in 0..arguments.pods {
            let address = Ipv4Addr::from_bits(FIRST_CLIENT.to_bits() + u32::from(number));
            pods.push(Pod::new(
                &node,
                &format!("client-{number}"),
                address,
                CLUSTER_DNS,
            )?);
        }
        let binary = arguments.agent.clone();
        let binary = binary.unwrap_or_else(|| exec::target().join("debug/headless-agent"));
        let agent = Agent::start(&AgentOptions {
            binary: &binary,
            manifests: &arguments.manifests,
            listen: &[CLUSTER_DNS, NODE_DNS],
            hook: arguments.hook,
            admin: agent::ADMIN,
            arguments: &arguments.agent_arg,
            verbose: arguments.verbose,
        })
        .await?;
        Ok(Self { agent, pods })
    }
}

async fn node(arguments: &LabArgs, mut control: Control) -> Result<ExitCode> {
    let Lab { mut agent, pods } = tokio::select! {
        lab = Lab::set_up(arguments) => lab?,
        interrupt = control.interrupted() => return Ok(interrupt?.exit_code()),
    };
    for complaint in agent.complaints().await? {
        exec::progress("lab", &format!("the agent: {complaint}"));
    }
    let mut status = match spawn(arguments, &pods, &agent)? {
        Spawned::Running(child) => wait(child, &mut control).await?,
        Spawned::Refused(status) => status,
    };
    if let Some(ended) = agent.ended()? {
        // A command may kill the agent on purpose, so the lab does not fail for that.
        exec::progress(
            "lab",
            &format!("the agent ended before the command: {ended}"),
        );
        if arguments.stats.is_some() {
            exec::progress("lab", "no counters are written");
            status = status.max(1);
        }
        return Ok(ExitCode::from(status));
    }
    if let Some(file) = &arguments.stats {
        fs::write(file, agent.status().await?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    agent.stop().await?;
    Ok(ExitCode::from(status))
}

/// The command, or the exit status that a shell would give for it.
enum Spawned {
    Running(Child),
    Refused(u8),
}

fn spawn(arguments: &LabArgs, pods: &[Pod], agent: &Agent) -> Result<Spawned> {
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let first = pods.first().context("no pod")?;
    let netns: Vec<_> = pods.iter().map(Pod::netns_path).collect();
    let mut command = first.command(program);
    command
        .args(rest)
        .env("HEADLESS_LAB_AGENT_PID", agent.pid().to_string())
        .env("HEADLESS_LAB_POD_NETNS", netns.join(":"));
    match Command::from(command).spawn() {
        Ok(child) => Ok(Spawned::Running(child)),
        Err(error) => {
            exec::progress("lab", &format!("cannot run {}: {error}", program.display()));
            Ok(Spawned::Refused(match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            }))
        }
    }
}

/// Waits for the command's end. Forwards signals to the command, except signals that the
/// terminal has sent to the command itself.
async fn wait(mut child: Child, control: &mut Control) -> Result<u8> {
    let id = child.id().context("the command has no process id")?;
    let pid = Pid::from_raw(i32::try_from(id)?);
    loop {
        tokio::select! {
            status = child.wait() => return Ok(sandbox::exit_status(status?)),
            interrupt = control.interrupted() => {
                let Interrupt { signal, from_terminal } = interrupt?;
                if !from_terminal {
                    kill(pid, signal).context("cannot send the command a signal")?;
                }
            }
        }
    }
}
