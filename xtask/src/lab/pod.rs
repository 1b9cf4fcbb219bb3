//! A pod: a network and a mount namespace that commands run in.

use std::env;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;

use super::mounts::PodFiles;
use super::network::{self, Netns};

/// A pod of the lab.
#[derive(Debug)]
pub(crate) struct Pod {
    name: String,
    address: Ipv4Addr,
    netns: Arc<Netns>,
    mounts: Arc<OwnedFd>,
}

impl Pod {
    /// Makes a pod and connects it to `node`.
    ///
    /// # Errors
    /// When the kernel refuses a namespace, a mount or an interface.
    pub(crate) fn new(
        node: &Netns,
        name: &str,
        address: Ipv4Addr,
        nameserver: Ipv4Addr,
    ) -> Result<Self> {
        let context = || format!("cannot make the pod {name}");
        let netns = Netns::new().with_context(context)?;
        let files = PodFiles {
            name,
            address,
            nameserver,
        };
        let mounts = netns
            .run(|| {
                unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
                files.mount()?;
                Ok(OwnedFd::from(File::open("/proc/thread-self/ns/mnt")?))
            })
            .with_context(context)?;
        let pod = Self {
            name: name.to_owned(),
            address,
            netns: Arc::new(netns),
            mounts: Arc::new(mounts),
        };
        network::connect_pod(node, &pod.host_end(), &pod.netns, address).with_context(context)?;
        Ok(pod)
    }

    /// The pod's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The pod's address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The pod's network namespace.
    pub(crate) fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }

    /// The node's end of the pod's veth, at most 15 bytes as the kernel wants.
    pub(crate) fn host_end(&self) -> String {
        let mut name = format!("veth-{}", self.name);
        name.truncate(15);
        name
    }

    /// A command that runs in the pod, in the caller's working directory.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        // These variables change the behaviour of resolvers.
        for variable in ["LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES"] {
            command.env_remove(variable);
        }
        let (netns, mounts) = (Arc::clone(&self.netns), Arc::clone(&self.mounts));
        let folder = env::current_dir()
            .ok()
            .and_then(|folder| CString::new(folder.as_os_str().as_bytes()).ok());
        // SAFETY: between fork and exec only system calls are made, no memory
        // is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                setns(netns.as_ref(), CloneFlags::CLONE_NEWNET)?;
                setns(mounts.as_ref(), CloneFlags::CLONE_NEWNS)?;
                // Entering a mount namespace changes the working directory to its root.
                if let Some(folder) = &folder {
                    chdir(folder.as_c_str())?;
                }
                Ok(())
            });
        }
        command
    }

    /// A path to the pod's network namespace, for `nsenter --net=PATH` in other processes
    /// of the lab.
    pub(crate) fn netns_path(&self) -> String {
        use std::os::fd::AsFd as _;
        let fd = self.netns.as_fd().as_raw_fd();
        format!("/proc/{}/fd/{fd}", std::process::id())
    }
}
