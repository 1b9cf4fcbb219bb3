//! The kernel side of the library's traits. All unsafe code of the programs is
//! in this folder.

mod maps;
mod packet;
mod panic;
mod skb;

pub(crate) use self::{
    maps::{Maps, count, logging, scratch},
    packet::XdpPacket,
    skb::SkbPacket,
};
