//! Puts the program on pods' interfaces and takes it off again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{Program, ProgramError, ProgramInfo, Xdp, XdpMode};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::discover::LinkEvent;
use super::links::{Link, Selection};

/// Why native mode is refused on a veth.
const NATIVE_ON_VETH: &str = "native XDP on a veth loses XDP_TX unless the pod's end runs XDP \
     too, and takes the pod's segmentation offload away: use generic mode";

/// How the program sits on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// In the network stack, before tc: right for veths.
    #[default]
    Generic,
    /// In the driver: for physical interfaces, refused on veths.
    Native,
}

/// What became of an interface that was to get the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum State {
    /// The program is on it.
    Attached,
    /// It carries another XDP program and is left alone.
    Foreign,
    /// It does not get the program in this mode.
    Refused(String),
    /// The kernel said no.
    Failed(String),
}

/// An interface that was to get the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
}

/// Interfaces by index, as others may see them.
pub type Interfaces = Arc<RwLock<BTreeMap<u32, Interface>>>;

/// Owns the loaded object and its links; dropped, it detaches.
#[derive(Debug)]
pub struct Attacher {
    ebpf: Ebpf,
    program: &'static str,
    program_id: u32,
    mode: Mode,
    selection: Selection,
    links: BTreeMap<u32, XdpLinkId>,
    interfaces: Interfaces,
}

impl Attacher {
    /// For the loaded XDP program of this name in `ebpf`.
    pub fn new(
        ebpf: Ebpf,
        program: &'static str,
        mode: Mode,
        selection: Selection,
        interfaces: Interfaces,
    ) -> anyhow::Result<Self> {
        let mut attacher = Self {
            program_id: 0,
            ebpf,
            program,
            mode,
            selection,
            links: BTreeMap::new(),
            interfaces,
        };
        attacher.program_id = attacher.program_info()?.id();
        Ok(attacher)
    }

    /// Follows a change of the node's interfaces.
    pub fn handle(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Changed(link) => self.update(&link),
            LinkEvent::Gone(index) => self.forget(index),
            LinkEvent::Listed(links) => {
                let there: HashSet<u32> = links.iter().map(|link| link.index).collect();
                let known: Vec<u32> = self.interfaces.read().keys().copied().collect();
                for index in known.into_iter().filter(|index| !there.contains(index)) {
                    self.forget(index);
                }
                for link in &links {
                    self.update(link);
                }
            }
        }
    }

    /// The program, as the kernel sees it.
    pub fn program_info(&self) -> anyhow::Result<ProgramInfo> {
        let program = self.ebpf.program(self.program);
        let program = program.with_context(|| format!("no program {}", self.program))?;
        program.info().context("cannot read the program's state")
    }

    /// Takes the program off every interface.
    pub fn detach_all(&mut self) {
        let indices: Vec<u32> = self.links.keys().copied().collect();
        for index in indices {
            self.forget(index);
        }
    }

    fn update(&mut self, link: &Link) {
        if !self.selection.selects(link) {
            self.forget(link.index);
            return;
        }
        if self.links.contains_key(&link.index) {
            // A device may be renamed while it carries the program.
            if let Some(interface) = self.interfaces.write().get_mut(&link.index) {
                interface.name.clone_from(&link.name);
            }
            return;
        }
        let state = self.attach(link);
        let interface = Interface {
            name: link.name.clone(),
            ifindex: link.index,
            state: state.clone(),
        };
        let before = self.interfaces.write().insert(link.index, interface);
        // Tried again with every event, but said once.
        if before.is_none_or(|before| before.state != state) {
            report(link, &state);
        }
    }

    fn attach(&mut self, link: &Link) -> State {
        if link.programs.iter().any(|id| *id != self.program_id) {
            return State::Foreign;
        }
        let mode = match self.mode {
            Mode::Native if link.veth => return State::Refused(NATIVE_ON_VETH.into()),
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        let attached = self
            .xdp()
            .and_then(|xdp| Ok(xdp.attach_to_if_index(link.index, mode)?));
        match attached {
            Ok(id) => {
                self.links.insert(link.index, id);
                State::Attached
            }
            Err(error) => match error.downcast_ref::<ProgramError>().and_then(errno) {
                // Another program came in between, in this mode or another.
                Some(libc::EBUSY | libc::EEXIST) => State::Foreign,
                _ => State::Failed(format!("{error:#}")),
            },
        }
    }

    /// Takes the program off, if it is on, and forgets the interface.
    fn forget(&mut self, index: u32) {
        let interface = self.interfaces.write().remove(&index);
        let Some(id) = self.links.remove(&index) else {
            return;
        };
        let name = interface.map_or_else(String::new, |interface| interface.name);
        match self.xdp().and_then(|xdp| Ok(xdp.detach(id)?)) {
            Ok(()) => info!(interface = name, ifindex = index, "detached"),
            Err(error) => warn!(interface = name, ifindex = index, "not detached: {error:#}"),
        }
    }

    fn xdp(&mut self) -> anyhow::Result<&mut Xdp> {
        match self.ebpf.program_mut(self.program) {
            Some(Program::Xdp(xdp)) => Ok(xdp),
            _ => anyhow::bail!("the BPF object has no XDP program {}", self.program),
        }
    }
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn report(link: &Link, state: &State) {
    let Link { name, index, .. } = link;
    match state {
        State::Attached => info!(interface = name, ifindex = index, "attached"),
        State::Foreign => warn!(
            interface = name,
            ifindex = index,
            "carries another XDP program, left alone"
        ),
        State::Refused(reason) => warn!(interface = name, ifindex = index, "refused: {reason}"),
        State::Failed(reason) => {
            warn!(interface = name, ifindex = index, "not attached: {reason}");
        }
    }
}
