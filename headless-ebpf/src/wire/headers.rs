//! Ethernet, IP and UDP: from bytes to offsets, and back into a reply.

use super::{DNS_HEADER_LEN, FRAME_MAX, Image, Room, checksum};
use crate::abi::{PassReason, ServerAddress};
use crate::opaque;

/// Bytes before the DNS message over IPv4: Ethernet (14), IPv4 without options
/// (20, RFC 791, section 3.1) and UDP (8, RFC 768). In tagged frames
/// [`TAG_LEN`] more.
pub const IPV4_HEADERS_LEN: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// The same over IPv6 (40, RFC 8200, section 3).
pub const IPV6_HEADERS_LEN: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// Bytes of a VLAN tag (IEEE 802.1Q), which stands before the Ethernet type.
pub const TAG_LEN: usize = 4;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;

const PROTOCOL_UDP: u8 = 17;
const DNS_PORT: [u8; 2] = 53_u16.to_be_bytes();
const ETHERTYPE_IPV4: [u8; 2] = 0x0800_u16.to_be_bytes();
const ETHERTYPE_IPV6: [u8; 2] = 0x86dd_u16.to_be_bytes();
const ETHERTYPE_VLAN: [u8; 2] = 0x8100_u16.to_be_bytes();
/// Version 4, five words of header.
const VERSION_IHL: u8 = 0x45;
/// More-fragments and the fragment offset; the don't-fragment bit may be set.
const FRAGMENT: u16 = 0x3fff;
/// The same bit as it stands in the word of identification and fragment.
const DONT_FRAGMENT: u64 = u32::from_le_bytes([0, 0, 0x40, 0]) as u64;
/// Hop limit, or time to live, of replies.
const HOPS: u8 = 64;

/// The IP version of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// Which headers a frame has: a bit for IPv6 and one for a VLAN tag.
///
/// What follows from it is calculated, without branches, which would be four ways
/// through the loops that copy frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(usize);

impl Shape {
    /// `tagged`: with a VLAN tag.
    #[inline(always)]
    pub const fn new(version: IpVersion, tagged: bool) -> Self {
        Self(version as usize | (tagged as usize) << 1)
    }

    /// The IP version.
    #[inline(always)]
    pub const fn version(self) -> IpVersion {
        if self.0 & 1 == 0 {
            IpVersion::V4
        } else {
            IpVersion::V6
        }
    }

    /// Bytes before the DNS message.
    #[inline(always)]
    pub const fn headers_len(self) -> usize {
        IPV4_HEADERS_LEN + (self.0 & 1) * (IPV6_LEN - IPV4_LEN) + (self.0 >> 1 & 1) * TAG_LEN
    }

    /// Where the frame starts in an image.
    ///
    /// The compiler must not know how it came about: it would take the headers from
    /// the address of the message, a pointer that the verifier then knows nothing
    /// about.
    #[inline(always)]
    pub fn at(self) -> usize {
        opaque::number(MESSAGE - self.headers_len())
    }

    /// As a number.
    #[inline(always)]
    pub const fn bits(self) -> usize {
        self.0
    }

    /// From [`Self::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: usize) -> Self {
        Self(bits)
    }
}

/// Where things are in a frame that may be a query to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Which headers it has.
    pub shape: Shape,
    /// The address that was asked.
    pub server: ServerAddress,
    /// Bytes from the Ethernet header to the end of the UDP payload, that is
    /// without the frame's padding.
    pub frame_len: usize,
}

/// Offset of the DNS message in an image, whichever headers the frame has: it is
/// loaded so that the message, which is most of the work, has a constant place.
pub const MESSAGE: usize = HEADERS_MAX;

/// Bytes of the longest headers.
pub const HEADERS_MAX: usize = IPV6_HEADERS_LEN + TAG_LEN;

impl IpVersion {
    /// Bytes before the DNS message in a frame without a tag.
    #[inline(always)]
    pub const fn headers_len(self) -> usize {
        match self {
            Self::V4 => IPV4_HEADERS_LEN,
            Self::V6 => IPV6_HEADERS_LEN,
        }
    }
}

/// What the last two bytes of an Ethernet header say is inside.
#[inline(always)]
pub fn ip_version(ethertype: [u8; 2]) -> Option<IpVersion> {
    match ethertype {
        ETHERTYPE_IPV4 => Some(IpVersion::V4),
        ETHERTYPE_IPV6 => Some(IpVersion::V6),
        _ => None,
    }
}

/// Whether they say that a VLAN tag follows.
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
            shape: Shape::new(IpVersion::V4, link_len != ETHERNET_LEN),
            server: ServerAddress::from_ipv4_word(destination),
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
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Self {
            shape: Shape::new(IpVersion::V6, link_len != ETHERNET_LEN),
            server: ServerAddress([word(24), word(28), word(32), word(36)]),
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

/// Where the IPv4 header starts in an image.
const IPV4_AT: usize = MESSAGE - UDP_LEN - IPV4_LEN;

/// Where the IPv6 header starts in an image.
const IPV6_AT: usize = MESSAGE - UDP_LEN - IPV6_LEN;

/// Turns the IPv4 headers in `image` into those of a reply with a DNS message of
/// `message_len` bytes.
///
/// The UDP checksum is left out (zero, RFC 768): XDP cannot tell a complete
/// checksum from one that the sender's device was to complete. Don't fragment,
/// and identification zero, which RFC 6864, section 4.1, allows to what is never
/// fragmented.
#[inline(always)]
pub fn reply_ipv4(image: &mut Image, shape: Shape, message_len: usize) {
    swap_ethernet(image, shape.at());
    let ip = IPV4_AT;
    let udp_len = UDP_LEN + message_len;
    let (source, destination) = (image.u32_at(ip + 12), image.u32_at(ip + 16));
    let len = ((IPV4_LEN + udp_len) as u16).swap_bytes();
    let first = u64::from(VERSION_IHL) | u64::from(len) << 16 | DONT_FRAGMENT << 32;
    let third = u32::from_le_bytes([HOPS, PROTOCOL_UDP, 0, 0]);
    // From the values themselves: reading what was just written by smaller parts waits
    // until it is in the cache.
    let sum = (first & 0xffff_ffff) + (first >> 32) + u64::from(third);
    let sum = checksum::fold(sum + u64::from(source) + u64::from(destination));
    image.put_u64(ip, first);
    image.put_u32(ip + 8, third | u32::from(!sum) << 16);
    image.put_u32(ip + 12, destination);
    image.put_u32(ip + 16, source);
    put_udp(image, udp_len);
}

/// The same for IPv6, where UDP has its checksum always (RFC 8200, section 8.1).
#[inline(always)]
pub fn reply_ipv6<R: Room>(image: &mut Image, shape: Shape, message_len: usize) {
    swap_ethernet(image, shape.at());
    let ip = IPV6_AT;
    let udp_len = UDP_LEN + message_len;
    let (source, destination) = (image.u128_at(ip + 8), image.u128_at(ip + 24));
    image.put_be32(ip, 0x6000_0000);
    image.put_be16(ip + 4, udp_len as u16);
    image.put_u8(ip + 6, PROTOCOL_UDP);
    image.put_u8(ip + 7, HOPS);
    image.put_u128(ip + 8, destination);
    image.put_u128(ip + 24, source);
    put_udp(image, udp_len);
    // Addresses and UDP as they stand, then the rest of the pseudo-header
    // (section 8.1): length and protocol.
    let pseudo = u64::from((udp_len as u16).to_be()) + u64::from(u16::from(PROTOCOL_UDP).to_be());
    let sum = checksum::sum::<R>(image, ip + 8, MESSAGE + message_len) + pseudo;
    // A sum of zero is sent as all ones: zero means that there is none.
    let checksum = match !checksum::fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    image.put_u16(MESSAGE - UDP_LEN + 6, checksum);
}

/// The checksum field that the reply in `image`, a frame of `len` bytes, has where its checksum is left to a device: the sum of the pseudo-header
/// (`CHECKSUM_PARTIAL` of Linux, include/linux/skbuff.h), as it stands in the
/// packet.
#[inline(always)]
pub fn partial_checksum(image: &Image, shape: Shape, len: usize) -> u16 {
    let addresses = match shape.version() {
        IpVersion::V4 => 8,
        IpVersion::V6 => 32,
    };
    let udp_len = len - (shape.headers_len() - UDP_LEN);
    let mut sum = u64::from((udp_len as u16).to_be()) + u64::from(u16::from(PROTOCOL_UDP).to_be());
    for i in 0..addresses / 4 {
        sum += u64::from(image.u32_at(MESSAGE - UDP_LEN - addresses + i * 4));
    }
    checksum::fold(sum)
}

/// The addresses alone: a tag and the type stay as they came.
#[inline(always)]
fn swap_ethernet(image: &mut Image, at: usize) {
    let (destination4, destination2) = (image.u32_at(at), image.u16_at(at + 4));
    let (source4, source2) = (image.u32_at(at + 6), image.u16_at(at + 10));
    image.put_u32(at, source4);
    image.put_u16(at + 4, source2);
    image.put_u32(at + 6, destination4);
    image.put_u16(at + 10, destination2);
}

/// Ports swapped, the length, no checksum.
#[inline(always)]
fn put_udp(image: &mut Image, udp_len: usize) {
    let udp = MESSAGE - UDP_LEN;
    let (source_port, destination_port) = (image.u16_at(udp), image.u16_at(udp + 2));
    image.put_u16(udp, destination_port);
    image.put_u16(udp + 2, source_port);
    image.put_be32(udp + 4, (udp_len as u32) << 16);
}
