//! A node and its pods in network namespaces of their own, without names: they
//! end with the last process and descriptor that holds them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use hickory_proto::op::Message;
use nix::libc::EINVAL;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use tempfile::TempDir;

use crate::decode;
use crate::frame::{CLIENT_V6, Query, SERVER, SERVER_V6};
use crate::network::{Netns, connect_pod, set_up_node, xdp_program_id};

/// The longest wait for something that must happen, on a machine; an emulated
/// one asks for more by `PATIENCE`.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The variable that takes the place of [`DEADLINE`], in seconds.
const PATIENCE: &str = "HEADLESS_TEST_DEADLINE";

/// The node's address towards a pod.
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);

/// How long a client waits for a reply before it asks again.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

fn deadline() -> Duration {
    let seconds = std::env::var(PATIENCE).ok();
    seconds.map_or(DEADLINE, |seconds| {
        let seconds = seconds.parse();
        Duration::from_secs(seconds.unwrap_or_else(|error| panic!("{PATIENCE}: {error}")))
    })
}

/// The number that the kernel gave an error, wherever in the chain it is.
fn errno(error: &anyhow::Error) -> Option<i32> {
    let mut causes = error.chain();
    causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

/// Waits until `look` finds something; panics with what it last missed.
pub fn wait_for<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + deadline();
    loop {
        match look() {
            Ok(found) => return found,
            Err(missing) => assert!(Instant::now() < deadline, "waited in vain: {missing}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    netns: Arc<Netns>,
}

impl Node {
    /// Makes one which holds, as addresses of its own, those of the cluster's
    /// DNS and of the node's.
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

    /// Runs `work` in its network namespace.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.netns.run(work)
    }

    /// Adds a pod behind the interface `host_end`.
    pub fn pod(&self, host_end: &str, number: u8) -> Pod {
        let address = Ipv4Addr::new(10, 244, 0, number);
        let netns = Netns::new().unwrap();
        connect_pod(&self.netns, host_end, &netns, address).unwrap();
        Pod::new(netns, host_end)
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

    /// Turns a feature of an interface on or off; whether it could be done.
    pub fn offload(&self, interface: &str, feature: &str, on: bool) -> bool {
        set_feature(&mut self.command("ethtool"), interface, feature, on)
    }

    /// Gives a pod and the node addresses of IPv6: [`CLIENT_V6`] behind its
    /// interface, [`SERVER_V6`] to the node.
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

    /// What answers where headless does not: a socket at the address of the
    /// cluster's DNS, which gets the queries that are passed.
    pub fn cluster_dns(&self) -> ClusterDns {
        self.cluster_dns_at(SERVER.into())
    }

    /// The same at another address of the node.
    pub fn cluster_dns_at(&self, address: IpAddr) -> ClusterDns {
        let socket = self.netns.run(|| Ok(UdpSocket::bind((address, 53))?));
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(deadline())).unwrap();
        ClusterDns(socket)
    }

    /// Names of the programs that tc runs on what comes in by an interface, in their
    /// order: those of tcx, then those that filters of the clsact qdisc call.
    pub fn tc_programs(&self, interface: &str) -> Vec<String> {
        let mut names = self.tcx_programs(interface);
        names.extend(self.tc_filters(interface));
        names
    }

    /// Names of the programs of tcx; none where the kernel has no such thing.
    pub fn tcx_programs(&self, interface: &str) -> Vec<String> {
        self.query_tcx(interface).unwrap_or_default()
    }

    /// Whether the kernel has tcx: from 6.6 on (commit `e420bed02507`).
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

    /// Names of the programs that filters call.
    fn tc_filters(&self, interface: &str) -> Vec<String> {
        let show = ["-json", "filter", "show", "dev", interface, "ingress"];
        let output = self.command("tc").args(show).output().unwrap();
        assert!(output.status.success(), "tc {show:?}: {output:?}");
        let filters: Value = serde_json::from_slice(&output.stdout).unwrap();
        let filters = filters.as_array().unwrap().iter();
        // Each filter is preceded by a line about its preference.
        let names = filters.filter_map(|filter| filter["options"]["bpf_name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// The kernel's id of the XDP program on an interface.
    pub fn xdp_program(&self, interface: &str) -> Option<u32> {
        xdp_program_id(&self.netns, interface).unwrap()
    }
}

/// A stand-in for the cluster's DNS.
#[derive(Debug)]
pub struct ClusterDns(UdpSocket);

impl ClusterDns {
    /// Waits for a query.
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let len = self.0.recv(&mut buffer).expect("a query was passed");
        buffer[..len].to_vec()
    }

    /// Waits for a query and sends it back as a response without records.
    pub fn answer(&self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let (len, from) = self.0.recv_from(&mut buffer).expect("a query was passed");
        let query = buffer[..len].to_vec();
        buffer[2] |= 0x80;
        self.0.send_to(&buffer[..len], from).unwrap();
        query
    }

    /// The query that has come, if any.
    pub fn try_receive(&self) -> Option<Vec<u8>> {
        try_receive(&self.0)
    }

    /// Whether no query has come.
    pub fn is_unasked(&self) -> bool {
        self.try_receive().is_none()
    }
}

/// A pod with kubelet's `/etc/resolv.conf`.
#[derive(Debug)]
pub struct Pod {
    netns: Arc<Netns>,
    mounts: Arc<OwnedFd>,
    /// The node's end of its veth.
    pub host_end: String,
    _files: TempDir,
}

impl Pod {
    fn new(netns: Netns, host_end: &str) -> Self {
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

    /// Turns the checksum offload of the pod's interface on or off: with it, the
    /// node sees packets whose checksum is yet to be made.
    pub fn offload_checksums(&self, on: bool) {
        assert!(self.offload("tx", on), "tx checksums");
    }

    /// Turns a feature of its interface on or off; whether it could be done.
    pub fn offload(&self, feature: &str, on: bool) -> bool {
        set_feature(&mut self.command("ethtool"), "eth0", feature, on)
    }

    /// Makes it a router with a pod of its own behind the interface `host_end`, as
    /// containers within a container are.
    #[must_use]
    pub fn nested(&self, host_end: &str, number: u8) -> Self {
        let forward = || Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?);
        self.netns.run(forward).unwrap();
        let netns = Netns::new().unwrap();
        let address = Ipv4Addr::new(10, 244, 0, number);
        connect_pod(&self.netns, host_end, &netns, address).unwrap();
        Self::new(netns, host_end)
    }

    /// Runs `work` in its network namespace.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        self.netns.run(work)
    }

    /// Sets the MTU of both ends of its veth.
    pub fn set_mtu(&self, node: &Node, mtu: u32) {
        let mtu = mtu.to_string();
        let output = self.run("ip", &["link", "set", "eth0", "mtu", &mtu]);
        assert!(output.status.success(), "ip: {output:?}");
        node.ip(&format!("link set {} mtu {mtu}", self.host_end));
    }

    /// A socket of the pod that has asked nothing yet.
    pub fn client(&self) -> Client {
        self.client_of(SERVER.into())
    }

    /// The same for another name server.
    pub fn client_of(&self, server: IpAddr) -> Client {
        let any: IpAddr = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = self.netns.run(|| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((server, 53))?;
            socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
            Ok(socket)
        });
        Client(socket.unwrap())
    }

    /// Asks and waits for the reply, which must come.
    pub fn ask(&self, query: &Query) -> Message {
        self.client()
            .ask(query)
            .unwrap_or_else(|| panic!("no reply to {query:?}"))
    }

    /// The addresses that a question is answered with, sorted.
    pub fn addresses(&self, name: &str, qtype: u16) -> Vec<IpAddr> {
        let reply = self.ask(&Query::new(name, qtype));
        let mut addresses = decode::addresses(&reply.answers);
        addresses.sort_unstable();
        addresses
    }
}

/// The first message that is there to be read.
fn try_receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 9000];
    socket.set_nonblocking(true).unwrap();
    let received = socket.recv(&mut buffer);
    socket.set_nonblocking(false).unwrap();
    received.ok().map(|len| buffer[..len].to_vec())
}

/// What becomes of a query where the cluster's DNS is only asked.
#[derive(Debug)]
pub enum Fate {
    /// It came to the cluster's DNS as it was.
    Passed,
    /// It was answered before.
    Answered(Message),
}

/// A DNS client that trusts nothing.
#[derive(Debug)]
pub struct Client(UdpSocket);

impl Client {
    /// Whether nothing is there to be read.
    pub fn is_silent(&self) -> bool {
        try_receive(&self.0).is_none()
    }

    /// Asks, and waits for what becomes of it.
    pub fn follow(&self, query: &Query, cluster_dns: &ClusterDns) -> Fate {
        self.send(query);
        wait_for(|| {
            if let Some(passed) = cluster_dns.try_receive() {
                assert_eq!(passed, query.message());
                return Ok(Fate::Passed);
            }
            let reply = try_receive(&self.0).ok_or("neither passed nor answered")?;
            Ok(Fate::Answered(decode::message(&query.message(), &reply)))
        })
    }

    /// Sends a query without waiting for anything.
    pub fn send(&self, query: &Query) {
        self.0.send(&query.message()).unwrap();
    }

    /// Hands bytes to the kernel at once, which makes datagrams of this many bytes of
    /// them as late as it can (`UDP_SEGMENT`).
    pub fn send_segmented(&self, bytes: &[u8], segment: usize) {
        let segment = i32::try_from(segment).unwrap();
        setsockopt(&self.0, sockopt::UdpGsoSegment, &segment).unwrap();
        self.0.send(bytes).unwrap();
    }

    /// The next message; `None` where none comes in time.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 9000];
        let len = self.0.recv(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    }

    /// Asks once; `None` where no reply comes in time.
    pub fn ask(&self, query: &Query) -> Option<Message> {
        let message = query.message();
        self.0.send(&message).unwrap();
        Some(decode::message(&message, &self.receive()?))
    }
}

/// Sets a feature by `ethtool`.
fn set_feature(ethtool: &mut Command, interface: &str, feature: &str, on: bool) -> bool {
    let value = if on { "on" } else { "off" };
    let set = ethtool.args(["-K", interface, feature, value]);
    let output = set.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    // It says so, and ends well, where a driver does something else than was asked.
    output.status.success() && !words.contains("Could not change")
}

/// A command in these namespaces that ends with the thread that starts it.
fn command(program: impl AsRef<OsStr>, netns: Arc<Netns>, mounts: Option<Arc<OwnedFd>>) -> Command {
    let mut command = Command::new(program);
    for variable in ["LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES"] {
        command.env_remove(variable);
    }
    // SAFETY: between fork and exec only system calls are made, no memory is
    // allocated and no lock is taken.
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

/// Mounts `text` over a file, if there is one.
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
