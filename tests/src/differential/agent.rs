//! The agent as a process, on the same objects in a folder.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use anyhow::Context as _;
use headless_agent::records::EndpointScope;
use headless_ebpf::abi::PodsMode;
use tempfile::TempDir;

use super::client::Client;
use super::cluster::Cluster;
use super::coredns::Choices;

/// Where it answers; not port 53, which is CoreDNS's on every address.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1053);

/// A running agent, killed when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    manifests: TempDir,
    log: TempDir,
    client: Client,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.process.kill();
        let _waited = self.process.wait();
    }
}

impl Agent {
    /// Starts the program named by `HEADLESS_AGENT`.
    pub fn start(
        choices: &Choices,
        endpoints: EndpointScope,
        cluster: &Cluster,
    ) -> anyhow::Result<Self> {
        let program = env::var_os("HEADLESS_AGENT")
            .context("HEADLESS_AGENT names the agent's binary: use `cargo xtask test`")?;
        let (manifests, log) = (tempfile::tempdir()?, tempfile::tempdir()?);
        write(&manifests, cluster)?;
        let file = fs::File::create(log.path().join("log"))?;
        let Choices {
            zone,
            ttl,
            pods,
            pod_names,
        } = choices;
        let pods = match pods {
            PodsMode::Disabled => "disabled",
            PodsMode::Insecure => "insecure",
            PodsMode::Verified => "verified",
        };
        let endpoints = match endpoints {
            EndpointScope::Headless => "headless",
            EndpointScope::All => "all",
        };
        let process = Command::new(&program)
            .arg("run")
            .arg("--manifests")
            .arg(manifests.path())
            .args(["--zone", zone, "--ttl", &ttl.to_string(), "--pods", pods])
            .args(["--endpoints", endpoints])
            .args(pod_names.then_some("--endpoint-pod-names"))
            .args(["--listen-unserved", &ADDRESS.to_string()])
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

    /// Replaces the objects.
    pub fn write(&self, cluster: &Cluster) -> anyhow::Result<()> {
        write(&self.manifests, cluster)
    }

    /// Waits until it gives an answer that `ready` likes.
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

    /// Its answer.
    pub fn ask(&self, query: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.client.ask(query)
    }
}

fn read(log: &TempDir) -> String {
    fs::read_to_string(log.path().join("log")).unwrap_or_default()
}

/// Writes all objects as documents of one file, in one step.
fn write(folder: &TempDir, cluster: &Cluster) -> anyhow::Result<()> {
    let documents = cluster
        .objects()
        .map(|object| format!("---\n{}\n", object.json()));
    let new = folder.path().join("objects.new");
    fs::write(&new, documents.collect::<String>())?;
    fs::rename(new, folder.path().join("objects.yaml"))?;
    Ok(())
}
