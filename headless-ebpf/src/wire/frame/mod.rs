//! Frames: Ethernet, IP and UDP headers around a DNS message.
//!
//! [`Packet::load`] copies a frame into an [`super::Image`]. The engine reads the query from the
//! image and writes the reply into it. Only [`Packet::resize`] followed by [`Packet::store`]
//! changes the packet.

mod checksum;
mod headers;
mod packet;
mod reply;
mod shape;

pub use self::{
    headers::{Headers, NoQuery, asks_for_connection, ip_version, is_tag},
    packet::{FramePacket, Packet},
    reply::{partial_checksum, reply_ipv4, reply_ipv6},
    shape::{
        ETHERNET_LEN, FRAME_MAX, HEADERS_MAX, IPV4_HEADERS_LEN, IPV6_HEADERS_LEN, MESSAGE, Shape,
        TAG_LEN, frame_max,
    },
};
use super::{
    bytes::IMAGE_CAPACITY,
    capacity::{Large, Small},
};

const _: () = assert!(frame_max::<Small>() <= FRAME_MAX);
const _: () = assert!(frame_max::<Large>() <= IMAGE_CAPACITY);
