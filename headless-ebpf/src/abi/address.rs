//! IP addresses, as keys and values of maps and as bytes of packets.

use core::net::IpAddr;

use bytemuck::{Pod, Zeroable};

use super::digest::describe;

/// The family of an address, or the IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Family {
    /// IPv4: an address has 4 bytes.
    Ipv4 = 0,
    /// IPv6: an address has 16 bytes.
    Ipv6 = 1,
}

/// An IP address: 16 bytes in network byte order, read as two words of the machine's byte
/// order. An IPv4 address is mapped into IPv6 (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Address {
    /// The first eight bytes.
    pub first: u64,
    /// The last eight bytes.
    pub last: u64,
}

describe!(Address {
    first: u64,
    last: u64,
});

impl Address {
    /// The four bytes before the IPv4 address in a mapped address.
    const MAPPED: u32 = 0xffff_u32.to_be();

    /// The address of the four bytes of an IPv4 address in network byte order, read as one word
    /// of the machine's byte order.
    #[inline(always)]
    pub const fn from_ipv4_word(address: u32) -> Self {
        Self {
            first: 0,
            last: Self::MAPPED as u64 | (address as u64) << 32,
        }
    }

    /// The four bytes of an IPv4 address, as [`Self::from_ipv4_word`] takes them. `None` for an
    /// IPv6 address.
    #[inline(always)]
    pub const fn ipv4_word(self) -> Option<u32> {
        if self.first == 0 && self.last as u32 == Self::MAPPED {
            Some((self.last >> 32) as u32)
        } else {
            None
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        bytemuck::cast(octets)
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let octets: [u8; 16] = bytemuck::cast(address);
        Self::from(octets).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::*;

    #[test]
    fn an_ipv4_address_is_mapped() {
        let address = IpAddr::from([10, 0, 0, 22]);
        let word = u32::from_ne_bytes([10, 0, 0, 22]);
        assert_eq!(Address::from(address), Address::from_ipv4_word(word));
        assert_eq!(Address::from(address).ipv4_word(), Some(word));
        assert_eq!(IpAddr::from(Address::from(address)), address);
        let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(Address::from(address).ipv4_word(), None);
        assert_eq!(IpAddr::from(Address::from(address)), address);
    }
}
