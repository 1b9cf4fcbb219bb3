//! The kernel side of the library's traits. All unsafe code of the programs is
//! in this folder, but for the empty instructions of [`headless_ebpf::verifier`].

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
