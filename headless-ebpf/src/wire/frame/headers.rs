//! Reads the Ethernet, IP and UDP headers of a query. This is the first step for every packet of
//! a pod, so that the first comparisons let all other traffic pass.

use super::{
    checksum,
    shape::{ETHERNET_LEN, FRAME_MAX, IPV4_LEN, IPV6_LEN, Shape, UDP_LEN},
};
use crate::{
    abi::{Address, Family, PassReason},
    wire::dns::DNS_HEADER_LEN,
};

/// Protocol number of UDP (IANA, "Protocol Numbers").
pub(super) const PROTOCOL_UDP: u8 = 17;
/// Protocol number of TCP.
const PROTOCOL_TCP: u8 = 6;
const DNS_PORT: [u8; 2] = 53_u16.to_be_bytes();
const ETHERTYPE_IPV4: [u8; 2] = 0x0800_u16.to_be_bytes();
const ETHERTYPE_IPV6: [u8; 2] = 0x86dd_u16.to_be_bytes();
const ETHERTYPE_VLAN: [u8; 2] = 0x8100_u16.to_be_bytes();
/// First byte of an IPv4 header: version 4, five words of header, so no options.
pub(super) const VERSION_IHL: u8 = 0x45;
/// The more-fragments bit and the fragment offset. The don't-fragment bit does not count.
const FRAGMENT: u16 = 0x3fff;
/// The fragment offset.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Offset of the flags in the TCP header (RFC 9293, section 3.1).
const TCP_FLAGS_AT: usize = 13;
/// The flags SYN and ACK.
const SYN_AND_ACK: u8 = 0x12;
/// The flag SYN.
const SYN: u8 = 0x02;

/// The content of the headers of a UDP packet to port 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The frame's shape.
    pub shape: Shape,
    /// The destination address.
    pub destination: Address,
    /// Bytes from the Ethernet header to the end of the UDP payload. The frame's padding does not
    /// count.
    pub frame_len: usize,
}

/// A frame that is no query over UDP whose headers the engine understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuery {
    /// Other traffic.
    Other,
    /// The frame may hold a query to this address, or a part of one. It passes for this reason.
    Unreadable(Address, PassReason),
    /// A TCP segment to port 53 of this address. Its flags are at this offset in the frame.
    Tcp(Address, usize),
}

/// Whether a TCP segment with these flags asks for a connection (RFC 9293, section 3.5).
#[inline(always)]
pub const fn asks_for_connection(flags: u8) -> bool {
    flags & SYN_AND_ACK == SYN
}

/// The IP version of a frame with this Ethernet type. `None` for other protocols.
#[inline(always)]
pub fn ip_version(ethertype: [u8; 2]) -> Option<Family> {
    match ethertype {
        ETHERTYPE_IPV4 => Some(Family::Ipv4),
        ETHERTYPE_IPV6 => Some(Family::Ipv6),
        _ => None,
    }
}

/// Whether this Ethernet type says that a VLAN tag follows (IEEE 802.1Q).
#[inline(always)]
pub fn is_tag(ethertype: [u8; 2]) -> bool {
    ethertype == ETHERTYPE_VLAN
}

impl Headers {
    /// Reads the headers of an IPv4 frame of `frame_len` bytes. `head` are the first `N` bytes of
    /// the frame, which end with the UDP header.
    ///
    /// A frame that may be a query passes with [`PassReason::IpHeader`] for fragments, options
    /// and wrong checksums, [`PassReason::Length`] for lengths that contradict each other,
    /// [`PassReason::TooLong`] for more than [`FRAME_MAX`] bytes. A fragment behind the first
    /// one, or a header with options, hides the port.
    #[inline(always)]
    pub fn parse_ipv4<const N: usize>(head: &[u8; N], frame_len: usize) -> Result<Self, NoQuery> {
        let link_len = const { N - IPV4_LEN - UDP_LEN };
        let Some(head) = head.last_chunk::<{ IPV4_LEN + UDP_LEN }>() else {
            return Err(NoQuery::Other);
        };
        // Closures, so that no packet pays for what only others need.
        let is_to_dns = || [head[22], head[23]] == DNS_PORT;
        let fragment = || u16::from_be_bytes([head[6], head[7]]) & FRAGMENT;
        let has_port = || head[0] == VERSION_IHL && fragment() & FRAGMENT_OFFSET == 0;
        let destination = || {
            let address = [head[16], head[17], head[18], head[19]];
            Address::from_ipv4_word(u32::from_ne_bytes(address))
        };
        if head[9] != PROTOCOL_UDP {
            return Err(if head[9] == PROTOCOL_TCP && is_to_dns() && has_port() {
                NoQuery::Tcp(destination(), link_len + IPV4_LEN + TCP_FLAGS_AT)
            } else {
                NoQuery::Other
            });
        }
        let unreadable = |reason| Err(NoQuery::Unreadable(destination(), reason));
        if head[0] != VERSION_IHL || fragment() != 0 {
            if has_port() && !is_to_dns() {
                return Err(NoQuery::Other);
            }
            return unreadable(PassReason::IpHeader);
        }
        if !is_to_dns() {
            return Err(NoQuery::Other);
        }
        let ip_len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let udp_len = usize::from(u16::from_be_bytes([head[24], head[25]]));
        if ip_len != IPV4_LEN + udp_len {
            return unreadable(PassReason::Length);
        }
        // The sum over a header with a right checksum is all ones (RFC 791, section 3.1).
        let mut sum = 0;
        for word in head.as_chunks().0.iter().take(IPV4_LEN / 4) {
            sum += u64::from(u32::from_le_bytes(*word));
        }
        if checksum::fold(sum) != 0xffff {
            return unreadable(PassReason::IpHeader);
        }
        Self {
            shape: Shape::new(Family::Ipv4, link_len != ETHERNET_LEN),
            destination: destination(),
            frame_len: link_len + ip_len,
        }
        .check(udp_len, frame_len)
    }

    /// Reads the headers of an IPv6 frame, as [`Self::parse_ipv4`] does for IPv4. A packet with an
    /// extension header may be a query if UDP or another extension header follows, and then
    /// passes with [`PassReason::IpHeader`].
    #[inline(always)]
    pub fn parse_ipv6<const N: usize>(head: &[u8; N], frame_len: usize) -> Result<Self, NoQuery> {
        let link_len = const { N - IPV6_LEN - UDP_LEN };
        let Some(head) = head.last_chunk::<{ IPV6_LEN + UDP_LEN }>() else {
            return Err(NoQuery::Other);
        };
        let is_to_dns = || [head[42], head[43]] == DNS_PORT;
        let destination = || match head[24..].first_chunk::<16>() {
            Some(address) => bytemuck::cast(*address),
            None => Address::default(),
        };
        let unreadable = |reason| Err(NoQuery::Unreadable(destination(), reason));
        if head[6] != PROTOCOL_UDP {
            // The first byte of an extension header says what follows it.
            let (next, after) = (head[6], head[IPV6_LEN]);
            let may_be_udp = || after == PROTOCOL_UDP || is_extension_header(after);
            return if next == PROTOCOL_TCP && is_to_dns() {
                let flags_at = link_len + IPV6_LEN + TCP_FLAGS_AT;
                Err(NoQuery::Tcp(destination(), flags_at))
            } else if is_extension_header(next) && may_be_udp() {
                unreadable(PassReason::IpHeader)
            } else {
                Err(NoQuery::Other)
            };
        }
        if !is_to_dns() {
            return Err(NoQuery::Other);
        }
        if head[0] >> 4 != 6 {
            return unreadable(PassReason::IpHeader);
        }
        let payload_len = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let udp_len = usize::from(u16::from_be_bytes([head[44], head[45]]));
        if payload_len != udp_len {
            return unreadable(PassReason::Length);
        }
        Self {
            shape: Shape::new(Family::Ipv6, link_len != ETHERNET_LEN),
            destination: destination(),
            frame_len: link_len + IPV6_LEN + payload_len,
        }
        .check(udp_len, frame_len)
    }

    /// Checks the lengths.
    #[inline(always)]
    fn check(self, udp_len: usize, frame_len: usize) -> Result<Self, NoQuery> {
        let unreadable = |reason| Err(NoQuery::Unreadable(self.destination, reason));
        if udp_len < UDP_LEN + DNS_HEADER_LEN || self.frame_len > frame_len {
            unreadable(PassReason::Length)
        } else if self.frame_len > FRAME_MAX {
            unreadable(PassReason::TooLong)
        } else {
            Ok(self)
        }
    }
}

/// Whether the number of a next header stands for hop-by-hop options, routing, a fragment or
/// destination options (RFC 8200, section 4).
#[inline(always)]
const fn is_extension_header(next: u8) -> bool {
    const EXTENSIONS: u64 = 1 | 1 << 43 | 1 << 44 | 1 << 60;
    next < 64 && EXTENSIONS >> next & 1 != 0
}
