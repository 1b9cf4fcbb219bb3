//! Records of interfaces: facts that the tc program needs and no helper tells.

use bytemuck::{Pod, Zeroable};

use super::{address::Family, digest::describe};

/// Capacity of [`super::map::INTERFACES`].
pub const INTERFACES_MAX: u32 = 4096;

/// Most bytes of a reply: the most that clients usually take (RFC 6891, section 6.2.5).
pub const MESSAGE_MAX: usize = 4096;

/// Bytes of the IPv4 header without options (RFC 791, section 3.1) and the UDP header (RFC 768).
const IPV4_UDP_LEN: u32 = 20 + 8;

/// Bytes of the IPv6 header (RFC 8200, section 3) and the UDP header (RFC 768).
const IPV6_UDP_LEN: u32 = 40 + 8;

/// The record of an interface with the tc program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct InterfaceRecord {
    /// Most bytes of a DNS message over IPv4. The agent calculates this number, since a branch in
    /// the program would double the verifier's work for everything behind it.
    ipv4: u16,
    /// Most bytes of a DNS message over IPv6.
    ipv6: u16,
    /// Bits: [`Self::PEER`], [`Self::OBSERVED`].
    flags: u32,
}

const _: () = assert!(size_of::<InterfaceRecord>() == 8);

describe!(InterfaceRecord {
    ipv4: u16,
    ipv6: u16,
    flags: u32,
});

impl InterfaceRecord {
    /// Bit: the interface is one end of a veth pair whose other end is in another network
    /// namespace.
    const PEER: u32 = 1;

    /// Bit: the program counts the packets that it would answer, and passes them.
    const OBSERVED: u32 = 2;

    /// The record of an interface whose packets have at most `mtu` bytes from the IP header on.
    /// `peer` says whether the interface is one end of a veth pair whose other end is in another
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

    /// The same record, of an interface whose packets are counted and never answered.
    #[must_use]
    pub const fn observed(self) -> Self {
        Self {
            flags: self.flags | Self::OBSERVED,
            ..self
        }
    }

    /// Most bytes of a DNS message in one packet, at most [`MESSAGE_MAX`].
    #[inline(always)]
    pub const fn message_capacity(self, family: Family) -> usize {
        match family {
            Family::Ipv4 => self.ipv4 as usize,
            Family::Ipv6 => self.ipv6 as usize,
        }
    }

    /// Whether `bpf_redirect_peer` delivers packets to the other end.
    #[inline(always)]
    pub const fn has_peer(self) -> bool {
        self.flags & Self::PEER != 0
    }

    /// Whether the program passes the packets that it would answer.
    #[inline(always)]
    pub const fn is_observed(self) -> bool {
        self.flags & Self::OBSERVED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gets_the_bytes_behind_the_headers() {
        let capacities = |mtu| {
            let interface = InterfaceRecord::new(mtu, false);
            [Family::Ipv4, Family::Ipv6].map(|family| interface.message_capacity(family))
        };
        assert_eq!(capacities(1500), [1472, 1452]);
        assert_eq!(capacities(9000), [4096, 4096]);
        assert_eq!(capacities(30), [2, 0]);
    }

    #[test]
    fn observation_changes_nothing_else() {
        for peer in [false, true] {
            let answered = InterfaceRecord::new(1500, peer);
            let observed = answered.observed();
            assert!(!answered.is_observed() && observed.is_observed());
            assert_eq!(observed.has_peer(), peer);
            let capacity = |record: InterfaceRecord| record.message_capacity(Family::Ipv4);
            assert_eq!(capacity(observed), capacity(answered));
        }
    }
}
