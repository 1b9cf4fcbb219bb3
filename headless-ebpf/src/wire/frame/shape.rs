//! The shape of a frame: which headers it has, and where its parts are in an image.

use crate::{abi::Family, verifier, wire::capacity::Capacity};

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// Bytes of a VLAN tag (IEEE 802.1Q). The tag comes before the Ethernet type.
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

/// Offset of the DNS message in an image, the same for all shapes. A frame is loaded so that its
/// message is here, because most work is done on the message, and a constant offset is cheap.
pub const MESSAGE: usize = HEADERS_MAX;

/// Most bytes of a frame that the engine reads. A query with the most EDNS options has at most
/// 346 bytes behind its headers.
pub const FRAME_MAX: usize = 580;

/// Most bytes of a frame that the engine writes.
pub const fn frame_max<C: Capacity>() -> usize {
    HEADERS_MAX + C::MESSAGE_MAX
}

/// The shape of a frame: IPv4 or IPv6, with or without a VLAN tag.
///
/// The number is the offset of the frame's first byte in an image, where the message is at
/// [`MESSAGE`]. It is another one for each of the four shapes. Lengths are calculated from it
/// without branches, which would give four control-flow paths through the loops that copy
/// frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(usize);

impl Shape {
    /// The shape of a frame of this IP version. `tagged` says whether it has a VLAN tag.
    #[inline(always)]
    pub const fn new(family: Family, tagged: bool) -> Self {
        let headers_len = match family {
            Family::Ipv4 => IPV4_HEADERS_LEN,
            Family::Ipv6 => IPV6_HEADERS_LEN,
        };
        Self(MESSAGE - headers_len - tagged as usize * TAG_LEN)
    }

    /// The IP version.
    #[inline(always)]
    pub fn family(self) -> Family {
        // `opaque` hides the comparison from the compiler, which would conclude that later
        // accesses need no mask. It would then compare one copy of the number and use another
        // copy as the offset, and the verifier does not know that both are the same.
        if verifier::opaque(self.0) < MESSAGE - IPV4_HEADERS_LEN - TAG_LEN {
            Family::Ipv6
        } else {
            Family::Ipv4
        }
    }

    /// Bytes before the DNS message.
    #[inline(always)]
    pub const fn headers_len(self) -> usize {
        MESSAGE.wrapping_sub(self.0)
    }

    /// Offset of the frame in an image.
    #[inline(always)]
    pub const fn at(self) -> usize {
        self.0
    }

    /// The shape of frames with this [`Self::at`].
    #[inline(always)]
    pub const fn from_at(at: usize) -> Self {
        Self(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_says_which_headers_there_are() {
        for (family, len) in [(Family::Ipv4, 42), (Family::Ipv6, 62)] {
            for tagged in [false, true] {
                let shape = Shape::from_at(Shape::new(family, tagged).at());
                assert_eq!(shape.family(), family);
                assert_eq!(shape.headers_len(), len + 4 * usize::from(tagged));
            }
        }
    }
}
