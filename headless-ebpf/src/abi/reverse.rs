//! From an address to the Service that it belongs to.
//!
//! A table of hints rather than of proofs: eight bytes for an address, where an
//! element of a hash map would have ninety. What a hint says is believed once the
//! name that follows from it is found to have the address, so that a hint may be
//! missing, outdated or another address's.

use core::net::IpAddr;

use bytemuck::{Pod, Zeroable};

/// Slots of a bucket.
pub const REVERSE_SLOTS: usize = 8;

/// The addresses whose hashes have the same upper half, as far as the buckets tell
/// them apart, in no order. What does not fit is left to userspace.
pub type ReverseBucket = [ReverseSlot; REVERSE_SLOTS];

/// The lower half of an address's hash in the upper half, the number of its Service
/// in the lower one: from 1, since zero is an empty slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct ReverseSlot(pub u64);

impl ReverseSlot {
    /// The slot of an address that belongs to the Service of this number.
    pub const fn new(address: ReverseAddress, service: u32) -> Self {
        Self(address.tag() << 32 | service as u64)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it may be this address's.
    pub const fn is_of(self, address: ReverseAddress) -> bool {
        !self.is_empty() && self.0 >> 32 == address.tag()
    }

    /// Whether both may be of the same address.
    pub const fn is_like(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }

    /// The number of the Service.
    pub const fn service(self) -> u32 {
        self.0 as u32
    }
}

/// An address of 16 bytes in network byte order as two words of the machine's own
/// order; IPv4 mapped into IPv6 (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ReverseAddress {
    /// The first eight bytes.
    pub first: u64,
    /// The last eight bytes.
    pub last: u64,
}

impl ReverseAddress {
    /// What stands before an IPv4 address.
    const MAPPED: u32 = 0xffff_u32.to_be();

    /// From the four bytes of an IPv4 address in network byte order, read as one
    /// word.
    #[inline(always)]
    pub const fn from_ipv4_word(address: u32) -> Self {
        Self {
            first: 0,
            last: Self::MAPPED as u64 | (address as u64) << 32,
        }
    }

    /// The four bytes of an IPv4 address; `None` of an IPv6 address.
    #[inline(always)]
    pub const fn ipv4_word(self) -> Option<u32> {
        if self.first == 0 && self.last as u32 == Self::MAPPED {
            Some((self.last >> 32) as u32)
        } else {
            None
        }
    }

    #[inline(always)]
    const fn hash(self) -> u64 {
        // Multiplied twice by odd numbers with well-spread bits (the 64-bit golden
        // ratio, and the one of SplitMix64).
        let mixed = (self.first ^ self.last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// Which of so many buckets, a power of two of them, holds it.
    #[inline(always)]
    pub const fn bucket(self, buckets: u32) -> u32 {
        (self.hash() >> 32) as u32 & buckets.wrapping_sub(1)
    }

    /// What tells it from the others of its bucket.
    #[inline(always)]
    pub const fn tag(self) -> u64 {
        let hash = self.hash();
        // The bits that do not choose the bucket, and some that do.
        (hash ^ hash >> 17) & 0xffff_ffff
    }
}

impl From<IpAddr> for ReverseAddress {
    fn from(address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        bytemuck::cast(octets)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_ipv4_address_is_mapped() {
        let address = IpAddr::from([10, 0, 0, 22]);
        let word = u32::from_ne_bytes([10, 0, 0, 22]);
        assert_eq!(
            ReverseAddress::from(address),
            ReverseAddress::from_ipv4_word(word)
        );
        assert_eq!(ReverseAddress::from(address).ipv4_word(), Some(word));
        let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(ReverseAddress::from(address).ipv4_word(), None);
    }

    /// Addresses of a network, which differ in a few bits, spread over the buckets.
    #[test]
    fn neighbours_spread() {
        const BUCKETS: usize = 1 << 10;
        let ipv4 = |i: u32| ReverseAddress::from(IpAddr::V4(Ipv4Addr::from(0x0af4_0000 + i)));
        let ipv6 = |i: u32| {
            ReverseAddress::from(IpAddr::V6(Ipv6Addr::from((0xfd << 120) + u128::from(i))))
        };
        for address in [&ipv4 as &dyn Fn(u32) -> ReverseAddress, &ipv6] {
            let mut counts = [0_u32; BUCKETS];
            for i in 0..4 * BUCKETS as u32 {
                counts[address(i).bucket(BUCKETS as u32) as usize] += 1;
            }
            let over = |count: &u32| count.saturating_sub(REVERSE_SLOTS as u32);
            let lost: u32 = counts.iter().map(over).sum();
            // Chance alone would leave out some 0.6 % of them.
            assert!(lost < 60, "{lost} do not fit");
        }
    }
}
