//! Entries of regular endpoints in `ENDPOINTS`, see [`headless_ebpf::abi::EndpointEntry`].

use headless_ebpf::abi::{ENDPOINT_ENTRIES, EndpointEntry, HashKey};

use super::{Placed, emptier};
use crate::maps::store::Arrays;

/// Number of an entry's place among all places of all buckets.
fn number(bucket: u32, at: usize) -> usize {
    bucket as usize * ENDPOINT_ENTRIES + at
}

/// Looks up an entry. Returns the number of its place.
pub(in crate::maps) fn find(
    arrays: &Arrays,
    hash_key: &HashKey,
    entry: EndpointEntry,
) -> Option<usize> {
    let buckets = entry.buckets(hash_key, arrays.endpoint_buckets());
    buckets.into_iter().find_map(|bucket| {
        let mut entries = arrays.endpoints(bucket).into_iter();
        let at = entries.position(|found| found == entry)?;
        Some(number(bucket, at))
    })
}

/// Stores an entry in the emptier one of its two buckets.
pub(in crate::maps) fn put(arrays: &Arrays, hash_key: &HashKey, entry: EndpointEntry) -> Placed {
    let buckets = entry
        .buckets(hash_key, arrays.endpoint_buckets())
        .map(|bucket| (bucket, arrays.endpoints(bucket)));
    for (bucket, entries) in &buckets {
        if let Some(at) = entries.iter().position(|found| *found == entry) {
            return Placed::Replaced(number(*bucket, at));
        }
    }
    let free = emptier(&buckets, |entry| entry.is_empty());
    let Some((bucket, at)) = free.filter(|_| arrays.endpoint_buckets() > 0) else {
        return Placed::NoRoom;
    };
    arrays.put_endpoint(bucket, at, entry);
    Placed::New(number(bucket, at))
}

/// Clears the place with this number.
pub(in crate::maps) fn delete(arrays: &Arrays, number: usize) {
    let (bucket, at) = (number / ENDPOINT_ENTRIES, number % ENDPOINT_ENTRIES);
    arrays.put_endpoint(bucket as u32, at, EndpointEntry::default());
}

/// The entries of a bucket, with the numbers of their places.
pub(in crate::maps) fn entries(
    arrays: &Arrays,
    bucket: u32,
) -> impl Iterator<Item = (usize, EndpointEntry)> {
    let entries = arrays.endpoints(bucket).into_iter().enumerate();
    let entries = entries.filter(|(_, entry)| !entry.is_empty());
    entries.map(move |(at, entry)| (number(bucket, at), entry))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;

    use super::*;
    use crate::maps::capacity::Capacities;

    fn arrays(endpoint_buckets: u32) -> Arrays {
        Arrays::zeroed(&Capacities {
            endpoint_buckets,
            ..Capacities::default()
        })
    }

    fn all(arrays: &Arrays) -> Vec<EndpointEntry> {
        let buckets = 0..arrays.endpoint_buckets();
        let entries = buckets.flat_map(|bucket| entries(arrays, bucket));
        entries.map(|(_, entry)| entry).collect()
    }

    #[test]
    fn stored_entries_are_found_until_they_are_deleted() {
        let (arrays, key) = (arrays(5), HashKey::from_seed(1));
        let mut expected = BTreeSet::new();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut refused = 0;
        for _ in 0..20_000 {
            let entry = EndpointEntry::new(rng.u32(1..4), rng.u32(..12));
            if rng.bool() {
                let found = find(&arrays, &key, entry);
                assert_eq!(found.is_some(), expected.remove(&entry));
                if let Some(found) = found {
                    delete(&arrays, found);
                }
            } else {
                match put(&arrays, &key, entry) {
                    Placed::New(_) => assert!(expected.insert(entry)),
                    Placed::Replaced(_) => assert!(expected.contains(&entry)),
                    Placed::NoRoom => refused += 1,
                }
            }
            let mut found = all(&arrays);
            found.sort_unstable();
            assert_eq!(found, expected.iter().copied().collect::<Vec<_>>());
        }
        assert!(refused < 200, "{refused} of 40 entries");
    }

    #[test]
    fn without_buckets_there_is_no_room() {
        let (arrays, key) = (arrays(0), HashKey::from_seed(1));
        assert_eq!(put(&arrays, &key, EndpointEntry::new(1, 2)), Placed::NoRoom);
        assert_eq!(find(&arrays, &key, EndpointEntry::new(1, 2)), None);
    }

    #[test]
    fn a_full_bucket_takes_no_more() {
        let (arrays, key) = (arrays(1), HashKey::from_seed(1));
        for address in 0..8 {
            let entry = EndpointEntry::new(1, address);
            assert!(matches!(put(&arrays, &key, entry), Placed::New(_)));
        }
        assert_eq!(put(&arrays, &key, EndpointEntry::new(1, 8)), Placed::NoRoom);
        let first = EndpointEntry::new(1, 0);
        delete(&arrays, find(&arrays, &key, first).unwrap());
        assert!(matches!(
            put(&arrays, &key, EndpointEntry::new(1, 8)),
            Placed::New(_)
        ));
    }
}
