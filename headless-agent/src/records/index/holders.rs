//! The Services of each address, in eight bytes for each pair of both.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::iter::repeat_n;
use std::net::IpAddr;

use hashbrown::HashTable;

/// Most entries of the table with the same half of a hash. A table with many equal entries
/// needs a longer walk for each further one, and a tenant may put one address into any number
/// of Services.
const EQUAL_MAX: usize = 8;

/// The Services of each address. The Services themselves hold the addresses, so an entry has
/// half of the address's hash, and whoever reads it asks the Service.
#[derive(Debug, Default)]
pub(super) struct Holders {
    table: HashTable<Entry>,
    /// The Services of each half of a hash that more than [`EQUAL_MAX`] entries have, with the
    /// number of entries of each Service.
    crowded: HashMap<u32, BTreeMap<u32, u32>>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hash: u32,
    service: u32,
}

/// Extends the half of a hash to the whole hash that [`HashTable`] needs.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Holders {
    fn hash(&self, address: IpAddr) -> u32 {
        self.hasher.hash_one(address) as u32
    }

    /// Adds an address of a Service, which must not be there yet.
    pub(super) fn insert(&mut self, address: IpAddr, service: u32) {
        let hash = self.hash(address);
        if !self.crowded.contains_key(&hash) {
            let equal = self.table.iter_hash(spread(hash));
            if equal.filter(|entry| entry.hash == hash).count() < EQUAL_MAX {
                return self.put(Entry { hash, service });
            }
            let mut services = BTreeMap::new();
            while let Ok(found) = self
                .table
                .find_entry(spread(hash), |entry| entry.hash == hash)
            {
                *services.entry(found.remove().0.service).or_default() += 1;
            }
            self.crowded.insert(hash, services);
        }
        let services = self.crowded.entry(hash).or_default();
        *services.entry(service).or_default() += 1;
    }

    fn put(&mut self, entry: Entry) {
        self.table
            .insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
    }

    /// Removes an address of a Service.
    pub(super) fn remove(&mut self, address: IpAddr, service: u32) {
        let hash = self.hash(address);
        let Some(services) = self.crowded.get_mut(&hash) else {
            let entry = Entry { hash, service };
            if let Ok(found) = self.table.find_entry(spread(hash), |at| *at == entry) {
                found.remove();
            }
            return;
        };
        if let Some(count) = services.get_mut(&service) {
            *count -= 1;
            if *count == 0 {
                services.remove(&service);
            }
        }
        // Half of the bound, so that a Service that comes and goes does not move them each time.
        if services.values().sum::<u32>() as usize > EQUAL_MAX / 2 {
            return;
        }
        for (service, count) in self.crowded.remove(&hash).unwrap_or_default() {
            repeat_n(Entry { hash, service }, count as usize).for_each(|entry| self.put(entry));
        }
    }

    /// The Services that may have this address: each that has it, and seldom one that has
    /// another address with the same half of a hash.
    pub(super) fn of(&self, address: IpAddr) -> impl Iterator<Item = u32> {
        let hash = self.hash(address);
        let entries = self.table.iter_hash(spread(hash));
        let entries = entries.filter(move |entry| entry.hash == hash);
        let crowded = self.crowded.get(&hash).into_iter();
        let crowded = crowded.flat_map(|services| services.keys().copied());
        entries.map(|entry| entry.service).chain(crowded)
    }

    /// Whether no Service has any address.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.crowded.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn any_number_of_services_may_have_an_address() {
        let mut holders = Holders::default();
        let mut expected = BTreeSet::new();
        let address = |n: u32| IpAddr::from([10, 0, 0, n as u8]);
        for _ in 0..20_000 {
            let pair = (fastrand::u32(..3), fastrand::u32(..20));
            // Three of four are inserted at first, three of four removed at last.
            let inserts = fastrand::usize(..400) > expected.len();
            if inserts && expected.insert(pair) {
                holders.insert(address(pair.0), pair.1);
            } else if !inserts && expected.remove(&pair) {
                holders.remove(address(pair.0), pair.1);
            }
            if fastrand::u8(..50) == 0 {
                expected.retain(|pair| {
                    let stays = fastrand::u8(..4) == 0;
                    if !stays {
                        holders.remove(address(pair.0), pair.1);
                    }
                    stays
                });
            }
            let found: BTreeSet<_> = holders.of(address(pair.0)).collect();
            let of_it = expected.iter().filter(|(n, _)| *n == pair.0);
            assert_eq!(found, of_it.map(|(_, service)| *service).collect());
            assert!(holders.table.len() <= 3 * EQUAL_MAX);
        }
        for (n, service) in expected {
            holders.remove(address(n), service);
        }
        assert!(holders.is_empty());
    }
}
