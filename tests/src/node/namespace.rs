//! A node as a network namespace, and what `ip`, `tc` and the kernel say of it.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use aya::programs::{SchedClassifier, TcAttachType};
use nix::libc::EINVAL;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::client::ClusterDns;
use super::wait::deadline;
use crate::frame::SERVER;
use crate::network::{Netns, set_up_node, xdp_program_id};

/// The first error number of the kernel in a chain of causes.
fn errno(error: &anyhow::Error) -> Option<i32> {
    let mut causes = error.chain();
    causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

/// A node: a network namespace with the served addresses.
#[derive(Debug)]
pub struct Node {
    pub(super) netns: Arc<Netns>,
}

impl Node {
    /// Makes a node that has the cluster's DNS address and the node-local DNS address
    /// 169.254.20.10 as addresses of its own.
    #[expect(clippy::new_without_default, reason = "makes a network namespace")]
    pub fn new() -> Self {
        let netns = Netns::new().unwrap();
        netns
            .run(|| set_up_node(&[SERVER, Ipv4Addr::new(169, 254, 20, 10)]))
            .unwrap();
        Self {
            netns: Arc::new(netns),
        }
    }

    /// Makes a node on which the cluster's DNS address leads to `pods` by the rules that
    /// kube-proxy writes in its mode `nftables` (Kubernetes, `pkg/proxy/nftables/proxier.go`).
    pub fn with_service_rules(pods: Ipv4Addr) -> Self {
        let netns = Netns::new().unwrap();
        netns.run(|| set_up_node(&[])).unwrap();
        let node = Self {
            netns: Arc::new(netns),
        };
        let rules = include_str!("service.nft")
            .replace("SERVED", &SERVER.to_string())
            .replace("ENDPOINT", &pods.to_string());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        let output = node.command("nft").arg("-f").arg(file.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "nft: {output:?}");
        node
    }

    /// Runs `work` in the node's network namespace.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.netns.run(work)
    }

    /// A command on the node.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command(program, Arc::clone(&self.netns), None)
    }

    /// Runs `ip` with these arguments, separated by spaces.
    pub fn ip(&self, arguments: &str) {
        let output = self.command("ip").args(arguments.split(' ')).output();
        let output = output.unwrap();
        assert!(output.status.success(), "ip {arguments}: {output:?}");
    }

    /// Turns a feature of an interface on or off. Returns whether the driver did so.
    pub fn offload(&self, interface: &str, feature: &str, on: bool) -> bool {
        set_feature(&mut self.command("ethtool"), interface, feature, on)
    }

    /// A stand-in for the cluster's DNS: a socket at the address [`SERVER`], which gets the
    /// queries that headless passes.
    pub fn cluster_dns(&self) -> ClusterDns {
        self.cluster_dns_at(SERVER.into())
    }

    /// A stand-in for the cluster's DNS at another address of the node.
    pub fn cluster_dns_at(&self, address: IpAddr) -> ClusterDns {
        let socket = self.netns.run(|| Ok(UdpSocket::bind((address, 53))?));
        ClusterDns::new(socket.unwrap(), deadline())
    }

    /// Names of the tc programs on an interface's ingress, in the order in which the kernel
    /// runs them: programs of tcx, then programs of clsact filters.
    pub fn tc_programs(&self, interface: &str) -> Vec<String> {
        let mut names = self.tcx_programs(interface);
        names.extend(self.tc_filters(interface));
        names
    }

    /// Names of the tcx programs on an interface's ingress. Empty if the kernel has no tcx.
    pub fn tcx_programs(&self, interface: &str) -> Vec<String> {
        self.query_tcx(interface).unwrap_or_default()
    }

    /// Whether the kernel has tcx. Kernels have it from 6.6 on (commit `e420bed02507`).
    pub fn has_tcx(&self) -> bool {
        self.query_tcx("lo").is_some()
    }

    fn query_tcx(&self, interface: &str) -> Option<Vec<String>> {
        let query = || {
            let found = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
            match found.map_err(anyhow::Error::from) {
                Ok((_, programs)) => Ok(Some(programs)),
                Err(error) if errno(&error) == Some(EINVAL) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let programs = self.run(query).unwrap()?;
        let names = programs.iter().map(|it| it.name_as_str().unwrap());
        Some(names.map(str::to_owned).collect())
    }

    /// Names of the programs that an interface's ingress filters call.
    fn tc_filters(&self, interface: &str) -> Vec<String> {
        let show = ["-json", "filter", "show", "dev", interface, "ingress"];
        let output = self.command("tc").args(show).output().unwrap();
        assert!(output.status.success(), "tc {show:?}: {output:?}");
        let filters: Value = serde_json::from_slice(&output.stdout).unwrap();
        let filters = filters.as_array().unwrap().iter();
        // `tc` prints an entry without a program for each preference too.
        let names = filters.filter_map(|filter| filter["options"]["bpf_name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// The kernel's id of the XDP program on an interface; `None` if there is no program.
    pub fn xdp_program(&self, interface: &str) -> Option<u32> {
        xdp_program_id(&self.netns, interface).unwrap()
    }
}

/// Sets a feature by `ethtool`. Returns whether the driver did so.
pub(super) fn set_feature(ethtool: &mut Command, interface: &str, feature: &str, on: bool) -> bool {
    let value = if on { "on" } else { "off" };
    let set = ethtool.args(["-K", interface, feature, value]);
    let output = set.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    // If the driver keeps the old value, ethtool prints this and exits with status 0.
    output.status.success() && !words.contains("Could not change")
}

/// A command in these namespaces. The kernel kills it when the thread that started it ends.
pub(super) fn command(
    program: impl AsRef<OsStr>,
    netns: Arc<Netns>,
    mounts: Option<Arc<OwnedFd>>,
) -> Command {
    let mut command = Command::new(program);
    for variable in ["LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES"] {
        command.env_remove(variable);
    }
    // SAFETY: between fork and exec the closure only makes system calls. It allocates no
    // memory and takes no lock.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            setns(netns.as_ref(), CloneFlags::CLONE_NEWNET)?;
            if let Some(mounts) = &mounts {
                setns(mounts.as_ref(), CloneFlags::CLONE_NEWNS)?;
            }
            Ok(())
        });
    }
    command
}
