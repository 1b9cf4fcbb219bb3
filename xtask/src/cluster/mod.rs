//! `cargo xtask cluster`: Kubernetes on one node made of namespaces, with a kubelet,
//! containerd, kube-proxy, a CNI plugin and `CoreDNS`, and headless in it as a user deploys it.

mod ask;
mod components;
mod config;
mod conformance;
mod deploy;
mod images;
mod init;
mod metrics;
mod options;
mod pki;
mod place;
mod report;
mod session;
mod test;
mod traces;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::peers::{self, Peer};
use crate::{apt, cache, exec};
use images::Image;
use init::Plan;
use options::{AgentArgs, NodeArgs};
use place::Record;
use session::Session;

/// Debian's packages beside the programs that are built.
const PACKAGES: [&str; 9] = [
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "nftables",
    "runc",
    "umoci",
];

/// The programs of the control plane and the node.
const PEERS: [Peer; 8] = [
    Peer::Coredns,
    Peer::Etcd,
    Peer::KubeApiserver,
    Peer::KubeControllerManager,
    Peer::KubeScheduler,
    Peer::Kubelet,
    Peer::KubeProxy,
    Peer::Kubectl,
];

/// Arguments of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start a cluster, with CoreDNS.
    Up(NodeArgs),
    /// Deploy headless, check what pods see, and remove it.
    Test(TestArgs),
    /// Run Kubernetes's own tests of DNS with headless deployed.
    Conformance(TestArgs),
    /// End the cluster. Nothing of it stays but logs and caches.
    Down,
    /// Run kubectl in the cluster.
    Kubectl {
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A DNS client in the calling network namespace.
    #[command(hide = true)]
    Ask,
    /// The cluster's first process.
    #[command(hide = true)]
    Init,
    /// The process that runs the components.
    #[command(hide = true)]
    Node,
}

/// Arguments of tests.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    node: NodeArgs,

    /// Leave a cluster running that was started for the test.
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    agent: AgentArgs,
}

/// Runs a subcommand.
///
/// # Errors
/// When a part cannot be built, or the cluster fails. The message names the component and its
/// log.
pub(crate) fn run(arguments: &ClusterArgs) -> Result<ExitCode> {
    match &arguments.action {
        Action::Up(node) => {
            let session = up(*node)?;
            let shown = session.kubectl_command();
            println!("The cluster runs. `cargo xtask cluster kubectl` is {shown:?}");
            println!("Logs: {}", place::logs().display());
        }
        Action::Test(arguments) => {
            in_cluster(arguments, |session| test::run(session, &arguments.agent))?;
        }
        Action::Conformance(arguments) => {
            apt::ensure(&["debootstrap"])?;
            in_cluster(arguments, |session| {
                conformance::run(session, &arguments.agent)
            })?;
        }
        Action::Down => {
            let record = Record::read()?.context("no cluster runs")?;
            down(record)?;
        }
        Action::Kubectl { arguments } => {
            let session = Session::running()?.context("no cluster runs")?;
            let status = session.kubectl_command().args(arguments).status()?;
            return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1))?));
        }
        Action::Ask => ask::run()?,
        Action::Init => init::init()?,
        Action::Node => init::node()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `work` in the running cluster, or in one that is started for it.
fn in_cluster(arguments: &TestArgs, work: impl FnOnce(&Session) -> Result<()>) -> Result<()> {
    if let Some(session) = Session::running()? {
        let NodeArgs { proxy, cni } = arguments.node;
        let record = &session.record;
        let differs = proxy.is_some_and(|proxy| proxy != record.proxy)
            || cni.is_some_and(|cni| cni != record.cni);
        ensure!(
            !differs,
            "the running cluster has {} and {}: `cargo xtask cluster down` ends it",
            record.proxy.name(),
            record.cni.name()
        );
        return work(&session).map_err(|error| session.explain(error));
    }
    let session = up(arguments.node)?;
    let result = work(&session).map_err(|error| session.explain(error));
    if arguments.keep {
        exec::progress(
            "cluster",
            "the cluster stays: `cargo xtask cluster down` ends it",
        );
        return result;
    }
    let ended = down(session.record);
    result.and(ended)
}

/// Starts a cluster and waits until `CoreDNS` answers.
fn up(node: NodeArgs) -> Result<Session> {
    ensure!(
        exec::is_root(),
        "a cluster needs root: it makes namespaces and runs containers"
    );
    let _lock = cache::lock(&place::root(), "cluster")?;
    if let Some(record) = Record::read()? {
        if record.runs() {
            bail!("a cluster runs already: `cargo xtask cluster down` ends it");
        }
        exec::progress("cluster", "removing what a killed cluster left");
        record.remove()?;
    }
    let plan = prepare()?;
    let start = Instant::now();
    let mut record = Record::new(node.proxy.unwrap_or_default(), node.cni.unwrap_or_default());
    let (proxy, cni) = (record.proxy.name(), record.cni.name());
    exec::progress("cluster", &format!("starting ({proxy}, {cni})"));
    match bring_up(&plan, &mut record) {
        Ok(()) => {}
        Err(error) => {
            if let Err(left) = record.remove() {
                exec::progress("cluster", &format!("{left:#}"));
            }
            return Err(error);
        }
    }
    let elapsed = exec::elapsed(start.elapsed());
    exec::progress("cluster", &format!("ready after {elapsed}"));
    Session::running()?.context("the cluster has ended")
}

fn bring_up(plan: &Plan, record: &mut Record) -> Result<()> {
    let logs = place::logs();
    if logs.exists() {
        fs::remove_dir_all(&logs).with_context(|| format!("cannot remove {}", logs.display()))?;
    }
    record.write()?;
    pki::write(&place::run_folder().join("pki")).context("cannot make certificates")?;
    config::write(record)?;
    init::start(plan, record)?;
    let session = Session::running()?.context("the cluster has ended")?;
    session.wait_for_node()?;
    session.apply(include_str!("../../cluster/coredns.yaml"))?;
    session.wait_for_rollout("kube-system", "deployment/coredns")
}

fn down(record: Record) -> Result<()> {
    let start = Instant::now();
    record.remove()?;
    let elapsed = exec::elapsed(start.elapsed());
    exec::progress("cluster", &format!("ended in {elapsed}"));
    Ok(())
}

/// Installs, builds and packs the parts.
fn prepare() -> Result<Plan> {
    apt::ensure(&PACKAGES)?;
    let mut programs = components::Programs::new();
    for peer in PEERS {
        programs.insert(peer.name().to_owned(), peers::path(peer)?);
    }
    let busybox = PathBuf::from(images::BUSYBOX);
    let coredns = programs.get("coredns").context("no CoreDNS")?;
    let images = [
        images::pause(&busybox),
        images::busybox(&busybox),
        Image::of("localhost/coredns:1", coredns, "/coredns"),
    ];
    let images = images.into_iter().map(|image| {
        let file = image.build()?;
        Ok((image.name, file))
    });
    Ok(Plan {
        images: images.collect::<Result<_>>()?,
        programs,
    })
}
