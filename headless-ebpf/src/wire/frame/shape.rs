//! Which headers a frame has, and where its parts stand in an image.

use crate::{abi::Family, verifier, wire::capacity::Capacity};

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// Bytes of a VLAN tag (IEEE 802.1Q), which stands before the Ethernet type.
pub const TAG_LEN: usize = 4;

/// Bytes of an IPv4 header without options (RFC 791, section 3.1).
pub(super) const IPV4_LEN: usize = 20;

/// Bytes of an IPv6 header (RFC 8200, section 3).
pub(super) const IPV6_LEN: usize = 40;

/// Bytes of a UDP header (RFC 768).
pub(super) const UDP_LEN: usize = 8;

/// Bytes before the DNS message over IPv4 in a frame without a tag.
pub const IPV4_HEADERS_LEN: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;

/// Bytes before the DNS message over IPv6 in a frame without a tag.
pub const IPV6_HEADERS_LEN: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// Bytes of the longest headers.
pub const HEADERS_MAX: usize = IPV6_HEADERS_LEN + TAG_LEN;

/// Offset of the DNS message in an image, whichever headers the frame has: a frame is
/// loaded so that the message, on which most of the work is done, has a constant place.
pub const MESSAGE: usize = HEADERS_MAX;

/// Most bytes of a frame that the engine reads: a query without EDNS options has
/// at most 282 bytes behind its headers.
pub const FRAME_MAX: usize = 580;

/// Most bytes of a frame that the engine writes.
pub const fn frame_max<C: Capacity>() -> usize {
    HEADERS_MAX + C::MESSAGE_MAX
}

/// Which headers a frame has: a bit for IPv6 and one for a VLAN tag.
///
/// Lengths and places are calculated from the bits, without branches, which would be four
/// ways through the loops that copy frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(usize);

impl Shape {
    /// `tagged`: with a VLAN tag.
    #[inline(always)]
    pub const fn new(family: Family, tagged: bool) -> Self {
        Self(family as usize | (tagged as usize) << 1)
    }

    /// The IP version.
    #[inline(always)]
    pub const fn family(self) -> Family {
        if self.0 & 1 == 0 {
            Family::Ipv4
        } else {
            Family::Ipv6
        }
    }

    /// Bytes before the DNS message.
    #[inline(always)]
    pub const fn headers_len(self) -> usize {
        IPV4_HEADERS_LEN + (self.0 & 1) * (IPV6_LEN - IPV4_LEN) + (self.0 >> 1 & 1) * TAG_LEN
    }

    /// Where the frame starts in an image.
    ///
    /// The compiler must not know how the number came about: it would subtract the headers
    /// from the address of the message, and the verifier would know nothing about such a
    /// pointer.
    #[inline(always)]
    pub fn at(self) -> usize {
        verifier::opaque(MESSAGE - self.headers_len())
    }

    /// The bits.
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
