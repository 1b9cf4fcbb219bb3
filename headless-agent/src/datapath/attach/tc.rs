//! The tc program on interfaces: by tcx where the kernel has it, else by the
//! clsact qdisc.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::tc::{
    NlOptions, SchedClassifierLinkId, TcAttachOptions, TcError, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::{LinkOrder, Program, ProgramError, SchedClassifier, TcAttachType};
use futures::TryStreamExt as _;
use headless_ebpf::abi::Interface;
use rtnetlink::packet_route::tc::TcHandle;
use tracing::{debug, info, warn};

use super::{State, TcMode, errno};
use crate::datapath::links::Link;
use crate::maps::kernel::KernelInterfaces;

/// Name of the program in the object.
pub(super) const PROGRAM: &str = "headless_tc";

/// Preference of the filter: the first number there is, as filters run in its
/// order. Among those of one number, the newest runs first (`cls_bpf_change`).
const PREFERENCE: u16 = 1;

/// How the program comes to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a `bpf_link`, which ends with the agent.
    Tcx,
    /// By a filter of a qdisc, which stays if the agent is killed.
    Clsact,
}

#[derive(Debug)]
struct Attached {
    link: SchedClassifierLinkId,
    interface: Interface,
    /// The qdisc was made for it.
    made_qdisc: bool,
}

/// Links of the program, and what it knows of its interfaces.
#[derive(Debug)]
pub(super) struct TcHook {
    way: Way,
    links: BTreeMap<u32, Attached>,
    interfaces: KernelInterfaces,
}

impl TcHook {
    /// On no interface yet. Asks the kernel what it has, and says so in the log
    /// where it is an old one.
    pub(super) fn new(ebpf: &Ebpf, mode: TcMode) -> anyhow::Result<Self> {
        let way = match mode {
            TcMode::Tcx => Way::Tcx,
            TcMode::Clsact => Way::Clsact,
            TcMode::Auto if has_tcx() => Way::Tcx,
            TcMode::Auto => {
                info!("no tcx in this kernel (it came with 6.6): attaching tc by clsact");
                Way::Clsact
            }
        };
        Ok(Self {
            way,
            links: BTreeMap::new(),
            interfaces: KernelInterfaces::open(ebpf)?,
        })
    }

    /// The interfaces that carry the program.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.links.keys().copied()
    }

    /// Puts the program on an interface, unless it is there, with what it must know
    /// of it.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, link: &Link, interface: Interface) -> State {
        match self.try_attach(ebpf, link, interface) {
            Ok(()) => State::Attached,
            Err(error) => State::Failed(format!("{error:#}")),
        }
    }

    fn try_attach(
        &mut self,
        ebpf: &mut Ebpf,
        link: &Link,
        interface: Interface,
    ) -> anyhow::Result<()> {
        if let Some(attached) = self.links.get_mut(&link.index) {
            if attached.interface != interface {
                self.interfaces.put(link.index, interface)?;
                attached.interface = interface;
            }
            return Ok(());
        }
        // Known before the first packet comes.
        self.interfaces.put(link.index, interface)?;
        let attached = match self.way {
            Way::Tcx => {
                let options = TcAttachOptions::TcxOrder(LinkOrder::first());
                attach(ebpf, link, options).map(|link| (link, false))
            }
            Way::Clsact => attach_filter(ebpf, link),
        };
        match attached {
            Ok((id, made_qdisc)) => {
                let attached = Attached {
                    link: id,
                    interface,
                    made_qdisc,
                };
                self.links.insert(link.index, attached);
                Ok(())
            }
            Err(error) => {
                self.interfaces.delete(link.index)?;
                Err(error)
            }
        }
    }

    /// Takes the program off an interface and says whether it was on it. An
    /// interface that is `gone` has taken its qdisc along.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf, index: u32) -> anyhow::Result<bool> {
        let Some(attached) = self.links.remove(&index) else {
            return Ok(false);
        };
        let detached = program(ebpf).and_then(|tc| Ok(tc.detach(attached.link)?));
        self.interfaces.delete(index)?;
        detached?;
        if attached.made_qdisc
            && let Err(error) = remove_qdisc(index)
        {
            warn!(ifindex = index, "clsact not removed: {error:#}");
        }
        Ok(true)
    }
}

/// Whether the kernel has tcx (6.6, commit `e420bed02507`): else it does not know
/// what it is asked about.
fn has_tcx() -> bool {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => true,
        Err(error) => errno(&error) != Some(libc::EINVAL),
    }
}

fn program(ebpf: &mut Ebpf) -> anyhow::Result<&mut SchedClassifier> {
    match ebpf.program_mut(PROGRAM) {
        Some(Program::SchedClassifier(tc)) => Ok(tc),
        _ => anyhow::bail!("the BPF object has no tc program {PROGRAM}"),
    }
}

fn attach(
    ebpf: &mut Ebpf,
    link: &Link,
    options: TcAttachOptions,
) -> anyhow::Result<SchedClassifierLinkId> {
    let ingress = TcAttachType::Ingress;
    Ok(program(ebpf)?.attach_with_options(&link.name, ingress, options)?)
}

/// Makes the qdisc where there is none, and adds the filter; says whether it made
/// the qdisc.
fn attach_filter(ebpf: &mut Ebpf, link: &Link) -> anyhow::Result<(SchedClassifierLinkId, bool)> {
    let made_qdisc = match qdisc_add_clsact(&link.name) {
        Ok(()) => true,
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => false,
        Err(error) => return Err(error).context("cannot add the clsact qdisc"),
    };
    // An agent that was killed left its own.
    if !made_qdisc
        && let Err(error) = qdisc_detach_program(&link.name, TcAttachType::Ingress, PROGRAM)
    {
        debug!(interface = link.name, "no filter of another agent: {error}");
    }
    let options = |priority| {
        TcAttachOptions::Netlink(NlOptions {
            priority,
            ..NlOptions::default()
        })
    };
    let attached = match attach(ebpf, link, options(PREFERENCE)) {
        // Filters of another kind or protocol have this number: the kernel chooses
        // one, before those that it chose earlier.
        Err(error) if is_taken(&error) => attach(ebpf, link, options(0)),
        attached => attached,
    };
    if attached.is_err()
        && made_qdisc
        && let Err(error) = remove_qdisc(link.index)
    {
        warn!(interface = link.name, "clsact not removed: {error:#}");
    }
    Ok((attached?, made_qdisc))
}

fn is_taken(error: &anyhow::Error) -> bool {
    let Some(ProgramError::TcError(TcError::NetlinkError(error))) = error.downcast_ref() else {
        return false;
    };
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EEXIST))
}

/// Removes the clsact qdisc of an interface unless others have filters in it.
fn remove_qdisc(index: u32) -> anyhow::Result<()> {
    let index = i32::try_from(index).context("an index beyond those of interfaces")?;
    tokio::runtime::Handle::current().block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        let connection = tokio::spawn(connection);
        let removed = async {
            let mut filters = handle.traffic_filter(index);
            let ingress: Vec<_> = filters.get().ingress().execute().try_collect().await?;
            let egress: Vec<_> = filters.get().egress().execute().try_collect().await?;
            if ingress.is_empty() && egress.is_empty() {
                let mut request = handle.qdisc().del(index);
                request.message_mut().header.parent = TcHandle::CLSACT;
                request.execute().await?;
            }
            Ok(())
        }
        .await;
        connection.abort();
        removed
    })
}
