//! The library's traits over the kernel's interfaces: [`maps`] over BPF maps, [`xdp`] over
//! `xdp_md`, [`tc`] over `__sk_buff`, and [`subprograms`] over per-CPU memory and functions with
//! global linkage.
//!
//! All unsafe code of `headless_xdp` and `headless_tc` is in this folder. The library itself has
//! unsafe code only in [`headless_ebpf::verifier`].

mod globals;
mod maps;
mod panic;
mod subprograms;
mod tc;
mod xdp;

pub(crate) use self::{
    globals::logging,
    maps::{Maps, count},
    subprograms::PerCpu,
    tc::SkbPacket,
    xdp::XdpPacket,
};
