//! Puts the programs on pods' interfaces and takes them off again.

mod tc;
mod xdp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::{ProgramError, ProgramInfo};
use headless_ebpf::abi::{Interface as InterfaceRecord, Path};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use self::tc::TcHook;
use self::xdp::XdpHook;
use super::discover::LinkEvent;
use super::lift::{Change, Meter, Traffic};
use super::links::{Link, Selection};
use crate::maps::kernel::KernelCounters;

/// Why XDP is not attached where tc is not: what XDP leaves would not be counted,
/// see ARCHITECTURE.md.
const NOT_WITHOUT_TC: &str = "not without the tc program behind it";

/// Where the kernel answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Hook {
    /// As `xdp`, with XDP lifted from an interface while its pod sends much
    #[default]
    Auto,
    /// XDP, and behind it tc for what XDP cannot make large enough
    Xdp,
    /// Only tc
    Tc,
}

/// How the XDP program sits on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// In the network stack, before tc: right for veths.
    #[default]
    Generic,
    /// In the driver: for physical interfaces, refused on veths.
    Native,
}

/// How the tc program sits on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TcMode {
    /// By tcx where the kernel has it, else by clsact
    #[default]
    Auto,
    /// By a link, before other tc programs, from kernel 6.6
    Tcx,
    /// By a filter of the clsact qdisc
    Clsact,
}

/// What became of a program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum State {
    /// The program is on it.
    Attached,
    /// It was taken off while the pod sends much.
    Lifted,
    /// It is not wanted there.
    Unused,
    /// Another program of this kind is on it and left alone.
    Foreign,
    /// It does not get the program in this mode.
    Refused(String),
    /// The kernel said no.
    Failed(String),
}

impl State {
    /// Labels of the states in metrics.
    pub const LABELS: [&str; 6] = [
        "attached", "lifted", "unused", "foreign", "refused", "failed",
    ];

    /// Label in metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Lifted => "lifted",
            Self::Unused => "unused",
            Self::Foreign => "foreign",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// An interface that was to get the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Largest packet in bytes that a reply can be, from the IP header on.
    pub mtu: u32,
    /// What became of the XDP program.
    pub xdp: State,
    /// What became of the tc program.
    pub tc: State,
}

/// Interfaces by index, as others may see them.
pub type Interfaces = Arc<RwLock<BTreeMap<u32, Interface>>>;

/// What goes where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which programs.
    pub hook: Hook,
    /// How XDP is attached.
    pub xdp: Mode,
    /// How tc is attached.
    pub tc: TcMode,
    /// On which interfaces.
    pub selection: Selection,
    /// From how much a second [`Hook::Auto`] takes XDP off an interface.
    pub limits: Traffic,
}

/// Owns the loaded object and its links; dropped, it detaches.
#[derive(Debug)]
pub struct Attacher {
    ebpf: Ebpf,
    plan: Plan,
    xdp: XdpHook,
    tc: TcHook,
    meters: BTreeMap<u32, Meter>,
    counters: KernelCounters,
    /// How many queries had been answered when that was looked at last.
    answered: u64,
    /// MTU of every interface here.
    mtus: BTreeMap<u32, u32>,
    interfaces: Interfaces,
}

impl Attacher {
    /// For the loaded programs in `ebpf`.
    pub fn new(ebpf: Ebpf, plan: Plan, interfaces: Interfaces) -> anyhow::Result<Self> {
        Ok(Self {
            xdp: XdpHook::new(&ebpf, plan.xdp)?,
            tc: TcHook::new(&ebpf, plan.tc)?,
            counters: KernelCounters::open(&ebpf)?,
            ebpf,
            plan,
            meters: BTreeMap::new(),
            answered: 0,
            mtus: BTreeMap::new(),
            interfaces,
        })
    }

    /// How often it wants to see all interfaces.
    pub fn relist_interval(&self) -> Duration {
        match self.plan.hook {
            // They carry what was received.
            Hook::Auto => Duration::from_secs(1),
            Hook::Xdp | Hook::Tc => Duration::from_secs(30),
        }
    }

    /// Follows a change of the node's interfaces.
    pub fn handle(&mut self, event: LinkEvent) {
        if self.plan.hook == Hook::Auto {
            match self.counters.answers() {
                Ok(answers) => self.answered = answers,
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "answers not counted, queries are taken for a pod's other packets"
                ),
            }
        }
        match event {
            LinkEvent::Changed(link) => {
                self.mtus.insert(link.index, link.mtu);
                self.update(&link);
            }
            LinkEvent::Gone(index) => {
                self.mtus.remove(&index);
                self.forget(index);
            }
            LinkEvent::Listed(links) => {
                self.mtus = links.iter().map(|link| (link.index, link.mtu)).collect();
                let known: Vec<u32> = self.interfaces.read().keys().copied().collect();
                for index in known {
                    if !self.mtus.contains_key(&index) {
                        self.forget(index);
                    }
                }
                for link in &links {
                    self.update(link);
                }
            }
        }
    }

    /// A program, as the kernel sees it.
    pub fn program_info(&self, path: Path) -> anyhow::Result<ProgramInfo> {
        let name = match path {
            Path::Xdp => xdp::PROGRAM,
            Path::Tc => tc::PROGRAM,
        };
        let program = self.ebpf.program(name);
        let program = program.with_context(|| format!("no program {name}"))?;
        program.info().context("cannot read the program's state")
    }

    /// Takes the programs off every interface.
    pub fn detach_all(&mut self) {
        let indices: BTreeSet<u32> = self.xdp.interfaces().chain(self.tc.interfaces()).collect();
        for index in indices {
            self.forget(index);
        }
    }

    fn update(&mut self, link: &Link) {
        if !self.plan.selection.selects(link) {
            self.forget(link.index);
            return;
        }
        // Behind XDP from the first packet on.
        let mtu = self.mtu(link);
        let record = InterfaceRecord::new(mtu, link.veth && link.peer_elsewhere);
        let tc = self.tc.attach(&mut self.ebpf, link, record);
        let hook = self.plan.hook;
        let xdp = if hook == Hook::Tc {
            State::Unused
        } else if tc != State::Attached {
            State::Refused(NOT_WITHOUT_TC.into())
        } else if hook == Hook::Auto && self.is_lifted(link) {
            State::Lifted
        } else {
            self.xdp.attach(&mut self.ebpf, link)
        };
        let interface = Interface {
            name: link.name.clone(),
            ifindex: link.index,
            mtu,
            xdp,
            tc,
        };
        let mut interfaces = self.interfaces.write();
        let before = interfaces.insert(link.index, interface.clone());
        drop(interfaces);
        // Tried again with every event, but said once.
        for (program, state, before) in [
            ("xdp", &interface.xdp, before.as_ref().map(|it| &it.xdp)),
            ("tc", &interface.tc, before.as_ref().map(|it| &it.tc)),
        ] {
            if before != Some(state) {
                report(link, program, state);
            }
        }
    }

    /// What goes through the interface and arrives at its other end.
    fn mtu(&self, link: &Link) -> u32 {
        // Where the other end is in another namespace, the packet is put there without
        // being measured.
        let other = link.peer.filter(|_| !link.peer_elsewhere);
        let other = other.and_then(|peer| self.mtus.get(&peer));
        other.map_or(link.mtu, |mtu| link.mtu.min(*mtu))
    }

    /// Whether the interface is to be without XDP for what its pod sends; takes it
    /// off where that is new.
    fn is_lifted(&mut self, link: &Link) -> bool {
        let meter = self.meters.entry(link.index).or_default();
        let (answered, limits) = (self.answered, self.plan.limits);
        let change = link
            .received
            .and_then(|total| meter.observe(Instant::now(), total, answered, limits));
        let lifted = meter.is_lifted();
        if change == Some(Change::Lift) {
            self.take_off_xdp(link.index, &link.name);
        }
        lifted
    }

    fn take_off_xdp(&mut self, index: u32, name: &str) {
        if let Err(error) = self.xdp.detach(&mut self.ebpf, index) {
            warn!(
                interface = name,
                ifindex = index,
                "xdp not detached: {error:#}"
            );
        }
    }

    /// Takes the programs off, where they are on, and forgets the interface.
    fn forget(&mut self, index: u32) {
        let interface = self.interfaces.write().remove(&index);
        self.meters.remove(&index);
        let name = interface.map_or_else(String::new, |interface| interface.name);
        self.take_off_xdp(index, &name);
        match self.tc.detach(&mut self.ebpf, index) {
            Ok(true) => info!(interface = name, ifindex = index, "detached"),
            Ok(false) => {}
            Err(error) => warn!(
                interface = name,
                ifindex = index,
                "tc not detached: {error:#}"
            ),
        }
    }
}

/// The error number of a failed system call.
pub(super) fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn report(link: &Link, program: &str, state: &State) {
    let Link { name, index, .. } = link;
    match state {
        State::Unused => {}
        State::Attached => info!(interface = name, ifindex = index, "{program} attached"),
        State::Lifted => info!(
            interface = name,
            ifindex = index,
            "{program} lifted: the pod sends much"
        ),
        State::Foreign => warn!(
            interface = name,
            ifindex = index,
            "carries another {program} program, left alone"
        ),
        State::Refused(reason) => {
            warn!(
                interface = name,
                ifindex = index,
                "{program} refused: {reason}"
            );
        }
        State::Failed(reason) => {
            warn!(
                interface = name,
                ifindex = index,
                "{program} not attached: {reason}"
            );
        }
    }
}
