//! The folder of a cluster, the record of the running one, and the removal of its traces.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::options::{Cni, Proxy};
use crate::exec;

/// Settings of the whole machine that the kubelet and kube-proxy change.
const SYSCTLS: [&str; 6] = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

const CGROUPS: &str = "/sys/fs/cgroup";

/// Where containerd puts the cgroups of the kubelet's containers, in each hierarchy.
const CONTAINERS: &str = "k8s.io";

/// The longest time from SIGKILL to the end of the last process.
const END_TIMEOUT: Duration = Duration::from_mins(1);

/// Lines of a log in an error message.
const LOG_TAIL_LINES: usize = 15;

/// The folder of a checkout's cluster.
pub(crate) fn root() -> PathBuf {
    exec::target().join("cluster")
}

/// The folder of everything that belongs to one run.
pub(crate) fn run_folder() -> PathBuf {
    root().join("run")
}

/// The folder of the logs, which stays until the next `up`.
pub(crate) fn logs() -> PathBuf {
    root().join("log")
}

fn record_file() -> PathBuf {
    root().join("record.json")
}

/// The cluster that runs, or has run until its processes were killed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Process outside of the cluster's namespaces. When it dies, the kernel kills all others.
    pub(crate) keeper: Option<Process>,
    /// The rules by which kube-proxy runs.
    pub(crate) proxy: Proxy,
    /// The plugin that connects pods.
    pub(crate) cni: Cni,
    /// Settings of the machine from before.
    sysctls: BTreeMap<String, String>,
}

/// A process, told from later ones with the same number by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pid: i32,
    /// Clock ticks from the machine's start (`proc_pid_stat(5)`, field 22).
    started: u64,
}

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// When no process has it.
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid)?;
        let (_, started) = stat(pid).with_context(|| format!("no process {pid}"))?;
        Ok(Self { pid, started })
    }

    /// Whether it still runs. A zombie does not.
    pub(crate) fn runs(self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| started == self.started && state != 'Z')
    }

    /// PID 1 of the cluster: the keeper's only child.
    pub(crate) fn child(self) -> Option<i32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(path).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

/// State and start of a process.
fn stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The name may hold spaces and parentheses.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((
        fields.first()?.chars().next()?,
        fields.get(19)?.parse().ok()?,
    ))
}

impl Record {
    /// The record of a cluster that starts now.
    pub(crate) fn new(proxy: Proxy, cni: Cni) -> Self {
        let read = |name: &&str| {
            let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
            Some(((*name).to_owned(), value.trim().to_owned()))
        };
        Self {
            keeper: None,
            proxy,
            cni,
            sysctls: SYSCTLS.iter().filter_map(read).collect(),
        }
    }

    /// The record of this checkout, if a cluster was started and not taken down.
    pub(crate) fn read() -> Result<Option<Self>> {
        let file = record_file();
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("cannot understand {}", file.display()))
    }

    /// Writes the record.
    pub(crate) fn write(&self) -> Result<()> {
        write(&record_file(), &serde_json::to_string_pretty(self)?)
    }

    /// Whether its processes run.
    pub(crate) fn runs(&self) -> bool {
        self.keeper.is_some_and(Process::runs)
    }

    /// PID 1 of the running cluster, in this PID namespace.
    ///
    /// # Errors
    /// When the cluster has ended.
    pub(crate) fn init(&self) -> Result<i32> {
        self.keeper
            .filter(|keeper| keeper.runs())
            .and_then(Process::child)
            .context("the cluster has ended")
    }

    /// Ends all processes and removes everything but logs and caches. Namespaces and mounts,
    /// which have no names outside, go with the last process.
    ///
    /// # Errors
    /// Names what is left.
    pub(crate) fn remove(self) -> Result<()> {
        if let Some(keeper) = self.keeper.filter(|keeper| keeper.runs()) {
            let init = keeper.child().and_then(rustix::process::Pid::from_raw);
            let init = init.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            kill(Pid::from_raw(keeper.pid), Signal::SIGKILL).context("cannot end the cluster")?;
            if let Some(init) = init {
                let mut ends = [PollFd::new(init.as_fd(), PollFlags::POLLIN)];
                let timeout = PollTimeout::try_from(END_TIMEOUT)?;
                ensure!(poll(&mut ends, timeout)? > 0, "the cluster does not end");
            }
        }
        for (name, value) in &self.sysctls {
            restore(&Path::new("/proc/sys").join(name), value)?;
        }
        remove_cgroups(&containers())?;
        let run = run_folder();
        match fs::remove_dir_all(&run) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(format!("cannot remove {}", run.display()));
            }
            _ => {}
        }
        let file = record_file();
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }
}

fn restore(file: &Path, value: &str) -> Result<()> {
    let now = fs::read_to_string(file).unwrap_or_default();
    if now.trim() == value {
        return Ok(());
    }
    fs::write(file, value).with_context(|| format!("cannot set {} to {value}", file.display()))
}

/// containerd's folder of everything that it keeps on disk.
pub(crate) fn containerd_root() -> PathBuf {
    run_folder().join("containerd")
}

/// The ids of all containers, of which some may have ended.
fn containers() -> Vec<OsString> {
    let folder = containerd_root().join("io.containerd.grpc.v1.cri");
    let names = |kind| {
        fs::read_dir(folder.join(kind))
            .into_iter()
            .flatten()
            .flatten()
    };
    let entries = names("containers").chain(names("sandboxes"));
    entries.map(|entry| entry.file_name()).collect()
}

/// Removes the containers' cgroups from each hierarchy. Those of other clusters stay.
fn remove_cgroups(containers: &[OsString]) -> Result<()> {
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
    let hierarchies = hierarchies.map(|entry| entry.path());
    // The root itself is the hierarchy where there is only version 2.
    for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
        let folder = hierarchy.join(CONTAINERS);
        for container in containers {
            remove_cgroup(&folder.join(container))?;
        }
        // Another cluster's containers may be in it.
        fs::remove_dir(&folder).ok();
    }
    Ok(())
}

/// Removes a cgroup after the cgroups in it. A process that has just been killed may still be
/// in one.
fn remove_cgroup(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path())?;
        }
    }
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {
                if Instant::now() > deadline {
                    bail!("the cgroup {} does not become empty", folder.display());
                }
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(format!("cannot remove {}", folder.display()));
            }
            _ => return Ok(()),
        }
    }
}

/// Writes a file, and the folders above it.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The path of a component's log, and its last lines, for the end of an error message.
pub(crate) fn log_tail(component: &str) -> String {
    let file = logs().join(format!("{component}.log"));
    let text = fs::read(&file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_TAIL_LINES);
    let start = format!("the log {} ends:", file.display());
    let tail = lines.iter().skip(from);
    tail.fold(start, |tail, line| tail + "\n  " + line)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn process_names_may_hold_anything() {
        let text = "7 (a) Z (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(parse_stat(text), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let this = Process::new(std::process::id()).unwrap();
        assert!(this.runs());
        let other = Process {
            started: this.started + 1,
            ..this
        };
        assert!(!other.runs());
    }

    #[test]
    fn settings_come_back_only_where_they_differ() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "10\n").unwrap();
        restore(file.path(), "10").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "10\n");
        restore(file.path(), "0").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "0");
    }
}
