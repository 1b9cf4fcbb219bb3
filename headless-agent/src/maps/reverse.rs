//! The table of addresses, see [`headless_ebpf::abi::ReverseSlot`].
//!
//! Nothing here can make an answer wrong: the programs take an address's slot for a
//! hint and prove it by the name's record. What is not in the table is left to
//! userspace.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use headless_ebpf::abi::{
    CHUNK_BYTES, Chunk, ChunkKey, ChunkKind, REVERSE_SLOTS, ReverseAddress, ReverseBucket,
    ReverseSlot,
};

use super::writer::Writer;
use super::{MapKind, RecordSink, SinkError};
use crate::records::{Pointers, RelativeName};

/// The key of the chunk with the name of a Service.
const fn name_key(service: u32) -> ChunkKey {
    ChunkKey::new(service, ChunkKind::Name, 0)
}

/// Whether a chunk belongs to a Service and not to a set.
pub(super) const fn is_name(key: ChunkKey) -> bool {
    key.kind == ChunkKind::Name as u16
}

/// What a bucket is to hold: of more than fit, any.
fn is_current(bucket: &ReverseBucket, expected: &[ReverseSlot]) -> bool {
    let used = bucket.iter().filter(|slot| !slot.is_empty());
    used.clone().count() == expected.len().min(REVERSE_SLOTS)
        && used.clone().all(|slot| expected.contains(slot))
}

impl<S: RecordSink> Writer<S> {
    /// Brings the table up to date. A failure is counted and leaves addresses to
    /// userspace until the next full pass.
    pub fn point(&mut self, changes: &Pointers) {
        if self.sink.reverse_buckets() == 0 {
            return;
        }
        for (service, name) in &changes.services {
            if let Some(name) = name {
                self.note(|writer| writer.put_service(*service, name));
            }
        }
        for (address, service) in &changes.addresses {
            self.note(|writer| writer.put_address(*address, *service));
        }
        for (service, name) in &changes.services {
            if name.is_none() {
                self.note(|writer| writer.delete_service(*service));
            }
        }
    }

    fn note(&mut self, write: impl FnOnce(&mut Self) -> Result<(), SinkError>) {
        if let Err(error) = write(self) {
            self.counts.failure(&error);
        }
    }

    /// The chunk of a Service's name; `None` where the name is too long for one.
    fn service_chunk(&self, service: u32, name: &RelativeName) -> Option<Chunk> {
        let name = name.as_bytes();
        let len = u8::try_from(name.len()).ok()?;
        let content = [&[len], name].concat();
        (content.len() <= CHUNK_BYTES).then(|| Chunk::new(self.seed, name_key(service), &content))
    }

    fn put_service(&mut self, service: u32, name: &RelativeName) -> Result<(), SinkError> {
        let Some(chunk) = self.service_chunk(service, name) else {
            return self.delete_service(service);
        };
        self.put_service_chunk(name_key(service), chunk)
    }

    fn put_service_chunk(&mut self, key: ChunkKey, chunk: Chunk) -> Result<(), SinkError> {
        let added = self.sink.put_chunk(key, chunk)?;
        self.counts.added(MapKind::Chunks, added);
        Ok(())
    }

    fn delete_service(&mut self, service: u32) -> Result<(), SinkError> {
        let existed = self.sink.delete_chunk(name_key(service))?;
        self.counts.removed(MapKind::Chunks, existed);
        Ok(())
    }

    fn put_address(&mut self, address: IpAddr, service: Option<u32>) -> Result<(), SinkError> {
        let address = ReverseAddress::from(address);
        let index = address.bucket(self.sink.reverse_buckets());
        let mut bucket = self.sink.reverse_bucket(index)?;
        let own = bucket.iter().position(|slot| slot.is_of(address));
        let free = || bucket.iter().position(|slot| slot.is_empty());
        let slot = service.map(|service| ReverseSlot::new(address, service));
        let Some(at) = own.or_else(|| slot.and_then(|_| free())) else {
            return Ok(());
        };
        let slot = slot.unwrap_or_default();
        if bucket[at] != slot {
            bucket[at] = slot;
            self.sink.put_reverse_bucket(index, bucket)?;
            if slot.is_empty() {
                self.counts.removed(MapKind::Reverse, true);
            } else {
                self.counts.added(MapKind::Reverse, own.is_none());
            }
        }
        Ok(())
    }

    /// Makes the table hold what `pointers` say, all of them. Returns how many buckets
    /// and names had what they should not.
    pub(super) fn reconcile_pointers(&mut self, pointers: &Pointers) -> Result<u64, SinkError> {
        let buckets = self.sink.reverse_buckets();
        let mut stale = 0;
        let mut names = HashSet::new();
        for (service, name) in &pointers.services {
            let chunk = name
                .as_ref()
                .and_then(|name| self.service_chunk(*service, name))
                .filter(|_| buckets > 0);
            let Some(chunk) = chunk else { continue };
            let key = name_key(*service);
            names.insert(key);
            match self.sink.chunk(key)? {
                Some(installed) if installed == chunk => {}
                // One that is missing may have had no room before.
                installed => {
                    stale += u64::from(installed.is_some());
                    self.note(|writer| writer.put_service_chunk(key, chunk));
                }
            }
        }
        let installed = self.sink.chunk_keys()?;
        for key in installed.into_iter().filter(|key| is_name(*key)) {
            if !names.contains(&key) {
                stale += 1;
                self.note(|writer| writer.delete_service(key.set));
            }
        }
        // By bucket, and within each in the order of addresses.
        let mut expected: Vec<(u32, ReverseSlot)> = Vec::new();
        if buckets > 0 {
            let addresses = pointers.addresses.iter();
            expected.extend(addresses.filter_map(|(address, service)| {
                let address = ReverseAddress::from(*address);
                Some((
                    address.bucket(buckets),
                    ReverseSlot::new(address, (*service)?),
                ))
            }));
            expected.sort_by_key(|(bucket, _)| *bucket);
        }
        let mut rest = &*expected;
        let mut slots = Vec::new();
        let mut used = 0;
        for index in 0..buckets {
            let (here, behind) = rest.split_at(rest.partition_point(|(at, _)| *at <= index));
            rest = behind;
            slots.clear();
            for (_, slot) in here {
                if !slots.iter().any(|other: &ReverseSlot| other.is_like(*slot)) {
                    slots.push(*slot);
                }
            }
            let bucket = self.sink.reverse_bucket(index)?;
            used += slots.len().min(REVERSE_SLOTS);
            if is_current(&bucket, &slots) {
                continue;
            }
            // As above.
            stale += u64::from(
                bucket
                    .iter()
                    .any(|at| !at.is_empty() && !slots.contains(at)),
            );
            let mut bucket = ReverseBucket::default();
            bucket
                .iter_mut()
                .zip(&slots)
                .for_each(|(to, from)| *to = *from);
            self.sink.put_reverse_bucket(index, bucket)?;
            self.counts.written.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.set_entries(MapKind::Reverse, used as u64);
        Ok(stale)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use headless_ebpf::abi::{Config, PodsMode};

    use super::super::memory::MemorySink;
    use super::super::{SinkError, WriteCounts};
    use super::*;

    fn writer(addresses: u32) -> Writer<MemorySink> {
        let config = Config::new("cluster.local", 30, PodsMode::Insecure, 1).unwrap();
        let counts = Arc::<WriteCounts>::default();
        Writer::new(MemorySink::new(config, addresses), 1, counts)
    }

    fn pointers(addresses: impl IntoIterator<Item = u32>, service: Option<u32>) -> Pointers {
        let address = |i| (IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i)), service);
        let name = RelativeName::from_labels(["web", "default"]).unwrap();
        Pointers {
            services: [(1, service.map(|_| name))].into(),
            addresses: addresses.into_iter().map(address).collect(),
        }
    }

    fn slots(writer: &Writer<MemorySink>) -> usize {
        let slots = writer.sink().reverse.iter().flatten();
        slots.filter(|slot| !slot.is_empty()).count()
    }

    fn entries(writer: &Writer<MemorySink>) -> u64 {
        writer.counts.entries(MapKind::Reverse)
    }

    #[test]
    fn an_address_has_one_slot() {
        let mut writer = writer(64);
        writer.point(&pointers(0..3, Some(1)));
        writer.point(&pointers(1..4, Some(2)));
        assert_eq!((slots(&writer), entries(&writer)), (4, 4));
        let address = ReverseAddress::from(IpAddr::from([10, 0, 0, 2]));
        let bucket = address.bucket(writer.sink().reverse_buckets());
        let bucket = writer.sink().reverse[bucket as usize];
        assert!(bucket.contains(&ReverseSlot::new(address, 2)));
        writer.point(&pointers(0..9, None));
        assert_eq!((slots(&writer), entries(&writer)), (0, 0));
        assert!(
            writer.sink().chunks.is_empty(),
            "the Service's name is gone"
        );
    }

    /// What has no room is left out and comes in once there is some.
    #[test]
    fn a_bucket_that_is_full_leaves_out_the_rest() {
        let mut writer = writer(1);
        writer.point(&pointers(0..20, Some(1)));
        assert_eq!(slots(&writer), REVERSE_SLOTS);
        let stale = writer.reconcile_pointers(&pointers(0..20, Some(1)));
        assert_eq!(stale.unwrap(), 0, "any of them will do");
        writer.point(&pointers(0..8, None));
        let rest = pointers(8..16, Some(1));
        assert_eq!(writer.reconcile_pointers(&rest).unwrap(), 0);
        assert_eq!(slots(&writer), REVERSE_SLOTS);
        assert_eq!(writer.reconcile_pointers(&rest).unwrap(), 0);
        assert_eq!(entries(&writer), REVERSE_SLOTS as u64);
    }

    #[test]
    fn a_full_pass_finds_what_should_not_be_there() {
        let mut writer = writer(64);
        writer.point(&pointers(0..3, Some(1)));
        let address = ReverseAddress::from(IpAddr::from([10, 0, 0, 1]));
        let bucket = address.bucket(writer.sink().reverse_buckets());
        let other = ReverseSlot::new(ReverseAddress::from(IpAddr::from([10, 0, 9, 9])), 7);
        let slots = &mut writer.sink.reverse[bucket as usize];
        *slots.iter_mut().find(|slot| slot.is_empty()).unwrap() = other;
        let key = name_key(1);
        let name = writer.sink.chunks.remove(&key).unwrap();
        writer.sink.chunks.insert(name_key(9), name);
        let all = pointers(0..3, Some(1));
        assert_eq!(writer.reconcile_pointers(&all).unwrap(), 2);
        assert_eq!(writer.sink().chunks.keys().collect::<Vec<_>>(), [&key]);
        assert!(
            !writer
                .sink()
                .reverse
                .iter()
                .flatten()
                .any(|slot| *slot == other)
        );
        assert_eq!(writer.reconcile_pointers(&all).unwrap(), 0);
    }

    /// Where there is no room for the Service's name, nothing else is kept from being
    /// written.
    #[test]
    fn a_name_without_room_is_counted() {
        let mut writer = writer(64);
        writer.sink.capacity.insert(MapKind::Chunks, 0);
        writer.point(&pointers(0..3, Some(1)));
        assert_eq!(slots(&writer), 3);
        assert_eq!(writer.counts.full.load(Ordering::Relaxed), 1);
        assert_eq!(
            writer.reconcile_pointers(&pointers(0..3, Some(1))).unwrap(),
            0
        );
        let full = writer
            .sink
            .put_chunk(name_key(1), Chunk::new(1, name_key(1), b""));
        assert!(matches!(full, Err(SinkError::Full { .. })));
    }

    #[test]
    fn a_name_that_is_too_long_has_no_chunk() {
        let mut writer = writer(64);
        let long = |len| {
            let labels = ["a".repeat(50), "b".repeat(len)];
            let name = RelativeName::from_labels(labels.iter().map(String::as_str)).unwrap();
            let services = [(1, Some(name))].into();
            Pointers {
                services,
                ..Pointers::default()
            }
        };
        writer.point(&long(59));
        assert_eq!(writer.sink().chunks.len(), 1, "51 + 60 + 1 bytes");
        writer.point(&long(60));
        assert_eq!(writer.sink().chunks.len(), 0);
    }
}
