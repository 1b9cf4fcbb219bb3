//! Bytes to meaning and back: no maps, no allocation, no clock.
//!
//! The contract: [`Packet::load`] copies a frame into an [`Image`], everything
//! is parsed from and written into the image, and [`Packet::resize`] followed
//! by [`Packet::store`] is the one step that changes the packet. Offsets into an
//! image are masked by its capacity, so that no access can fail or panic; that
//! an offset means what its name says is the caller's duty, and what the tests
//! are for.
#![forbid(unsafe_code)]

mod checksum;
mod dashed;
mod dns;
mod headers;
mod image;
mod packet;
mod question;
mod room;
mod window;

pub use self::{
    dashed::put_dashed,
    dns::{CLASS_IN, Edns, OPT_LEN, SOA_LEN, flags, pointer, put_soa, qtype, rcode},
    headers::{
        ETHERNET_LEN, HEADERS_MAX, Headers, IPV4_HEADERS_LEN, IPV6_HEADERS_LEN, IpVersion, MESSAGE,
        Shape, TAG_LEN, ip_version, is_tag, partial_checksum, reply_ipv4, reply_ipv6,
    },
    image::{
        AddressBytes, Bytes, IMAGE_CAPACITY, Image, KeyBytes, LabelBytes, NameBytes, PortBytes,
        SuffixBytes,
    },
    packet::{FramePacket, Packet},
    question::{Labels, NAME_LEN_MAX, Question, fold, why_not},
    room::{Large, Room, Small},
    window::WINDOW,
};

/// Bytes of the DNS header (RFC 1035, section 4.1.1).
pub const DNS_HEADER_LEN: usize = 12;

/// Most bytes of a message to a client that does not say what it takes
/// (RFC 1035, section 4.2.1).
pub const UDP_PAYLOAD_MIN: usize = 512;

/// Most bytes of a frame that the engine reads: a query without EDNS options has
/// at most 282 bytes behind its headers.
pub const FRAME_MAX: usize = 580;

const _: () = assert!(Small::FRAME_MAX <= FRAME_MAX && Large::FRAME_MAX <= IMAGE_CAPACITY);
