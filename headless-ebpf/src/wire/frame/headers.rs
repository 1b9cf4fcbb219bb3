//! Ethernet, IP and UDP headers of a query.

use super::{
    checksum,
    shape::{ETHERNET_LEN, FRAME_MAX, IPV4_LEN, IPV6_LEN, Shape, UDP_LEN},
};
use crate::{
    abi::{Address, Family, PassReason},
    wire::dns::DNS_HEADER_LEN,
};

pub(super) const PROTOCOL_UDP: u8 = 17;
const DNS_PORT: [u8; 2] = 53_u16.to_be_bytes();
const ETHERTYPE_IPV4: [u8; 2] = 0x0800_u16.to_be_bytes();
const ETHERTYPE_IPV6: [u8; 2] = 0x86dd_u16.to_be_bytes();
const ETHERTYPE_VLAN: [u8; 2] = 0x8100_u16.to_be_bytes();
/// Version 4, five words of header.
pub(super) const VERSION_IHL: u8 = 0x45;
/// More-fragments and the fragment offset; the don't-fragment bit may be set.
const FRAGMENT: u16 = 0x3fff;

/// What the headers of a frame say that may be a query to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Which headers the frame has.
    pub shape: Shape,
    /// The destination address.
    pub destination: Address,
    /// Bytes from the Ethernet header to the end of the UDP payload, that is
    /// without the frame's padding.
    pub frame_len: usize,
}

/// The IP version that the last two bytes of an Ethernet header announce.
#[inline(always)]
pub fn ip_version(ethertype: [u8; 2]) -> Option<Family> {
    match ethertype {
        ETHERTYPE_IPV4 => Some(Family::Ipv4),
        ETHERTYPE_IPV6 => Some(Family::Ipv6),
        _ => None,
    }
}

/// Whether the last two bytes of an Ethernet header announce a VLAN tag.
#[inline(always)]
pub fn is_tag(ethertype: [u8; 2]) -> bool {
    ethertype == ETHERTYPE_VLAN
}

impl Headers {
    /// Reads the headers of an IPv4 frame of `frame_len` bytes which begins with
    /// `head`, `N` bytes that end with the UDP header.
    ///
    /// The first comparisons let all other traffic go; nothing is read twice and
    /// nothing beyond these bytes.
    #[inline(always)]
    pub fn parse_ipv4<const N: usize>(
        head: &[u8; N],
        frame_len: usize,
    ) -> Result<Self, PassReason> {
        let link_len = const { N - IPV4_LEN - UDP_LEN };
        let Some(head) = head.last_chunk::<{ IPV4_LEN + UDP_LEN }>() else {
            return Err(PassReason::NotDns);
        };
        if head[9] != PROTOCOL_UDP {
            return Err(PassReason::NotDns);
        }
        let fragment = u16::from_be_bytes([head[6], head[7]]) & FRAGMENT;
        if head[0] != VERSION_IHL || fragment != 0 {
            return Err(PassReason::IpHeader);
        }
        if [head[22], head[23]] != DNS_PORT {
            return Err(PassReason::NotDns);
        }
        let ip_len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let udp_len = usize::from(u16::from_be_bytes([head[24], head[25]]));
        if ip_len != IPV4_LEN + udp_len {
            return Err(PassReason::Length);
        }
        // The sum over the whole header is all ones (RFC 791, section 3.1).
        let mut sum = 0;
        for word in head.as_chunks().0.iter().take(IPV4_LEN / 4) {
            sum += u64::from(u32::from_le_bytes(*word));
        }
        if checksum::fold(sum) != 0xffff {
            return Err(PassReason::IpHeader);
        }
        let destination = u32::from_ne_bytes([head[16], head[17], head[18], head[19]]);
        Self {
            shape: Shape::new(Family::Ipv4, link_len != ETHERNET_LEN),
            destination: Address::from_ipv4_word(destination),
            frame_len: link_len + ip_len,
        }
        .check(udp_len, frame_len)
    }

    /// The same for an IPv6 frame. Extension headers are not followed.
    #[inline(always)]
    pub fn parse_ipv6<const N: usize>(
        head: &[u8; N],
        frame_len: usize,
    ) -> Result<Self, PassReason> {
        let link_len = const { N - IPV6_LEN - UDP_LEN };
        let Some(head) = head.last_chunk::<{ IPV6_LEN + UDP_LEN }>() else {
            return Err(PassReason::NotDns);
        };
        if head[6] != PROTOCOL_UDP {
            return Err(if is_extension_header(head[6]) {
                PassReason::IpHeader
            } else {
                PassReason::NotDns
            });
        }
        if [head[42], head[43]] != DNS_PORT {
            return Err(PassReason::NotDns);
        }
        if head[0] >> 4 != 6 {
            return Err(PassReason::IpHeader);
        }
        let payload_len = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let udp_len = usize::from(u16::from_be_bytes([head[44], head[45]]));
        if payload_len != udp_len {
            return Err(PassReason::Length);
        }
        let Some(destination) = head[24..].first_chunk::<16>() else {
            return Err(PassReason::NotDns);
        };
        Self {
            shape: Shape::new(Family::Ipv6, link_len != ETHERNET_LEN),
            destination: bytemuck::cast(*destination),
            frame_len: link_len + IPV6_LEN + payload_len,
        }
        .check(udp_len, frame_len)
    }

    #[inline(always)]
    fn check(self, udp_len: usize, frame_len: usize) -> Result<Self, PassReason> {
        if udp_len < UDP_LEN + DNS_HEADER_LEN || self.frame_len > frame_len {
            Err(PassReason::Length)
        } else if self.frame_len > FRAME_MAX {
            Err(PassReason::TooLong)
        } else {
            Ok(self)
        }
    }
}

/// Whether the next header is hop-by-hop options, routing, fragment or
/// destination options (RFC 8200, section 4).
#[inline(always)]
const fn is_extension_header(next: u8) -> bool {
    const EXTENSIONS: u64 = 1 | 1 << 43 | 1 << 44 | 1 << 60;
    next < 64 && EXTENSIONS >> next & 1 != 0
}
