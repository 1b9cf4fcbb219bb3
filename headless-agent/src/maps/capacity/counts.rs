//! How many entries of each kind a cluster needs in the maps.

use headless_ebpf::abi::KeyClass;

use crate::maps::encode::{EndpointName, MapKey, encode};
use crate::records::{Index, Part, Parts};

/// How many entries of each kind a cluster needs in the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCounts {
    /// Name records by the class of their key: Services, namespaces, pods (with `--pods
    /// verified`), and endpoints that are not regular.
    pub records: [u64; KeyClass::ALL.len()],
    /// Chunks, of sets and with names of Services.
    pub chunks: u64,
    /// Regular endpoints, which have no name record.
    pub endpoints: u64,
    /// Addresses with a hint in `REVERSE`.
    pub addresses: u64,
}

impl EntryCounts {
    /// The least counts that maps are made for, so that an empty cluster can grow.
    pub const LEAST: Self = Self {
        records: [1024, 256, 64],
        chunks: 1024,
        endpoints: 4096,
        addresses: 1024,
    };

    /// Counts the entries that the index needs. Costs as much as encoding all names, so it
    /// runs on a thread of its own.
    pub fn of(index: &Index) -> Self {
        let mut counts = Self::default();
        let mut parts = Parts::default();
        while let Some(part) = parts.next(index) {
            counts.add(&part);
        }
        counts
    }

    /// Counts the entries that one part of the index needs.
    pub(in crate::maps) fn of_part(part: &Part) -> Self {
        let mut counts = Self::default();
        counts.add(part);
        counts
    }

    fn add(&mut self, part: &Part) {
        for (name, data) in &part.names {
            let wire = name.as_bytes();
            // The class of the key is the same for every Service's number.
            let endpoint = EndpointName::new(wire);
            if endpoint.is_some_and(|name| name.entry(1, data).is_some()) {
                self.endpoints += 1;
                continue;
            }
            let key = match endpoint {
                Some(_) => MapKey::of_endpoint(wire, 1),
                None => MapKey::of_name(wire),
            };
            if let Some(key) = key {
                self.records[key.class() as usize] += 1;
                self.chunks += u64::from(encode(data).len());
            }
        }
        self.endpoints += part.regular.len() as u64;
        if let Some(pointed) = &part.pointed {
            self.chunks += 1;
            self.addresses += pointed.addresses.len() as u64;
        }
    }

    /// The counts of `whole` objects, of which `part` objects need these counts. Never less
    /// than these counts.
    #[must_use]
    pub fn extrapolated(self, part: u64, whole: u64) -> Self {
        // A server may report any number of objects, so the product saturates.
        self.map(|count| {
            let all = count.saturating_mul(whole).div_ceil(part.max(1));
            all.max(count)
        })
    }

    /// The larger of two counts, for each kind of entry.
    pub(super) fn at_least(self, least: Self) -> Self {
        self.combined(least, u64::max)
    }

    /// Combines two counts for each kind of entry.
    pub(super) fn combined(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let records = |class| combine(self.records[class], other.records[class]);
        Self {
            records: std::array::from_fn(records),
            chunks: combine(self.chunks, other.chunks),
            endpoints: combine(self.endpoints, other.endpoints),
            addresses: combine(self.addresses, other.addresses),
        }
    }

    /// Changes the count of each kind of entry.
    pub(super) fn map(self, change: impl Fn(u64) -> u64) -> Self {
        Self {
            records: self.records.map(&change),
            chunks: change(self.chunks),
            endpoints: change(self.endpoints),
            addresses: change(self.addresses),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_for_the_whole() {
        let part = EntryCounts {
            records: [10, 1, 0],
            chunks: 3,
            endpoints: 7,
            addresses: 8,
        };
        let whole = part.extrapolated(5, 50);
        assert_eq!((whole.records, whole.chunks), ([100, 10, 0], 30));
        assert_eq!(part.extrapolated(5, 4), part, "never less than is known");
        assert_eq!(part.extrapolated(0, 0), part);
        let absurd = part.extrapolated(5, i64::MAX.unsigned_abs());
        assert_eq!(absurd.endpoints, u64::MAX.div_ceil(5), "saturated");
    }
}
