//! The figures of a plan: how full each map is, and which Service or namespace holds an element.

use headless_ebpf::abi::{
    ChunkId, ENDPOINT_ENTRIES, KeyClass, NameFlags, NameRecord, REVERSE_SLOTS,
};

use super::Writer;
use crate::maps::budget::{Elements, Holder, Level, Room};
use crate::maps::encode::{MapKey, is_service, namespace_of};
use crate::maps::place::record;
use crate::maps::read;
use crate::maps::store::{MapKind, RecordSink, SinkError};
use crate::records::Index;

impl<S: RecordSink> Writer<S> {
    /// Number of used elements of a room.
    pub(in crate::maps) fn used(&self, room: Room) -> u64 {
        let entries = |map| self.counts.entries(map);
        match room {
            Room::Short => self.table.used() + entries(MapKind::NamesShort),
            Room::Medium => entries(MapKind::NamesMedium),
            Room::Long => entries(MapKind::NamesLong),
            Room::Chunks => self.sets.used(),
            Room::Endpoints => entries(MapKind::Endpoints),
            Room::Reverse => entries(MapKind::Reverse),
        }
    }

    /// The most elements of a room.
    pub(in crate::maps) fn capacity(&self, room: Room) -> u64 {
        let arrays = self.sink.arrays();
        let buckets = |buckets: u32, places: usize| u64::from(buckets) * places as u64;
        let records = |class| u64::from(self.sink.capacity(class));
        match room {
            Room::Short => u64::from(arrays.table_slots()) + records(KeyClass::Short),
            Room::Medium => records(KeyClass::Medium),
            Room::Long => records(KeyClass::Long),
            // The chunk at index 0 is never used.
            Room::Chunks => u64::from(arrays.chunks().saturating_sub(1)),
            Room::Endpoints => buckets(arrays.endpoint_buckets(), ENDPOINT_ENTRIES),
            Room::Reverse => buckets(arrays.reverse_buckets(), REVERSE_SLOTS),
        }
    }

    /// Whether each room has space for these additional elements without going over its low
    /// mark, to which others have yielded.
    pub(in crate::maps) fn has_space(&self, elements: &Elements) -> bool {
        let mut elements = *elements;
        if self.has_spare_records() {
            // Endpoints without an entry get records.
            let [short, endpoints] = [Room::Short, Room::Endpoints].map(|room| room as usize);
            let low = Room::Endpoints.low(self.capacity(Room::Endpoints));
            let free = low.saturating_sub(self.used(Room::Endpoints));
            let entries = elements[endpoints].min(u32::try_from(free).unwrap_or(u32::MAX));
            elements[short] = elements[short].saturating_add(elements[endpoints] - entries);
            elements[endpoints] = entries;
        }
        Room::ALL.into_iter().all(|room| {
            let more = u64::from(elements[room as usize]);
            more == 0 || self.used(room) + more <= room.low(self.capacity(room))
        })
    }

    /// Whether short records are so few that endpoints may have records instead of entries.
    /// While they are, a full `ENDPOINTS` hurts nobody.
    pub(super) fn has_spare_records(&self) -> bool {
        let capacity = self.capacity(Room::Short);
        self.used(Room::Short) <= capacity - capacity / 4
    }

    /// Counts elements under a key: new ones, or with a negative number elements that are gone.
    /// `service` is [`NameRecord::service`] of the key's record.
    pub(super) fn hold(&mut self, service: u32, key: &MapKey, room: Room, difference: i64) {
        if difference == 0 {
            return;
        }
        let holder = if service != 0 {
            Holder::Service(service)
        } else if let Some(namespace) = namespace_of(&key.wire()) {
            Holder::Namespace(self.budget.namespace(namespace))
        } else {
            return;
        };
        self.budget.add(holder, room, difference);
    }

    /// Notes which Service of the index a Service in the maps is.
    pub(in crate::maps) fn note_index_number(&mut self, wire: &[u8], number: u32, index: &Index) {
        let index_number = index.number_of(wire).unwrap_or_default();
        self.budget.note_index_number(number, index_number);
    }

    /// Counts a record that is deleted without a look-up, and its chunks, which are freed later.
    pub(in crate::maps) fn let_go(&mut self, key: &MapKey, record: &NameRecord) {
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        let extent = record::extent(arrays, hash_key, key, record).unwrap_or_default();
        let chunks = i64::from(extent.end - extent.start);
        self.hold(record.service, key, Room::Chunks, -chunks);
        self.hold(record.service, key, Room::of_class(key.class()), -1);
        if record.service != 0 && key.endpoint_service().is_none() && is_service(&key.wire()) {
            self.budget.leave(record.service);
        }
    }

    /// The number of the Service whose name is in a name chunk.
    pub(in crate::maps) fn owner_of_chunk(&self, index: u32) -> Option<u32> {
        let name = self.name_in_chunk(index)?;
        self.known_service(&name).ok().flatten()
    }

    /// The relative name in a name chunk.
    pub(super) fn name_in_chunk(&self, index: u32) -> Option<Vec<u8>> {
        let chunk = self.sink.arrays().chunk(index);
        if index == 0 || !chunk.is(&self.config.hash_key, ChunkId::name(index)) {
            return None;
        }
        let words = chunk.words.iter();
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        let name = bytes.get(1..1 + usize::from(*bytes.first()?))?;
        Some(name.to_vec())
    }

    /// Counts the elements in the maps of another agent, and notes the Services and namespaces
    /// that yield there.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub(super) fn count_holdings(&mut self) -> Result<(), SinkError> {
        let mut records = Vec::new();
        for class in KeyClass::ALL {
            let mut visit = |key, record| records.push((key, record));
            read::for_each_record(&self.sink, class, &mut visit)?;
        }
        for (key, record) in &records {
            self.count_owner(key, record);
        }
        for (key, record) in &records {
            let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
            let extent = record::extent(arrays, hash_key, key, record).unwrap_or_default();
            let chunks = i64::from(extent.end - extent.start);
            self.hold(record.service, key, Room::of_class(key.class()), 1);
            self.hold(record.service, key, Room::Chunks, chunks);
        }
        let budget = &mut self.budget;
        read::for_each_endpoint(&self.sink, &mut |service, _| {
            budget.add(Holder::Service(service), Room::Endpoints, 1);
        });
        let leftovers: Vec<u32> = self.name_chunks.leftovers().collect();
        for chunk in leftovers {
            self.hold_hint(chunk, Room::Chunks, 1);
        }
        let buckets = 0..self.sink.arrays().reverse_buckets();
        for bucket in buckets {
            for slot in self.sink.arrays().reverse(bucket) {
                if !slot.is_empty() {
                    self.hold_hint(slot.chunk(), Room::Reverse, 1);
                }
            }
        }
        Ok(())
    }

    /// Counts a hint, or the name chunk to which it leads.
    pub(in crate::maps) fn hold_hint(&mut self, chunk: u32, room: Room, difference: i64) {
        if let Some(owner) = self.owner_of_chunk(chunk) {
            self.budget.add(Holder::Service(owner), room, difference);
        }
    }

    /// Notes a Service with its number, or a namespace that yields.
    fn count_owner(&mut self, key: &MapKey, record: &NameRecord) {
        let wire = key.wire();
        let Some(namespace) = namespace_of(&wire).filter(|_| key.endpoint_service().is_none())
        else {
            return;
        };
        let flags = record.flags;
        if record.service != 0 && is_service(&wire) {
            self.budget.enter(record.service, namespace, key.class());
            // A Service that could not be read whole has the same record. The full pass tells
            // the two apart.
            if flags.contains(NameFlags::PASS.with(NameFlags::ENDPOINTS_UNKNOWN)) {
                self.budget.set_level(record.service, Level::Passing);
            }
        } else if flags.contains(NameFlags::NO_SERVICE.with(NameFlags::ENDPOINTS_UNKNOWN)) {
            let namespace = self.budget.namespace(namespace);
            self.budget.set_marked(namespace, true);
        }
    }
}
