//! What the tc program must know of an interface and cannot ask.

use bytemuck::{Pod, Zeroable};

use super::{address::Family, digest::describe};

/// Most interfaces in [`super::map::INTERFACES`].
pub const INTERFACES_MAX: u32 = 4096;

/// Most bytes of a DNS message that a program makes: the most that clients usually
/// take (RFC 6891, section 6.2.5).
pub const MESSAGE_MAX: usize = 4096;

/// Bytes of IPv4 (without options, RFC 791, section 3.1) and UDP (RFC 768) before a
/// message.
const IPV4_UDP_LEN: u32 = 20 + 8;

/// Bytes of IPv6 (RFC 8200, section 3) and UDP before a message.
const IPV6_UDP_LEN: u32 = 40 + 8;

/// An interface with the tc program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct InterfaceRecord {
    /// Most bytes of a DNS message over IPv4. Calculated by the agent, since what the
    /// program calculates by a branch doubles the verifier's work behind it.
    ipv4: u16,
    /// Most bytes of a DNS message over IPv6.
    ipv6: u16,
    /// Bits: [`Self::PEER`].
    flags: u32,
}

const _: () = assert!(size_of::<InterfaceRecord>() == 8);

describe!(InterfaceRecord {
    ipv4: u16,
    ipv6: u16,
    flags: u32,
});

impl InterfaceRecord {
    /// One end of a veth pair whose other end is in another network namespace.
    const PEER: u32 = 1;

    /// An interface whose packets have at most `mtu` bytes from the IP header on.
    /// `peer`: whether it is one end of a veth pair whose other end is in another
    /// network namespace.
    pub const fn new(mtu: u32, peer: bool) -> Self {
        const fn capacity(mtu: u32, headers: u32) -> u16 {
            let left = mtu.saturating_sub(headers);
            if left < MESSAGE_MAX as u32 {
                left as u16
            } else {
                MESSAGE_MAX as u16
            }
        }
        Self {
            ipv4: capacity(mtu, IPV4_UDP_LEN),
            ipv6: capacity(mtu, IPV6_UDP_LEN),
            flags: if peer { Self::PEER } else { 0 },
        }
    }

    /// Most bytes of a DNS message that one packet carries, at most [`MESSAGE_MAX`].
    #[inline(always)]
    pub const fn message_capacity(self, family: Family) -> usize {
        match family {
            Family::Ipv4 => self.ipv4 as usize,
            Family::Ipv6 => self.ipv6 as usize,
        }
    }

    /// Whether `bpf_redirect_peer` gets packets to the other end.
    #[inline(always)]
    pub const fn has_peer(self) -> bool {
        self.flags & Self::PEER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_what_the_headers_leave() {
        let capacities = |mtu| {
            let interface = InterfaceRecord::new(mtu, false);
            [Family::Ipv4, Family::Ipv6].map(|family| interface.message_capacity(family))
        };
        assert_eq!(capacities(1500), [1472, 1452]);
        assert_eq!(capacities(9000), [4096, 4096]);
        assert_eq!(capacities(30), [2, 0]);
    }
}
