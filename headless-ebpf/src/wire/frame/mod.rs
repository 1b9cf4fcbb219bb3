//! Frames: Ethernet, IP and UDP around a DNS message.
//!
//! The contract: [`Packet::load`] copies a frame into an [`super::Image`], everything
//! is parsed from and written into the image, and [`Packet::resize`] followed
//! by [`Packet::store`] is the one step that changes the packet.

mod checksum;
mod headers;
mod packet;
mod reply;
mod shape;

pub use self::{
    headers::{Headers, ip_version, is_tag},
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
