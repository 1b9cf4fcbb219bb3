//! Which addresses are regular endpoints of which Services.
//!
//! An endpoint is regular where its label is the dashed form of its only address, an
//! IPv4 address (`10-0-0-22`), so that name and address follow from each other. It has
//! no record: 8 bytes, the Service's number and the address, say all of it.

use bytemuck::{Pod, Zeroable};

use super::hash::{HASH_ENDPOINT, HashKey, KeyedHash, bucket};

/// Entries of a bucket.
pub const ENDPOINT_ENTRIES: usize = 8;

/// Entries whose hashes lead to this bucket, in no order: an element of
/// [`super::map::ENDPOINTS`].
pub type EndpointBucket = [EndpointEntry; ENDPOINT_ENTRIES];

/// A Service's number in the upper half, an IPv4 address in the lower one; zero is an
/// empty entry. Exact: an entry that is there is an endpoint, without any further proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct EndpointEntry(pub u64);

impl EndpointEntry {
    /// The entry of an endpoint of a Service. `service` is
    /// [`super::NameRecord::service`] and not zero, `address` the four bytes of the
    /// address as they stand in a packet, read as one word of the machine's own order.
    #[inline(always)]
    pub const fn new(service: u32, address: u32) -> Self {
        Self((service as u64) << 32 | address as u64)
    }

    /// Whether nothing is stored here.
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

    /// The two of `count` buckets in which the entry can be.
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

    /// Addresses of one network, which differ in a few bits, find room in buckets that
    /// are half full on average.
    #[test]
    fn neighbours_find_room() {
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
