//! The tc program by tcx (kernel 6.6, commit `e420bed02507`).
//!
//! The kernel tells which programs tcx has on an interface only to `CAP_SYS_ADMIN`, which
//! the agent does not need otherwise. But it refuses to attach a program a second time
//! (`EEXIST`, `bpf_mprog_attach`): so the agent asks to attach it, which says whether it is
//! there, and where it is not, puts it there in the same step.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use rustix::net::netdevice::name_to_index;

use super::installed::{Ensured, errno};
use super::programs;
use crate::datapath::links::Link;

/// The program's links; a link that is dropped is detached.
#[derive(Debug)]
pub(super) struct Tcx {
    links: BTreeMap<u32, SchedClassifierLink>,
    /// To ask the kernel for the index of a name.
    socket: UdpSocket,
}

impl Tcx {
    /// On no interface yet.
    pub(super) fn new() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("cannot open a socket")?;
        Ok(Self {
            links: BTreeMap::new(),
            socket,
        })
    }

    /// Whether the kernel has tcx: else it does not know what it is asked about.
    pub(super) fn is_supported() -> bool {
        match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
            Ok(_) => true,
            Err(error) => errno(&error.into()) != Some(libc::EINVAL),
        }
    }

    /// Makes the interface carry the program, before the programs of others.
    pub(super) fn ensure(&mut self, ebpf: &mut Ebpf, link: &Link) -> Ensured {
        let held = self.links.contains_key(&link.index);
        match self.attach(ebpf, link) {
            Ok(Some(attached)) => match self.links.insert(link.index, attached) {
                Some(_dead) => Ensured::Restored,
                None => Ensured::Attached,
            },
            Ok(None) => Ensured::Stale,
            Err(error) if held && errno(&error) == Some(libc::EEXIST) => Ensured::Kept,
            Err(error) => Ensured::failed(&error),
        }
    }

    /// Attaches the program; `None` where the interface has another name by now. The
    /// library attaches by name, and a name that changed hands meanwhile belongs to
    /// another interface.
    fn attach(&self, ebpf: &mut Ebpf, link: &Link) -> anyhow::Result<Option<SchedClassifierLink>> {
        let is_named = || {
            let index = name_to_index(&self.socket, &link.name);
            index.is_ok_and(|index| index == link.index)
        };
        if !is_named() {
            return Ok(None);
        }
        let program = programs::tc(ebpf)?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(&link.name, TcAttachType::Ingress, options)?;
        let attached = program.take_link(id)?;
        Ok(is_named().then_some(attached))
    }

    /// Takes the program off an interface, if it is there.
    pub(super) fn remove(&mut self, index: u32) {
        self.links.remove(&index);
    }
}
