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
const DNS_PORT: [u8; 2] = 53_u16.to_be_bytes();
const ETHERTYPE_IPV4: [u8; 2] = 0x0800_u16.to_be_bytes();
const ETHERTYPE_IPV6: [u8; 2] = 0x86dd_u16.to_be_bytes();
const ETHERTYPE_VLAN: [u8; 2] = 0x8100_u16.to_be_bytes();
/// First byte of an IPv4 header: version 4, five words of header, so no options.
pub(super) const VERSION_IHL: u8 = 0x45;
/// The more-fragments bit and the fragment offset. The don't-fragment bit does not count.
const FRAGMENT: u16 = 0x3fff;

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
    /// [`PassReason::NotDns`] for other traffic, [`PassReason::IpHeader`] for fragments, options
    /// and wrong checksums, [`PassReason::Length`] for lengths that contradict each other,
    /// [`PassReason::TooLong`] for more than [`FRAME_MAX`] bytes.
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
        // The sum over a header with a right checksum is all ones (RFC 791, section 3.1).
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

    /// Reads the headers of an IPv6 frame, as [`Self::parse_ipv4`] does for IPv4. Packets with
    /// extension headers pass with [`PassReason::IpHeader`].
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

    /// Checks the lengths.
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

/// Whether the number of a next header stands for hop-by-hop options, routing, a fragment or
/// destination options (RFC 8200, section 4).
#[inline(always)]
const fn is_extension_header(next: u8) -> bool {
    const EXTENSIONS: u64 = 1 | 1 << 43 | 1 << 44 | 1 << 60;
    next < 64 && EXTENSIONS >> next & 1 != 0
}
