//! The kernel side of the library's traits. All unsafe code of the programs is
//! in this folder.

mod maps;
mod packet;
mod panic;
mod skb;

pub(crate) use self::{
    maps::{Maps, PerCpu, count, logging},
    packet::XdpPacket,
    skb::SkbPacket,
};
