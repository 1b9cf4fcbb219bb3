//! The floor, which is the least that an XDP answer can cost: a program returns a pod's
//! queries unchanged.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use nix::net::if_::if_nametoindex;
use std::net::Ipv4Addr;

use super::CLUSTER_DNS;
use super::network::Netns;
use super::pod::Pod;

/// The object's path below the workspace's target folder.
pub(crate) const OBJECT: &str = "bpf/headless-reflect.o";

/// The program in the object `headless-reflect`.
const PROGRAM: &str = "reflect";

/// The pod's address, which nobody else sees.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

/// A pod whose interface has the reflecting program. It has a node of its own, so the agent
/// does not see its interface.
#[derive(Debug)]
pub(crate) struct Floor {
    pod: Pod,
    id: u32,
    _node: Netns,
    /// Holds the program's link.
    _programs: Ebpf,
}

impl Floor {
    /// Makes the pod and attaches the program to the host end of its veth in
    /// generic mode, as the agent attaches its own.
    ///
    /// # Errors
    /// When the object cannot be loaded or attached.
    pub(crate) fn new(object: &Path) -> Result<Self> {
        let node = Netns::new()?;
        let pod = Pod::new(&node, "reflected", ADDRESS, CLUSTER_DNS)?;
        let mut programs =
            Ebpf::load_file(object).with_context(|| format!("cannot load {}", object.display()))?;
        let program: &mut Xdp = programs
            .program_mut(PROGRAM)
            .with_context(|| format!("no program {PROGRAM} in {}", object.display()))?
            .try_into()?;
        program
            .load()
            .context("cannot load the reflecting program")?;
        let id = program.info()?.id();
        node.run(|| {
            let index = if_nametoindex(pod.host_end().as_str())?;
            program
                .attach_to_if_index(index, XdpMode::Skb)
                .context("cannot attach the reflecting program")?;
            Ok(())
        })?;
        Ok(Self {
            pod,
            id,
            _node: node,
            _programs: programs,
        })
    }

    /// The pod's network namespace.
    pub(crate) fn netns(&self) -> &Arc<Netns> {
        self.pod.netns()
    }

    /// The kernel's id of the program.
    pub(crate) fn program(&self) -> u32 {
        self.id
    }
}
