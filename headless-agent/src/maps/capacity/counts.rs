//! What a cluster needs in the maps, as numbers.

use headless_ebpf::abi::KeyClass;

use super::super::encode::encode;
use super::super::key::MapKey;
use super::super::name::EndpointName;
use crate::records::{Index, Parts};

/// What a cluster needs in the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records by class of key: Services, namespaces, pods that can be asked for, and
    /// endpoints that are not regular.
    pub records: [u64; KeyClass::ALL.len()],
    /// Chunks.
    pub chunks: u64,
    /// Endpoints whose label is the dashed form of their only address, an IPv4 address.
    pub endpoints: u64,
    /// Addresses with reverse names.
    pub addresses: u64,
}

impl Counts {
    /// What an empty cluster is taken for, so that it can grow.
    pub const LEAST: Self = Self {
        records: [1024, 256, 64],
        chunks: 1024,
        endpoints: 4096,
        addresses: 1024,
    };

    /// What the index has.
    pub fn of(index: &Index) -> Self {
        let mut counts = Self::default();
        let mut parts = Parts::default();
        while let Some(part) = parts.next(index) {
            for (name, data) in &part.names {
                let wire = name.as_bytes();
                // Any number has the same effect.
                let endpoint = EndpointName::new(wire);
                if endpoint.is_some_and(|name| name.entry(1, data).is_some()) {
                    counts.endpoints += 1;
                    continue;
                }
                let key = match endpoint {
                    Some(_) => MapKey::of_endpoint(wire, 1),
                    None => MapKey::of_name(wire),
                };
                if let Some(key) = key {
                    counts.records[key.class() as usize] += 1;
                    counts.chunks += u64::from(encode(data).len());
                }
            }
            if let Some(pointed) = part.pointed {
                counts.chunks += 1;
                counts.addresses += pointed.addresses.len() as u64;
            }
        }
        counts
    }

    /// The counts of the whole of which these are the counts of `part` in `whole`.
    #[must_use]
    pub fn extrapolated(self, part: u64, whole: u64) -> Self {
        self.map(|count| (count * whole).div_ceil(part.max(1)).max(count))
    }

    pub(super) fn at_least(self, least: Self) -> Self {
        self.combined(least, u64::max)
    }

    pub(super) fn combined(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let records = |class| combine(self.records[class], other.records[class]);
        Self {
            records: std::array::from_fn(records),
            chunks: combine(self.chunks, other.chunks),
            endpoints: combine(self.endpoints, other.endpoints),
            addresses: combine(self.addresses, other.addresses),
        }
    }

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
        let part = Counts {
            records: [10, 1, 0],
            chunks: 3,
            endpoints: 7,
            addresses: 8,
        };
        let whole = part.extrapolated(5, 50);
        assert_eq!((whole.records, whole.chunks), ([100, 10, 0], 30));
        assert_eq!(part.extrapolated(5, 4), part, "never less than is known");
        assert_eq!(part.extrapolated(0, 0), part);
    }
}
