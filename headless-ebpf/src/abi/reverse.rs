//! The table for reverse names, [`super::map::REVERSE`]: from addresses to the Services that
//! have them.
//!
//! The table holds hints of eight bytes for each address; an element of a hash map would take
//! ninety. A hint leads to the name of a Service. The engine answers only after it has found the
//! address in the record of this Service or of one of its endpoints. So a hint may be missing,
//! outdated, or belong to another address with the same hash.

use bytemuck::{Pod, Zeroable};

use super::{
    address::Address,
    hash::{HASH_REVERSE, HashKey, KeyedHash, bucket},
};

/// Slots of a bucket.
pub const REVERSE_SLOTS: usize = 8;

/// A bucket, an element of [`super::map::REVERSE`]: slots in no order, of addresses whose hashes
/// lead here. Userspace answers for addresses that find no free slot.
pub type ReverseBucket = [ReverseSlot; REVERSE_SLOTS];

/// A hint: the tag of an address in the upper half, the index of its Service's name chunk in the
/// lower half. Zero is an empty slot, since no name chunk has index 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct ReverseSlot(pub u64);

impl ReverseSlot {
    /// The slot of the address at `place` whose Service has the name chunk
    /// ([`super::ChunkKind::Name`]) at index `chunk` of [`super::map::CHUNKS`].
    pub const fn new(place: ReversePlace, chunk: u32) -> Self {
        Self((place.tag as u64) << 32 | chunk as u64)
    }

    /// Whether the slot is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the slot has the tag of `place`.
    #[inline(always)]
    pub const fn is_of(self, place: ReversePlace) -> bool {
        !self.is_empty() && self.0 >> 32 == place.tag as u64
    }

    /// Index of the Service's name chunk.
    #[inline(always)]
    pub const fn chunk(self) -> u32 {
        self.0 as u32
    }
}

/// The place of an address in the table: the bucket of its slot, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReversePlace {
    /// Number of the bucket.
    pub bucket: u32,
    /// Half of the address's hash, which tells it from other addresses in the bucket.
    pub tag: u32,
}

impl ReversePlace {
    /// The place of an address in a table of `buckets` buckets.
    #[inline(always)]
    pub const fn of(key: &HashKey, address: Address, buckets: u32) -> Self {
        let hash = KeyedHash::new()
            .word(key, HASH_REVERSE, address.first)
            .word(key, HASH_REVERSE + 1, address.last)
            .finish();
        Self {
            bucket: bucket((hash >> 32) as u32, buckets),
            tag: hash as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    /// Addresses of one network differ in a few bits. They spread over all buckets.
    #[test]
    fn neighbours_spread() {
        const BUCKETS: usize = 1000;
        let key = HashKey::from_seed(5);
        let ipv4 = |i: u32| Address::from(IpAddr::V4(Ipv4Addr::from(0x0af4_0000 + i)));
        let ipv6 =
            |i: u32| Address::from(IpAddr::V6(Ipv6Addr::from((0xfd << 120) + u128::from(i))));
        for address in [&ipv4 as &dyn Fn(u32) -> Address, &ipv6] {
            let mut counts = [0_u32; BUCKETS];
            for i in 0..4 * BUCKETS as u32 {
                let place = ReversePlace::of(&key, address(i), BUCKETS as u32);
                counts[place.bucket as usize] += 1;
            }
            let over = |count: &u32| count.saturating_sub(REVERSE_SLOTS as u32);
            let lost: u32 = counts.iter().map(over).sum();
            // With random numbers, some 0.6 % of 4,000 addresses would find no slot.
            assert!(lost < 60, "{lost} do not fit");
        }
    }

    #[test]
    fn a_slot_leads_to_a_name() {
        let place = ReversePlace { bucket: 3, tag: 0 };
        let slot = ReverseSlot::new(place, 9);
        assert!(slot.is_of(place));
        assert_eq!(slot.chunk(), 9);
        assert!(!slot.is_of(ReversePlace { tag: 1, ..place }));
        assert!(
            !ReverseSlot::default().is_of(place),
            "an empty slot has no address"
        );
    }
}
