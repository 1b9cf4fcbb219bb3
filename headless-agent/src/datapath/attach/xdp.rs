//! The XDP program on interfaces.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{Program, ProgramError, Xdp, XdpMode};

use super::{Mode, State, errno};
use crate::datapath::links::Link;

/// Name of the program in the object.
pub(super) const PROGRAM: &str = "headless_xdp";

/// Why native mode is refused on a veth.
const NATIVE_ON_VETH: &str = "native XDP on a veth loses XDP_TX unless the pod's end runs XDP \
     too, and takes the pod's segmentation offload away: use generic mode";

/// Links of the program.
#[derive(Debug)]
pub(super) struct XdpHook {
    program_id: u32,
    mode: Mode,
    links: BTreeMap<u32, XdpLinkId>,
}

impl XdpHook {
    /// On no interface yet.
    pub(super) fn new(ebpf: &Ebpf, mode: Mode) -> anyhow::Result<Self> {
        let program = ebpf.program(PROGRAM);
        let program = program.with_context(|| format!("no program {PROGRAM}"))?;
        let info = program.info().context("cannot read the program's state")?;
        Ok(Self {
            program_id: info.id(),
            mode,
            links: BTreeMap::new(),
        })
    }

    /// The interfaces that carry the program.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.links.keys().copied()
    }

    /// Puts the program on an interface, unless it is there.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, link: &Link) -> State {
        if self.links.contains_key(&link.index) {
            return State::Attached;
        }
        if link.programs.iter().any(|id| *id != self.program_id) {
            return State::Foreign;
        }
        let mode = match self.mode {
            Mode::Native if link.veth => return State::Refused(NATIVE_ON_VETH.into()),
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        let attached = program(ebpf).and_then(|xdp| Ok(xdp.attach_to_if_index(link.index, mode)?));
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

    /// Takes the program off an interface and says whether it was on it.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf, index: u32) -> anyhow::Result<bool> {
        let Some(id) = self.links.remove(&index) else {
            return Ok(false);
        };
        program(ebpf)?.detach(id)?;
        Ok(true)
    }
}

fn program(ebpf: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    match ebpf.program_mut(PROGRAM) {
        Some(Program::Xdp(xdp)) => Ok(xdp),
        _ => anyhow::bail!("the BPF object has no XDP program {PROGRAM}"),
    }
}
