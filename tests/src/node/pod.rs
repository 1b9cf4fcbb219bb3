//! Pods, which are network and mount namespaces behind a veth.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use hickory_proto::op::Message;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::client::Client;
use super::namespace::{Node, command, set_feature};
use crate::decode;
use crate::frame::{CLIENT_V6, Query, SERVER, SERVER_V6};
use crate::network::{Netns, connect_pod};

/// The node's address on the link to a pod.
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);

impl Node {
    /// Adds a pod with the address `10.244.0.<number>` behind the interface `host_end`.
    pub fn pod(&self, host_end: &str, number: u8) -> Pod {
        let address = Ipv4Addr::new(10, 244, 0, number);
        let netns = Netns::new().unwrap();
        connect_pod(&self.netns, host_end, &netns, address).unwrap();
        Pod::new(netns, host_end)
    }

    /// Adds IPv6 addresses: [`CLIENT_V6`] to a pod, and [`SERVER_V6`] to the node.
    pub fn add_ipv6(&self, pod: &Pod) {
        self.ip(&format!("-6 addr add {SERVER_V6}/128 dev lo nodad"));
        let gateway = format!("-6 addr add {GATEWAY_V6}/64 dev {} nodad", pod.host_end);
        self.ip(&gateway);
        for arguments in [
            format!("-6 addr add {CLIENT_V6}/64 dev eth0 nodad"),
            format!("-6 route add default via {GATEWAY_V6}"),
        ] {
            let arguments: Vec<_> = arguments.split(' ').collect();
            let output = pod.run("ip", &arguments);
            assert!(output.status.success(), "ip {arguments:?}: {output:?}");
        }
    }
}

/// A pod with the `/etc/resolv.conf` that kubelet writes.
#[derive(Debug)]
pub struct Pod {
    netns: Arc<Netns>,
    mounts: Arc<OwnedFd>,
    /// Name of the pod's interface on the node: the other end of the pod's veth.
    pub host_end: String,
    /// The files that are mounted over those of `/etc`.
    _files: TempDir,
}

impl Pod {
    pub(super) fn new(netns: Netns, host_end: &str) -> Self {
        let files = TempDir::new().unwrap();
        let folder = files.path();
        let mounts = netns
            .run(|| {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let none = None::<&str>;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
                let resolv_conf = format!(
                    "search default.svc.cluster.local svc.cluster.local cluster.local\n\
                     nameserver {SERVER}\noptions ndots:5\n"
                );
                cover("/etc/resolv.conf", folder, &resolv_conf)?;
                cover("/etc/nsswitch.conf", folder, "hosts: files dns\n")?;
                if Path::new("/run/nscd").is_dir() {
                    let flags = MsFlags::empty();
                    mount(Some("tmpfs"), "/run/nscd", Some("tmpfs"), flags, none)?;
                }
                Ok(OwnedFd::from(File::open("/proc/thread-self/ns/mnt")?))
            })
            .unwrap();
        Self {
            netns: Arc::new(netns),
            mounts: Arc::new(mounts),
            host_end: host_end.to_owned(),
            _files: files,
        }
    }

    /// A command in the pod.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command(
            program,
            Arc::clone(&self.netns),
            Some(Arc::clone(&self.mounts)),
        )
    }

    /// Runs a command in the pod.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Output {
        let program = program.as_ref();
        let output = self.command(program).args(arguments).output();
        output.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()))
    }

    /// Turns the checksum offload of the pod's interface on or off. With offload the node
    /// gets packets whose UDP checksum is unfinished.
    pub fn offload_checksums(&self, on: bool) {
        assert!(self.offload("tx", on), "tx checksums");
    }

    /// Turns a feature of the pod's interface on or off. Returns whether the driver did so.
    pub fn offload(&self, feature: &str, on: bool) -> bool {
        set_feature(&mut self.command("ethtool"), "eth0", feature, on)
    }

    /// Makes this pod a router, with a new pod behind its interface `host_end`. Containers
    /// inside a container have this structure.
    #[must_use]
    pub fn nested(&self, host_end: &str, number: u8) -> Self {
        let forward = || Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?);
        self.netns.run(forward).unwrap();
        let netns = Netns::new().unwrap();
        let address = Ipv4Addr::new(10, 244, 0, number);
        connect_pod(&self.netns, host_end, &netns, address).unwrap();
        Self::new(netns, host_end)
    }

    /// Runs `work` in the pod's network namespace.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.netns.run(work)
    }

    /// Sets the MTU of both ends of the pod's veth.
    pub fn set_mtu(&self, node: &Node, mtu: u32) {
        let mtu = mtu.to_string();
        let output = self.run("ip", &["link", "set", "eth0", "mtu", &mtu]);
        assert!(output.status.success(), "ip: {output:?}");
        node.ip(&format!("link set {} mtu {mtu}", self.host_end));
    }

    /// A DNS client of the served address [`SERVER`].
    pub fn client(&self) -> Client {
        self.client_of(SERVER.into())
    }

    /// A DNS client of another server.
    pub fn client_of(&self, server: IpAddr) -> Client {
        let any: IpAddr = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = self.netns.run(|| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((server, 53))?;
            Ok(socket)
        });
        Client::new(socket.unwrap())
    }

    /// Asks and returns the reply. Panics if no reply comes.
    pub fn ask(&self, query: &Query) -> Message {
        self.client()
            .ask(query)
            .unwrap_or_else(|| panic!("no reply to {query:?}"))
    }

    /// The addresses in the reply to a question, sorted.
    pub fn addresses(&self, name: &str, qtype: u16) -> Vec<IpAddr> {
        let reply = self.ask(&Query::new(name, qtype));
        let mut addresses = decode::addresses(&reply.answers);
        addresses.sort_unstable();
        addresses
    }
}

/// Mounts a file with `text` over the file at `path`, if that exists.
fn cover(path: &str, folder: &Path, text: &str) -> anyhow::Result<()> {
    let path = Path::new(path);
    if path.exists() {
        let source = folder.join(path.file_name().unwrap());
        fs::write(&source, text)?;
        let none = None::<&str>;
        mount(Some(&source), path, none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}
