//! The lab's private mounts: the node's and each pod's.

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};

use crate::exec;

/// The folder that each lab covers with a tmpfs of its own: its files have the
/// same paths in every lab, and disappear with it.
pub(crate) fn scratch() -> PathBuf {
    exec::target().join("lab")
}

/// Turns this process's mount namespace into a node's. Mounts do not spread to the machine,
/// `/proc` and `/sys` show the new namespaces, and `/sys/fs/bpf` is a bpffs of the lab's
/// own.
///
/// # Errors
/// Names the mount that the kernel refused.
pub(crate) fn isolate() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make the lab's mounts private")?;
    mount_new("proc", Path::new("/proc"), "")?;
    mount_sysfs()?;
    mount_new("bpf", Path::new("/sys/fs/bpf"), "mode=0700")?;
    let scratch = scratch();
    fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot make the folder {}", scratch.display()))?;
    mount_new("tmpfs", &scratch, "mode=0755")
}

/// The files that kubelet writes into a pod, mounted over the machine's.
#[derive(Debug)]
pub(crate) struct PodFiles<'a> {
    /// The pod's name, which is its host name in `/etc/hosts`.
    pub(crate) name: &'a str,
    /// The pod's address.
    pub(crate) address: Ipv4Addr,
    /// The `nameserver` of `/etc/resolv.conf`.
    pub(crate) nameserver: Ipv4Addr,
}

impl PodFiles<'_> {
    /// Mounts the files in the calling thread's mount namespace, which must be the pod's
    /// own.
    ///
    /// # Errors
    /// Names the file that could not be written or covered.
    pub(crate) fn mount(&self) -> Result<()> {
        let Self {
            name,
            address,
            nameserver,
        } = self;
        mount_sysfs()?;
        let folder = scratch().join(name);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let resolv_conf = format!(
            "search default.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver {nameserver}\n\
             options ndots:5\n"
        );
        cover("/etc/resolv.conf", &folder, &resolv_conf)?;
        let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{address}\t{name}\n");
        cover("/etc/hosts", &folder, &hosts)?;
        // Without this file glibc asks `dns` before `files`. musl does not read it.
        if Path::new("/etc/nsswitch.conf").exists() {
            cover("/etc/nsswitch.conf", &folder, "hosts: files dns\n")?;
        }
        // glibc asks the machine's name service cache before it reads any of these files.
        let nscd = Path::new("/run/nscd");
        if nscd.is_dir() {
            mount_new("tmpfs", nscd, "")?;
        }
        Ok(())
    }
}

/// Mounts `text` over `path`. A symbolic link is followed, as kubelet's mount is.
fn cover(path: &str, folder: &Path, text: &str) -> Result<()> {
    let path = Path::new(path);
    let source = folder.join(path.file_name().unwrap_or(path.as_os_str()));
    fs::write(&source, text).with_context(|| format!("cannot write {}", source.display()))?;
    let none = None::<&str>;
    mount(Some(&source), path, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount a pod's file over {}", path.display()))
}

/// Mounts a sysfs of the calling thread's network namespace, and keeps the
/// cgroup mounts below it, which language runtimes read their limits from.
fn mount_sysfs() -> Result<()> {
    let cgroup: Option<File> = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_PATH.bits())
        .open("/sys/fs/cgroup")
        .ok();
    mount_new("sysfs", Path::new("/sys"), "")?;
    if let Some(cgroup) = cgroup {
        let source = format!("/proc/thread-self/fd/{}", cgroup.as_raw_fd());
        let none = None::<&str>;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source.as_str()), "/sys/fs/cgroup", none, flags, none)
            .context("cannot keep the mounts at /sys/fs/cgroup")?;
    }
    Ok(())
}

fn mount_new(kind: &str, target: &Path, options: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .with_context(|| format!("cannot mount {kind} at {}", target.display()))
}
