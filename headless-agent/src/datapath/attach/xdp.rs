//! The XDP program on interfaces.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::programs::xdp::{XdpLink, XdpMode as AyaMode};
use headless_ebpf::abi::Path;

use super::installed::{self, Ensured, XdpInstalled, errno};
use super::programs;
use crate::datapath::links::Link;
use crate::datapath::plan::XdpMode;

/// The program's links; a link that is dropped is detached.
#[derive(Debug)]
pub(super) struct XdpHook {
    program_id: u32,
    links: BTreeMap<u32, XdpLink>,
}

impl XdpHook {
    /// On no interface yet.
    pub(super) fn new(ebpf: &Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            program_id: programs::id(ebpf, Path::Xdp)?,
            links: BTreeMap::new(),
        })
    }

    /// Makes the interface carry the program. `link` must have been read after the last
    /// call for this interface.
    pub(super) fn ensure(&mut self, ebpf: &mut Ebpf, link: &Link, mode: XdpMode) -> Ensured {
        let held = self.links.contains_key(&link.index);
        match installed::xdp(link, self.program_id) {
            XdpInstalled::Ours if held => return Ensured::Kept,
            XdpInstalled::Foreign => {
                // Where there was ours, its link leads nowhere now.
                self.links.remove(&link.index);
                return Ensured::Foreign;
            }
            XdpInstalled::Ours | XdpInstalled::Nothing => {}
        }
        self.links.remove(&link.index);
        match attach(ebpf, link.index, mode) {
            Ok(attached) => {
                self.links.insert(link.index, attached);
                if held {
                    Ensured::Restored
                } else {
                    Ensured::Attached
                }
            }
            Err(error) => match errno(&error) {
                // Another program came in between, in this mode or another.
                Some(libc::EBUSY | libc::EEXIST) => Ensured::Foreign,
                _ => Ensured::failed(&error),
            },
        }
    }

    /// The interfaces that carry the program.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.links.keys().copied()
    }

    /// Takes the program off an interface, if it is there.
    pub(super) fn remove(&mut self, index: u32) {
        self.links.remove(&index);
    }
}

fn attach(ebpf: &mut Ebpf, index: u32, mode: XdpMode) -> anyhow::Result<XdpLink> {
    let mode = match mode {
        XdpMode::Native => AyaMode::Driver,
        XdpMode::Generic => AyaMode::Skb,
    };
    let program = programs::xdp(ebpf)?;
    let id = program.attach_to_if_index(index, mode)?;
    Ok(program.take_link(id)?)
}
