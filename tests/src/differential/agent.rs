//! Runs the agent as a process. Its objects come from a folder, or from the API server
//! that CoreDNS uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use anyhow::Context as _;
use headless_ebpf::abi::PodsMode;
use tempfile::TempDir;

use super::client::Client;
use super::cluster::Cluster;
use super::coredns::Choices;

/// Where the agent answers. CoreDNS has port 53 on every address.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1053);

/// A running agent, killed when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    /// The folder with the objects; `None` if they come from the API server.
    manifests: Option<TempDir>,
    log: TempDir,
    client: Client,
}

/// Where the agent's objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of manifests.
    Folder,
    /// The API server.
    ApiServer,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both calls fail if the agent has ended by itself.
        let _killed = self.process.kill();
        let _waited = self.process.wait();
    }
}

impl Agent {
    /// Starts the program that `HEADLESS_AGENT` names. The endpoint scope is the
    /// source's default.
    pub fn start(
        choices: &Choices,
        source: Source,
        cluster: &Cluster,
        api: SocketAddr,
    ) -> anyhow::Result<Self> {
        let program = env::var_os("HEADLESS_AGENT")
            .context("HEADLESS_AGENT names the agent's binary: use `cargo xtask test`")?;
        let log = tempfile::tempdir()?;
        let mut command = Command::new(&program);
        command.arg("run");
        let manifests = match source {
            Source::Folder => {
                let manifests = tempfile::tempdir()?;
                write(&manifests, cluster)?;
                command.arg("--manifests").arg(manifests.path());
                Some(manifests)
            }
            Source::ApiServer => {
                command.args(["--api-server", &format!("http://{api}")]);
                None
            }
        };
        let file = fs::File::create(log.path().join("log"))?;
        let Choices {
            zone,
            ttl,
            pods,
            pod_names,
            options: _,
            upstream: _,
            distribution: _,
        } = choices;
        let pods = match pods {
            PodsMode::Disabled => "disabled",
            PodsMode::Insecure => "insecure",
            PodsMode::Verified => "verified",
        };
        // The agent reads the Corefile without the address of CoreDNS's API server.
        let corefile = choices
            .corefile(api)
            .replace(&format!("endpoint http://{api}"), "");
        let path = log.path().join("Corefile");
        fs::write(&path, corefile)?;
        let process = command
            .arg("--corefile-file")
            .arg(path)
            .args(["--zone", zone, "--ttl", &ttl.to_string(), "--pods", pods])
            .args(pod_names.then_some("--endpoint-pod-names"))
            .args(["--listen-unserved", &ADDRESS.to_string()])
            // Agents of several tests run at once.
            .arg("--admin-socket")
            .arg(log.path().join("admin.sock"))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self {
            process,
            manifests,
            log,
            client: Client::new(ADDRESS)?,
        })
    }

    /// Replaces the objects in the folder. Does nothing if the objects come from the API
    /// server.
    pub fn write(&self, cluster: &Cluster) -> anyhow::Result<()> {
        match &self.manifests {
            Some(manifests) => write(manifests, cluster),
            None => Ok(()),
        }
    }

    /// Asks until `ready` returns true for a reply.
    ///
    /// # Errors
    ///
    /// If the agent ends, or no such reply comes in time. The error has the agent's log.
    pub fn wait_for(&mut self, query: &[u8], ready: impl Fn(&[u8]) -> bool) -> anyhow::Result<()> {
        let Self {
            process,
            log,
            client,
            ..
        } = self;
        let alive = || match process.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the agent ended with {status}:\n{}", read(log)),
        };
        client
            .wait_for(query, ready, alive)
            .with_context(|| read(log))
    }

    /// Asks over UDP and returns the reply.
    pub fn ask(&self, query: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.client.ask(query)
    }
}

fn read(log: &TempDir) -> String {
    fs::read_to_string(log.path().join("log")).unwrap_or_default()
}

/// Writes all objects as documents of one file. The rename replaces the file in one
/// step, so the agent never reads half of it.
fn write(folder: &TempDir, cluster: &Cluster) -> anyhow::Result<()> {
    let documents = cluster
        .objects()
        .map(|object| format!("---\n{}\n", object.json()));
    let new = folder.path().join("objects.new");
    fs::write(&new, documents.collect::<String>())?;
    fs::rename(new, folder.path().join("objects.yaml"))?;
    Ok(())
}
