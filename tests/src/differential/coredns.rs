//! Runs CoreDNS in a network namespace of the test's own.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, bail};
use headless_agent::corefile::{self, Exposure, Files};
use headless_ebpf::abi::PodsMode;
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::client::Client;
use super::{corefiles, upstream};

/// Where CoreDNS answers: a pod's address on `lo`. CoreDNS finds its own Service by its
/// own addresses, of which it ignores loopback addresses (CoreDNS,
/// `plugin/kubernetes/local.go`).
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);

/// Where the upstream resolver answers.
pub const UPSTREAM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);

/// How long a reply over TCP may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The options of CoreDNS's `kubernetes` plugin that the tests vary. The defaults are
/// kubeadm's.
#[derive(Clone, Debug)]
pub struct Choices {
    /// The zone.
    pub zone: &'static str,
    /// TTL in seconds.
    pub ttl: u32,
    /// The option `pods`.
    pub pods: PodsMode,
    /// The option `endpoint_pod_names`.
    pub pod_names: bool,
    /// Further options of the plugin, one a line.
    pub options: &'static str,
    /// Whether names outside of the zone are forwarded to an upstream resolver.
    pub upstream: bool,
    /// The folder in `tests/corefiles` with the Corefile, whose options hold. Then only the
    /// programs are compared: CoreDNS's cache changes TTLs of messages that the programs pass in
    /// ways that the resolver does not have.
    pub distribution: Option<&'static str>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            zone: "cluster.local",
            ttl: 30,
            pods: PodsMode::Insecure,
            pod_names: false,
            options: "",
            upstream: true,
            distribution: None,
        }
    }
}

impl Choices {
    /// The objects that have names, as the agent reads them in the Corefile.
    ///
    /// # Panics
    ///
    /// If the options are wrong.
    pub fn exposure(&self) -> Exposure {
        let read = || corefile::read(&self.corefile(UPSTREAM), &Files::default(), None);
        let rules = self.distribution.map_or_else(read, corefiles::rules);
        rules.options.expect("options of a Corefile").exposure
    }

    /// kubeadm's Corefile (`cmd/kubeadm/app/phases/addons/dns/manifests.go`) without the
    /// plugins that do not change replies, and without `cache`, which counts TTLs down.
    pub(super) fn corefile(&self, api: SocketAddr) -> String {
        let Self {
            zone,
            ttl,
            pods,
            pod_names,
            options,
            upstream,
            distribution,
        } = self;
        if let Some(name) = distribution {
            return corefiles::adapted(name, api, UPSTREAM);
        }
        let pods = match pods {
            PodsMode::Disabled => "disabled",
            PodsMode::Insecure => "insecure",
            PodsMode::Verified => "verified",
        };
        let pod_names = if *pod_names { "endpoint_pod_names" } else { "" };
        let forward = if *upstream {
            format!("forward . {UPSTREAM} {{\n max_concurrent 1000\n }}")
        } else {
            String::new()
        };
        format!(
            ".:53 {{
                errors
                kubernetes {zone} in-addr.arpa ip6.arpa {{
                    endpoint http://{api}
                    pods {pods}
                    {pod_names}
                    {options}
                    fallthrough in-addr.arpa ip6.arpa
                    ttl {ttl}
                }}
                {forward}
                loadbalance
            }}\n"
        )
    }
}

/// Moves this thread into a new network namespace with [`ADDRESS`] on `lo` and an
/// upstream resolver. Threads and processes that this thread starts are in it too.
pub fn enter_namespace() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    for arguments in [
        "link set lo up".to_owned(),
        format!("address add {ADDRESS}/32 dev lo"),
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status();
        let status = status.context("cannot run ip")?;
        anyhow::ensure!(status.success(), "ip {arguments}: {status}");
    }
    upstream::serve(UPSTREAM).context("cannot serve as an upstream resolver")
}

/// A running CoreDNS, killed when dropped.
#[derive(Debug)]
pub struct CoreDns {
    process: Child,
    folder: TempDir,
    client: Client,
}

impl Drop for CoreDns {
    fn drop(&mut self) {
        // Both calls fail if CoreDNS has ended by itself.
        let _killed = self.process.kill();
        let _waited = self.process.wait();
    }
}

impl CoreDns {
    /// Starts the program that `HEADLESS_COREDNS` names. It reads the objects of an API
    /// server. Use [`Self::wait_for`] to wait until it answers from all of them.
    pub fn start(choices: &Choices, api: SocketAddr) -> anyhow::Result<Self> {
        let program = env::var_os("HEADLESS_COREDNS")
            .context("HEADLESS_COREDNS is not set: run `cargo xtask test`, or build CoreDNS by `cargo xtask peers coredns` and set it to the path")?;
        let folder = tempfile::tempdir()?;
        let corefile = folder.path().join("Corefile");
        fs::write(&corefile, choices.corefile(api))?;
        let log = fs::File::create(folder.path().join("log"))?;
        let process = Command::new(&program)
            .arg("-conf")
            .arg(&corefile)
            .current_dir(folder.path())
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        Ok(Self {
            process,
            folder,
            client: Client::new((ADDRESS, 53).into())?,
        })
    }

    /// Asks until `ready` returns true for a reply.
    ///
    /// # Errors
    ///
    /// If CoreDNS ends, or no such reply comes in time. The error has CoreDNS's log.
    pub fn wait_for(&mut self, query: &[u8], ready: impl Fn(&[u8]) -> bool) -> anyhow::Result<()> {
        let Self {
            process,
            folder,
            client,
        } = self;
        let alive = || match process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("CoreDNS ended with {status}:\n{}", read(folder)),
        };
        client
            .wait_for(query, ready, alive)
            .with_context(|| read(folder))
    }

    /// Asks over UDP and returns the reply.
    pub fn ask(&self, query: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.client.ask(query).with_context(|| read(&self.folder))
    }

    /// Asks over UDP and returns whether no reply comes.
    pub fn ignores(&self, query: &[u8]) -> anyhow::Result<bool> {
        self.client.is_ignored(query)
    }

    /// Asks over TCP and returns the reply, which holds up to 65,535 bytes.
    pub fn ask_tcp(query: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((ADDRESS, 53))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let len = u16::try_from(query.len())?;
        stream.write_all(&[&len.to_be_bytes(), query].concat())?;
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    }
}

/// CoreDNS's log.
fn read(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}
