//! The table of regular endpoints, [`super::map::ENDPOINTS`].
//!
//! An endpoint is regular if it has one address, an IPv4 address, and its label is the dashed form
//! of this address (`10-0-0-22`). Label and address then follow from each other, so that such an
//! endpoint needs no name record. Eight bytes say everything: the Service's number and the
//! address.

use bytemuck::{Pod, Zeroable};

use super::hash::{HASH_ENDPOINT, HashKey, KeyedHash, bucket};

/// Entries of a bucket.
pub const ENDPOINT_ENTRIES: usize = 8;

/// A bucket, an element of [`super::map::ENDPOINTS`]: entries in no order whose hashes lead here.
pub type EndpointBucket = [EndpointEntry; ENDPOINT_ENTRIES];

/// A regular endpoint: the Service's number in the upper half, the IPv4 address in the lower half.
/// Zero is an empty entry.
///
/// An entry needs no seal, since it is one word and holds both parts exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct EndpointEntry(pub u64);

impl EndpointEntry {
    /// The entry of a Service's endpoint. `service` is [`super::NameRecord::service`] and not zero.
    /// `address` is the four bytes of the address in network byte order, read as one word of the
    /// machine's byte order.
    #[inline(always)]
    pub const fn new(service: u32, address: u32) -> Self {
        Self((service as u64) << 32 | address as u64)
    }

    /// Whether the entry is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of the Service.
    pub const fn service(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The address, as [`Self::new`] takes it.
    pub const fn address(self) -> u32 {
        self.0 as u32
    }

    /// The two buckets in which the entry can be, of `count` buckets.
    #[inline(always)]
    pub const fn buckets(self, key: &HashKey, count: u32) -> [u32; 2] {
        let hash = KeyedHash::new().word(key, HASH_ENDPOINT, self.0).finish();
        [
            bucket((hash >> 32) as u32, count),
            bucket(hash as u32, count),
        ]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    #[test]
    fn an_entry_is_a_service_and_an_address() {
        let address = u32::from_ne_bytes([10, 0, 0, 22]);
        let entry = EndpointEntry::new(7, address);
        assert_eq!((entry.service(), entry.address()), (7, address));
        assert!(!entry.is_empty());
        assert!(EndpointEntry::default().is_empty());
    }

    /// Addresses of one network differ in a few bits. They fit into buckets that are half full on
    /// average.
    #[test]
    fn neighbours_fit() {
        const BUCKETS: usize = 1000;
        let key = HashKey::from_seed(3);
        let mut used: Vec<usize> = vec![0; BUCKETS];
        for i in 0..(BUCKETS * ENDPOINT_ENTRIES / 2) as u32 {
            let entry = EndpointEntry::new(1 + i % 3, (0x0af4_0000 + i).to_be());
            let [first, second] = entry.buckets(&key, BUCKETS as u32);
            let at = [first, second]
                .into_iter()
                .min_by_key(|at| used[*at as usize]);
            used[at.unwrap_or(first) as usize] += 1;
        }
        let most = used.iter().max().copied().unwrap_or_default();
        assert!(most <= ENDPOINT_ENTRIES, "{most} entries in one bucket");
    }
}
