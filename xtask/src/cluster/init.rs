//! The processes inside of a cluster's namespaces, arranged so that one kill ends all:
//!
//! ```text
//! keeper    `unshare`, outside: makes the namespaces, and takes init with it when it dies
//!   └ init  PID 1 of the cluster: mounts, then reaps orphans, such as containerd's shims
//!       └ node  starts the components in order, and watches them
//! ```

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::components::{self, Component};
use super::config::{CONTAINERD_SOCKET, NODE_ADDRESS, PODS, UPSTREAM};
use super::place::{self, Process, Record};
use crate::exec;
use crate::lab::mounts;

/// The longest time until a component does what the next needs.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);

const POLL: Duration = Duration::from_millis(100);

/// The file that says that all components run.
const READY: &str = "ready";

/// The file that says which component has ended, and how.
const FAILED: &str = "failed";

/// The programs and images of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The programs by name.
    pub(super) programs: components::Programs,
    /// Images by name, with their tar files.
    pub(super) images: Vec<(String, PathBuf)>,
}

fn plan_file() -> PathBuf {
    place::run_folder().join("plan.json")
}

/// Starts the keeper, and waits until all components run.
///
/// # Errors
/// Names the component that failed, with its log.
pub(super) fn start(plan: &Plan, record: &mut Record) -> Result<()> {
    place::write(&plan_file(), &serde_json::to_string_pretty(plan)?)?;
    fs::create_dir_all(place::logs()).context("cannot make the folder of logs")?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--",
        ])
        .arg(std::env::current_exe()?)
        .args(["cluster", "init"])
        .stdin(Stdio::null())
        // The cluster outlives the command, and signals of the terminal.
        .process_group(0);
    let mut keeper = logged(&mut command, "init")?;
    record.keeper = Some(Process::new(keeper.id())?);
    record.write()?;
    let deadline = Instant::now() + 3 * STEP_TIMEOUT;
    loop {
        check(record)?;
        if place::run_folder().join(READY).exists() {
            return Ok(());
        }
        if let Some(status) = keeper.try_wait()? {
            bail!("the cluster ended ({status}); {}", place::log_tail("init"));
        }
        ensure!(
            Instant::now() < deadline,
            "the cluster takes too long; {}",
            place::log_tail("init")
        );
        thread::sleep(POLL);
    }
}

/// Fails when a component has ended.
///
/// # Errors
/// Names the component, with its log.
pub(super) fn check(record: &Record) -> Result<()> {
    if let Ok(message) = fs::read_to_string(place::run_folder().join(FAILED)) {
        bail!("{}", message.trim());
    }
    ensure!(
        record.runs(),
        "the cluster has ended; {}",
        place::log_tail("init")
    );
    Ok(())
}

/// Starts a command whose output goes to a log.
fn logged(command: &mut Command, name: &str) -> Result<Child> {
    let file = place::logs().join(format!("{name}.log"));
    let log = File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

/// PID 1: makes the mounts, starts the node stage, reaps orphans. It ends with that stage.
pub(super) fn init() -> Result<()> {
    ensure!(
        getpid() == Pid::from_raw(1),
        "`cluster up` starts this command"
    );
    let run = place::run_folder();
    for reserved in ["/run", "/var"] {
        ensure!(
            !run.starts_with(reserved),
            "the checkout must not be below {reserved}"
        );
    }
    isolate()?;
    let node = Command::new("/proc/self/exe")
        .args(["cluster", "node"])
        .spawn()
        .context("cannot start the node")?;
    let node = Pid::from_raw(i32::try_from(node.id())?);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == node => {
                bail!("the node has ended")
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the node"),
        }
    }
}

/// Mounts of the cluster's own: `/proc`, `/sys`, bpffs, an empty `/run`, and a `/var` whose
/// changes are lost. CNI plugins, kubelet and containerd write to fixed paths there.
fn isolate() -> Result<()> {
    mounts::isolate()?;
    let none = None::<&str>;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        flags,
        Some("mode=0755"),
    )
    .context("cannot mount tmpfs at /run")?;
    for folder in [
        "/run/var/upper",
        "/run/var/work",
        "/run/containerd",
        "/run/netns",
        "/run/lock",
    ] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
    }
    let layers = "lowerdir=/var,upperdir=/run/var/upper,workdir=/run/var/work";
    mount(
        Some("overlay"),
        "/var",
        Some("overlay"),
        flags,
        Some(layers),
    )
    .context("cannot mount an overlay at /var")?;
    // The kubelet's mounts must reach the containers.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
        .context("cannot share the cluster's mounts")
}

/// The node: network, components in order, then their supervision.
pub(super) fn node() -> Result<()> {
    let mut node = Node {
        running: Vec::new(),
    };
    let run = place::run_folder();
    if let Err(error) = node.start() {
        // The message must be there before the process ends.
        place::write(&run.join(FAILED), &format!("{error:#}"))?;
        return Err(error);
    }
    place::write(&run.join(READY), "")?;
    loop {
        if let Err(error) = node.check() {
            let file = run.join(FAILED);
            if !file.exists() {
                place::write(&file, &format!("{error:#}"))?;
            }
        }
        thread::sleep(5 * POLL);
    }
}

struct Node {
    running: Vec<(&'static str, Child)>,
}

impl Node {
    fn start(&mut self) -> Result<()> {
        let file = plan_file();
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let plan: Plan = serde_json::from_str(&text).context("cannot understand the plan")?;
        set_up_network()?;
        let run = place::run_folder();
        let programs = &plan.programs;
        self.spawn(components::etcd(programs, &run))?;
        self.spawn(components::containerd(&run))?;
        self.spawn(components::upstream(programs, &run))?;
        self.spawn(components::api_server(programs, &run))?;
        self.wait("containerd", "listen", || {
            Path::new(CONTAINERD_SOCKET).exists()
        })?;
        for (name, file) in &plan.images {
            exec::output(&mut components::import(name, file))?;
        }
        self.wait("kube-apiserver", "become ready", || {
            let mut command = components::kubectl(programs, &run);
            exec::output(command.args(["get", "--raw", "/readyz"])).is_ok()
        })?;
        self.spawn(components::controller_manager(programs, &run))?;
        self.spawn(components::scheduler(programs, &run))?;
        self.spawn(components::kubelet(programs, &run))?;
        self.spawn(components::proxy(programs, &run))?;
        self.check()
    }

    fn spawn(&mut self, component: Component) -> Result<()> {
        let Component { name, mut command } = component;
        let child = logged(&mut command, name)?;
        self.running.push((name, child));
        Ok(())
    }

    /// Fails when a component has ended.
    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended ({status}); {}", place::log_tail(name));
            }
        }
        Ok(())
    }

    fn wait(&mut self, name: &str, what: &str, done: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        while !done() {
            self.check()?;
            let seconds = STEP_TIMEOUT.as_secs();
            ensure!(
                Instant::now() < deadline,
                "{name} did not {what} within {seconds} s; {}",
                place::log_tail(name)
            );
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// The uplink leads to a namespace with the upstream, and nowhere else.
fn set_up_network() -> Result<()> {
    let lines = [
        "link set lo up".to_owned(),
        "netns add uplink".to_owned(),
        "-n uplink link set lo up".to_owned(),
        "link add eth0 type veth peer name up0 netns uplink".to_owned(),
        format!("addr add {NODE_ADDRESS}/24 dev eth0"),
        format!("-n uplink addr add {UPSTREAM}/24 dev up0"),
        "link set eth0 up".to_owned(),
        "-n uplink link set up0 up".to_owned(),
        format!("route add default via {UPSTREAM}"),
        // Without this route, names outside of the cluster get no answer.
        format!("-n uplink route add {PODS} via {NODE_ADDRESS}"),
    ];
    for line in lines {
        exec::output(Command::new("ip").args(line.split(' ')))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot turn on forwarding")
}
