//! The demo's node: four pods, web servers, and the agent, which serves a copy of the
//! manifests that the demo may change.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::screen::Screen;
use crate::exec;
use crate::lab::agent::{ADMIN, Agent, AgentOptions, Hook};
use crate::lab::network::{self, Netns};
use crate::lab::pod::Pod;
use crate::lab::{CLUSTER_DNS, NODE_DNS, mounts};

/// The pods of the `StatefulSet`, with the addresses that the `EndpointSlice` in
/// `deploy/demo/` gives them.
pub(crate) const WEB: [(&str, Ipv4Addr); 3] = [
    ("web-0", Ipv4Addr::new(10, 0, 0, 22)),
    ("web-1", Ipv4Addr::new(10, 0, 0, 23)),
    ("web-2", Ipv4Addr::new(10, 0, 0, 39)),
];

const CLIENT: (&str, Ipv4Addr) = ("client", Ipv4Addr::new(10, 0, 0, 10));

/// The longest wait for the start of a web server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a command in a pod may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The node, its pods and its processes.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The node's network namespace.
    pub(crate) node: Netns,
    /// The client's pod.
    pub(crate) client: Pod,
    /// The agent.
    pub(crate) agent: Agent,
    /// The folder that the agent watches.
    pub(crate) manifests: PathBuf,
    /// The pods of the `StatefulSet`, each with its web server.
    web: Vec<(Pod, Child)>,
}

impl Cluster {
    /// Starts everything. Returns when the agent is ready and the client's pod reaches the
    /// web servers.
    pub(crate) async fn set_up(agent: &Path, hook: Option<Hook>, verbose: bool) -> Result<Self> {
        network::set_up_node(&[CLUSTER_DNS, NODE_DNS])?;
        let node = Netns::current()?;
        let (name, address) = CLIENT;
        let client = Pod::new(&node, name, address, CLUSTER_DNS)?;
        let mut web = Vec::new();
        for (name, address) in WEB {
            let pod = Pod::new(&node, name, address, CLUSTER_DNS)?;
            let server = start_web_server(&pod)?;
            wait_for_server(&client, address)?;
            web.push((pod, server));
        }
        let manifests = copy_manifests()?;
        let agent = Agent::start(&AgentOptions {
            binary: agent,
            manifests: &manifests,
            listen: &[CLUSTER_DNS, NODE_DNS],
            hook,
            admin: ADMIN,
            arguments: &[],
            verbose,
        })
        .await?;
        Ok(Self {
            node,
            client,
            agent,
            manifests,
            web,
        })
    }

    /// Every pod.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        std::iter::once(&self.client).chain(self.web.iter().map(|(pod, _)| pod))
    }

    /// Shows a command, runs it in the client's pod and shows its output.
    ///
    /// # Errors
    /// When the command cannot be run or does not end.
    pub(crate) async fn show(&self, screen: Screen, line: &str) -> Result<Output> {
        screen.command(self.client.name(), line)?;
        let mut words = line.split(' ');
        let mut command = self.client.command(words.next().context("no command")?);
        command.args(words).stdin(Stdio::null());
        let output = Command::from(command).kill_on_drop(true).output();
        let output = tokio::time::timeout(COMMAND_TIMEOUT, output)
            .await
            .with_context(|| format!("`{line}` did not end"))?
            .with_context(|| format!("cannot run `{line}`"))?;
        screen.output(&String::from_utf8_lossy(&output.stdout))?;
        screen.output(&String::from_utf8_lossy(&output.stderr))?;
        Ok(output)
    }

    /// The program that comes first on the client's interface, XDP or tc, and its id in the
    /// kernel.
    ///
    /// # Errors
    /// When the agent's status does not name a program.
    pub(crate) async fn program(&self) -> Result<(&'static str, u32)> {
        let interface = self.client.host_end();
        if let Some(id) = network::xdp_program_id(&self.node, &interface)? {
            return Ok(("XDP", id));
        }
        let id = self.status().await?["programs"]["tc"]["id"].as_u64();
        Ok((
            "tc",
            u32::try_from(id.context("the agent has no tc program")?)?,
        ))
    }

    async fn status(&self) -> Result<Value> {
        serde_json::from_slice(&self.agent.status().await?)
            .context("the agent's status is not JSON")
    }

    /// The agent's counters of answers.
    ///
    /// # Errors
    /// When the agent does not give them.
    pub(crate) async fn answers(&self) -> Result<Answers> {
        let status = self.status().await?;
        let count = |key: &str| {
            status
                .pointer(&format!("/answers/{key}"))
                .and_then(Value::as_u64)
                .with_context(|| format!("the agent's status has no number answers.{key}"))
        };
        Ok(Answers {
            kernel: count("xdp")? + count("tc")?,
            agent: count("agent")?,
        })
    }
}

/// Answers since the agent's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// Answers by XDP or tc.
    pub(crate) kernel: u64,
    /// Answers by the agent, in userspace.
    pub(crate) agent: u64,
}

impl Answers {
    /// The answers since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            kernel: self.kernel.saturating_sub(before.kernel),
            agent: self.agent.saturating_sub(before.agent),
        }
    }
}

/// Starts a server whose page is the pod's name.
fn start_web_server(pod: &Pod) -> Result<Child> {
    let folder = mounts::scratch().join(pod.name()).join("www");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("index.html"), format!("{}\n", pod.name()))?;
    let mut command = pod.command("busybox");
    command
        .args(["httpd", "-f", "-p", "80", "-h"])
        .arg(&folder)
        .stdin(Stdio::null());
    Command::from(command)
        .spawn()
        .with_context(|| format!("cannot start the web server of {}", pod.name()))
}

fn wait_for_server(client: &Pod, address: Ipv4Addr) -> Result<()> {
    let server = SocketAddr::from((address, 80));
    let deadline = Instant::now() + SERVER_TIMEOUT;
    client.netns().run(|| {
        loop {
            match TcpStream::connect_timeout(&server, SERVER_TIMEOUT) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("no web server at {server}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    })
}

fn copy_manifests() -> Result<PathBuf> {
    let source = exec::workspace().join("deploy/demo");
    let copy = mounts::scratch().join("manifests");
    fs::create_dir_all(&copy)?;
    let files = fs::read_dir(&source).with_context(|| format!("no folder {}", source.display()))?;
    let mut count = 0;
    for file in files {
        let file = file?;
        fs::copy(file.path(), copy.join(file.file_name()))
            .with_context(|| format!("cannot copy {}", file.path().display()))?;
        count += 1;
    }
    ensure!(count > 0, "no manifests in {}", source.display());
    Ok(copy)
}

/// Replaces `file`'s text in one step, so that a reader sees the old text or
/// the new one.
pub(crate) fn replace(file: &Path, text: &str) -> Result<()> {
    let Some(name) = file.file_name() else {
        bail!("{} is no file", file.display());
    };
    // The new file is outside of the watched folder, but in the same file system, so that
    // it can be renamed.
    let new = mounts::scratch().join(name);
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("cannot replace {}", file.display()))
}
