//! The tc program by a filter of the clsact qdisc, for kernels without tcx.
//!
//! Everything is done by index: a name may change hands between two calls. Neither the
//! qdisc nor the filter ends with the agent, so that each must be removed.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::Context as _;
use aya::Ebpf;
use futures::StreamExt as _;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::{Error, Handle};
use tracing::{debug, warn};

use super::installed::{Ensured, Filter, Side, errno, filters, tca_bpf};
use super::programs;

/// Preference of the filter: the first number there is, as filters run in its
/// order. Among the filters of one number, the newest runs first (`cls_bpf_change`).
const PREFERENCE: u16 = 1;

/// Asks the kernel to choose the preference: a lower one than it chose before, so that the
/// filter runs earlier.
const ANY_PREFERENCE: u16 = 0;

/// `ETH_P_ALL` in network byte order: the filter sees packets of every protocol.
const EVERY_PROTOCOL: u32 = 0x0003_u16.to_be() as u32;

/// `TCA_BPF_FLAG_ACT_DIRECT`: the program's return value is the action.
const ACT_DIRECT: u32 = 1;

/// Where filters of packets that an interface receives are.
const INGRESS: TcHandle = TcHandle {
    major: TcHandle::CLSACT.major,
    minor: TcHandle::MIN_INGRESS,
};

/// The qdiscs and filters of this agent. Everything else is read from the kernel.
#[derive(Debug)]
pub(super) struct Clsact {
    program_id: u32,
    /// Interfaces that got a filter.
    held: BTreeSet<u32>,
    /// Interfaces whose qdisc was made for the filter.
    made: BTreeSet<u32>,
}

impl Clsact {
    /// On no interface yet.
    pub(super) fn new(program_id: u32) -> Self {
        Self {
            program_id,
            held: BTreeSet::new(),
            made: BTreeSet::new(),
        }
    }

    /// Makes the interface have the filter.
    pub(super) async fn ensure(&mut self, ebpf: &mut Ebpf, handle: &Handle, index: u32) -> Ensured {
        match self.try_ensure(ebpf, handle, index).await {
            Ok(ensured) => ensured,
            Err(error) => Ensured::failed(&error),
        }
    }

    async fn try_ensure(
        &mut self,
        ebpf: &mut Ebpf,
        handle: &Handle,
        index: u32,
    ) -> anyhow::Result<Ensured> {
        let device = device(index)?;
        let found = filters(handle, device, Side::Ingress).await?;
        if found.iter().any(|filter| self.is_ours(filter)) {
            self.held.insert(index);
            return Ok(Ensured::Kept);
        }
        match request(handle, add_qdisc(device)).await {
            Ok(()) => {
                self.made.insert(index);
            }
            Err(error) if errno(&error) == Some(libc::EEXIST) => {}
            Err(error) => return Err(error).context("cannot add the clsact qdisc"),
        }
        self.remove_of_earlier_agents(handle, index, &found).await?;
        let added = self.add_filter(ebpf, handle, device).await;
        if added.is_err() && !self.held.contains(&index) {
            self.remove_qdisc(handle, index).await;
        }
        added.context("cannot add the filter")?;
        Ok(if self.held.insert(index) {
            Ensured::Attached
        } else {
            Ensured::Restored
        })
    }

    async fn add_filter(
        &self,
        ebpf: &mut Ebpf,
        handle: &Handle,
        device: i32,
    ) -> anyhow::Result<()> {
        let fd = programs::tc(ebpf)?.fd()?.as_fd().as_raw_fd();
        let added = request(handle, add_filter(device, fd, PREFERENCE)).await;
        match added {
            // Filters of another kind or protocol have this preference.
            Err(error) if matches!(errno(&error), Some(libc::EINVAL | libc::EEXIST)) => {
                request(handle, add_filter(device, fd, ANY_PREFERENCE)).await
            }
            added => added,
        }
    }

    fn is_ours(&self, filter: &Filter) -> bool {
        filter.program == Some(self.program_id)
    }

    /// Removes the filters that agents left which were killed. A qdisc that held nothing
    /// else was theirs, and is ours now.
    async fn remove_of_earlier_agents(
        &mut self,
        handle: &Handle,
        index: u32,
        found: &[Filter],
    ) -> anyhow::Result<()> {
        let is_earlier =
            |filter: &Filter| filter.name.as_deref() == Some(programs::TC) && !self.is_ours(filter);
        let (earlier, others): (Vec<_>, Vec<_>) = found.iter().partition(|it| is_earlier(it));
        for filter in &earlier {
            debug!(ifindex = index, "removing the filter of an earlier agent");
            request(handle, delete_filter(device(index)?, filter)).await?;
        }
        if !earlier.is_empty() && others.is_empty() {
            self.made.insert(index);
        }
        Ok(())
    }

    /// Removes from an interface that should have no filter what an agent left there which
    /// was killed.
    pub(super) async fn sweep(&mut self, handle: &Handle, index: u32) {
        let sweep = async {
            let found = filters(handle, device(index)?, Side::Ingress).await?;
            self.remove_of_earlier_agents(handle, index, &found).await
        };
        if let Err(error) = sweep.await {
            debug!(ifindex = index, "filters of earlier agents: {error:#}");
        }
        self.remove_qdisc(handle, index).await;
    }

    /// Removes the filter from an interface; the qdisc stays.
    pub(super) async fn remove_filter(&mut self, handle: &Handle, index: u32) {
        if !self.held.remove(&index) {
            return;
        }
        let remove = async {
            let device = device(index)?;
            let found = filters(handle, device, Side::Ingress).await?;
            for filter in found.iter().filter(|filter| self.is_ours(filter)) {
                request(handle, delete_filter(device, filter)).await?;
            }
            anyhow::Ok(())
        };
        tell(index, "the filter was not removed", remove.await);
    }

    /// Removes the qdisc of an interface where it was made for the filter and nobody else
    /// has filters in it.
    pub(super) async fn remove_qdisc(&mut self, handle: &Handle, index: u32) {
        if !self.made.remove(&index) {
            return;
        }
        let remove = async {
            let device = device(index)?;
            for side in [Side::Ingress, Side::Egress] {
                if !filters(handle, device, side).await?.is_empty() {
                    return Ok(());
                }
            }
            request(handle, delete_qdisc(device)).await
        };
        tell(index, "the clsact qdisc was not removed", remove.await);
    }

    /// Forgets an interface that is gone: its qdisc went with it.
    pub(super) fn forget(&mut self, index: u32) {
        self.held.remove(&index);
        self.made.remove(&index);
    }
}

/// Logs a failure, unless the interface, its qdisc or its filter has gone meanwhile.
fn tell(index: u32, what: &str, result: anyhow::Result<()>) {
    if let Err(error) = result
        && !matches!(
            errno(&error),
            Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)
        )
    {
        warn!(ifindex = index, "{what}: {error:#}");
    }
}

fn device(index: u32) -> anyhow::Result<i32> {
    i32::try_from(index).context("an index beyond those of interfaces")
}

/// Sends a request and waits for its acknowledgement.
async fn request(handle: &Handle, message: (RouteNetlinkMessage, u16)) -> anyhow::Result<()> {
    let (message, flags) = message;
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut replies = handle.clone().request(message)?;
    while let Some(reply) = replies.next().await {
        if let NetlinkPayload::Error(error) = reply.payload
            && error.code.is_some()
        {
            return Err(Error::NetlinkError(error).into());
        }
    }
    Ok(())
}

fn qdisc(device: i32) -> TcMessage {
    let mut message = TcMessage::with_index(device);
    message.header.parent = TcHandle::CLSACT;
    // The kernel compares it, so that no qdisc `ingress`, which has the same place, is
    // deleted instead.
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn add_qdisc(device: i32) -> (RouteNetlinkMessage, u16) {
    let mut message = qdisc(device);
    message.header.handle = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    (message, NLM_F_CREATE | NLM_F_EXCL)
}

fn delete_qdisc(device: i32) -> (RouteNetlinkMessage, u16) {
    (RouteNetlinkMessage::DelQueueDiscipline(qdisc(device)), 0)
}

fn filter(device: i32, handle: TcHandle, info: u32) -> TcMessage {
    let mut message = TcMessage::with_index(device);
    message.header.parent = INGRESS;
    message.header.handle = handle;
    message.header.info = info;
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    message
}

fn add_filter(device: i32, fd: i32, preference: u16) -> (RouteNetlinkMessage, u16) {
    let info = u32::from(preference) << 16 | EVERY_PROTOCOL;
    let mut message = filter(device, TcHandle::UNSPEC, info);
    let options = [
        (tca_bpf::FD, fd.to_ne_bytes().to_vec()),
        (tca_bpf::NAME, [programs::TC.as_bytes(), b"\0"].concat()),
        (tca_bpf::FLAGS, ACT_DIRECT.to_ne_bytes().to_vec()),
    ];
    let options = options.map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value)));
    let options = TcAttribute::Options(options.into());
    message.attributes.push(options);
    let message = RouteNetlinkMessage::NewTrafficFilter(message);
    (message, NLM_F_CREATE | NLM_F_EXCL)
}

fn delete_filter(device: i32, found: &Filter) -> (RouteNetlinkMessage, u16) {
    let message = filter(device, found.handle, found.info);
    (RouteNetlinkMessage::DelTrafficFilter(message), 0)
}
