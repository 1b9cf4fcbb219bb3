//! The tc program on interfaces, with the record that tells it about each of them.

use std::collections::BTreeMap;

use aya::Ebpf;
use headless_ebpf::abi::{InterfaceRecord, Path};
use rtnetlink::Handle;
use tracing::{info, warn};

use super::clsact::Clsact;
use super::desired::TcWay;
use super::installed::Ensured;
use super::programs;
use super::tcx::Tcx;
use crate::datapath::links::Link;
use crate::datapath::plan::TcMode;
use crate::maps::kernel::KernelInterfaces;

/// The program by both ways of attaching.
#[derive(Debug)]
pub(super) struct TcHook {
    tcx: Tcx,
    clsact: Clsact,
    map: KernelInterfaces,
    /// Records that are in the map.
    records: BTreeMap<u32, InterfaceRecord>,
}

impl TcHook {
    /// On no interface yet.
    pub(super) fn new(ebpf: &Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            tcx: Tcx::new()?,
            clsact: Clsact::new(programs::id(ebpf, Path::Tc)?),
            map: KernelInterfaces::open(ebpf)?,
            records: BTreeMap::new(),
        })
    }

    /// Makes the interface carry the program. `record` is in the map before the program gets
    /// the interface's first packet.
    pub(super) async fn ensure(
        &mut self,
        ebpf: &mut Ebpf,
        handle: &Handle,
        (link, way): (&Link, TcWay),
        record: InterfaceRecord,
    ) -> Ensured {
        if let Err(error) = self.put(link.index, record) {
            return Ensured::Failed(format!("{error:#}"));
        }
        let ensured = match way {
            TcWay::Tcx => self.tcx.ensure(ebpf, link),
            TcWay::Clsact => self.clsact.ensure(ebpf, handle, link.index).await,
        };
        if matches!(ensured, Ensured::Failed(_)) {
            self.remove(handle, link.index).await;
        }
        ensured
    }

    fn put(&mut self, index: u32, record: InterfaceRecord) -> anyhow::Result<()> {
        if self.records.get(&index) != Some(&record) {
            self.map.put(index, record)?;
            self.records.insert(index, record);
        }
        Ok(())
    }

    fn delete(&mut self, index: u32) {
        if self.records.remove(&index).is_some()
            && let Err(error) = self.map.delete(index)
        {
            warn!(ifindex = index, "the record of an interface stays: {error}");
        }
    }

    /// The interfaces that may carry the program.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.records.keys().copied()
    }

    /// Takes the program off an interface, if it is there.
    pub(super) async fn remove(&mut self, handle: &Handle, index: u32) {
        self.tcx.remove(index);
        self.clsact.remove_filter(handle, index).await;
        self.clsact.remove_qdisc(handle, index).await;
        self.delete(index);
    }

    /// Takes the program off every interface. Filters outlive the agent, and removing a
    /// qdisc takes longer than removing a filter: all filters are removed first.
    pub(super) async fn remove_all(&mut self, handle: &Handle) {
        let indices: Vec<u32> = self.interfaces().collect();
        for index in &indices {
            self.clsact.remove_filter(handle, *index).await;
        }
        for index in indices {
            self.remove(handle, index).await;
        }
    }

    /// Removes filters that killed agents left.
    pub(super) async fn sweep(&mut self, handle: &Handle, index: u32) {
        self.clsact.sweep(handle, index).await;
    }

    /// Forgets an interface that is gone.
    pub(super) fn forget(&mut self, index: u32) {
        self.tcx.remove(index);
        self.clsact.forget(index);
        self.delete(index);
    }
}

/// The way of attaching that a mode stands for on this kernel.
pub(super) fn way(mode: TcMode) -> TcWay {
    match mode {
        TcMode::Tcx => TcWay::Tcx,
        TcMode::Clsact => TcWay::Clsact,
        TcMode::Auto if Tcx::is_supported() => TcWay::Tcx,
        TcMode::Auto => {
            info!("no tcx in this kernel (it came with 6.6): attaching tc by clsact");
            TcWay::Clsact
        }
    }
}
