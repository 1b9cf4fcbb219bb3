//! Writes and deletes one name: as a record with chunks, or as a regular endpoint.

use std::sync::atomic::{Ordering, fence};

use headless_ebpf::abi::{EndpointEntry, KeyClass, NameRecord};

use super::Writer;
use crate::maps::budget::{Holder, Room};
use crate::maps::encode::{
    Encoded, EndpointName, MapKey, Place, encode, endpoint_entry, is_service, namespace_of,
};
use crate::maps::place::record::{self, Located};
use crate::maps::place::sets::following;
use crate::maps::place::{Placed, endpoints};
use crate::maps::store::{MapKind, RecordSink, SinkError};
use crate::records::{NameData, Part};

/// The error for a name without a key. [`Writer::install`] has refused such names before.
const NO_KEY: SinkError = SinkError::Full {
    map: MapKind::NamesLong,
};

impl<S: RecordSink> Writer<S> {
    /// Stores a name. Returns whether its addresses and details found room.
    pub(in crate::maps) fn put_name(
        &mut self,
        wire: &[u8],
        data: &NameData,
    ) -> Result<bool, SinkError> {
        if let Some(name) = EndpointName::new(wire) {
            return self.put_endpoint(name, data);
        }
        let key = MapKey::of_name(wire).ok_or(NO_KEY)?;
        if !is_service(wire) {
            return self.store(&key, 0, &encode(data));
        }
        let service = self.service_number(wire)?;
        // Endpoints are stored under this number, even if the Service's record fails.
        self.numbers.insert(wire.into(), service);
        let stored = self.store(&key, service, &encode(data))?;
        // While fresh maps are filled, nobody looks up records, so the endpoints find the
        // number here.
        if !self.fresh {
            self.numbers.remove(wire);
        }
        Ok(stored)
    }

    /// The number of the Service with this name. A Service without a number gets a new one.
    pub(in crate::maps) fn service_number(&mut self, service: &[u8]) -> Result<u32, SinkError> {
        if let Some(number) = self.known_service(service)? {
            return Ok(number);
        }
        let number = self.next_service;
        self.next_service = following(number);
        self.numbers.insert(service.into(), number);
        if let (Some(namespace), Some(key)) = (namespace_of(service), MapKey::of_name(service)) {
            self.budget.enter(number, namespace, key.class());
        }
        Ok(number)
    }

    /// Forgets the number of a part's Service that [`Self::put_name`] has kept for the
    /// Service's endpoints, if the Service has a record now.
    pub(in crate::maps) fn forget_number(&mut self, part: &Part) {
        if let Some((name, _)) = part.names.first()
            && !self.failed.contains(name.as_bytes())
        {
            self.numbers.remove(name.as_bytes());
        }
    }

    /// The number of the Service with this name, if it has one.
    pub(in crate::maps) fn known_service(&self, service: &[u8]) -> Result<Option<u32>, SinkError> {
        if let Some(number) = self.numbers.get(service) {
            return Ok(Some(*number));
        }
        if self.fresh {
            return Ok(None);
        }
        let key = MapKey::of_name(service).ok_or(NO_KEY)?;
        let number = self.locate(&key)?.map(|located| located.record().service);
        Ok(number.filter(|number| *number != 0))
    }

    /// Stores an endpoint: as an entry of `ENDPOINTS` if it is regular and finds room there,
    /// else as a record. The other form is deleted afterwards.
    fn put_endpoint(&mut self, name: EndpointName<'_>, data: &NameData) -> Result<bool, SinkError> {
        let service = self.service_number(name.service)?;
        let key = MapKey::of_endpoint(name.wire, service).ok_or(NO_KEY)?;
        let entry = name
            .address()
            .map(|address| endpoint_entry(service, address));
        let has_entry = |writer: &Self| {
            let (arrays, hash_key) = (writer.sink.arrays(), &writer.config.hash_key);
            entry.is_some_and(|entry| endpoints::find(arrays, hash_key, entry).is_some())
        };
        let exists = !self.fresh && (has_entry(self) || self.locate(&key)?.is_some());
        self.write_over(exists, |writer| {
            writer.put_endpoint_as(name, data, service, &key)
        })
    }

    /// [`Self::put_endpoint`] with the number of the Service and the endpoint's key.
    fn put_endpoint_as(
        &mut self,
        name: EndpointName<'_>,
        data: &NameData,
        service: u32,
        key: &MapKey,
    ) -> Result<bool, SinkError> {
        if let Some(entry) = name.entry(service, data)
            && self.put_entry(entry)
        {
            if !self.fresh {
                self.delete_record(key)?;
            }
            return Ok(true);
        }
        let stored = self.store(key, service, &encode(data))?;
        if let Some(address) = name.address().filter(|_| !self.fresh) {
            self.delete_entry(endpoint_entry(service, address));
        }
        Ok(stored)
    }

    /// Deletes a name that does not exist any more, or that is left out. A deleted Service loses
    /// its number.
    pub(super) fn delete_name(&mut self, wire: &[u8]) -> Result<(), SinkError> {
        let number = if is_service(wire) {
            self.known_service(wire)?
        } else {
            None
        };
        self.remove(wire)?;
        self.numbers.remove(wire);
        if let Some(number) = number {
            self.budget.leave(number);
        } else if let Some(label) = namespace_of(wire)
            && label.len() + 1 == wire.len()
            && self.budget.is_marked(label)
        {
            let namespace = self.budget.namespace(label);
            self.end_mark(namespace);
        }
        Ok(())
    }

    /// Deletes the entries of a name that still exists. A Service keeps its number.
    pub(super) fn forget_name(&mut self, wire: &[u8]) -> Result<(), SinkError> {
        if is_service(wire)
            && let Some(number) = self.known_service(wire)?
        {
            self.numbers.insert(wire.into(), number);
        }
        self.remove(wire)
    }

    /// Deletes the entries of a name, in whichever form the maps have it.
    pub(super) fn remove(&mut self, wire: &[u8]) -> Result<(), SinkError> {
        let Some(name) = EndpointName::new(wire) else {
            let key = MapKey::of_name(wire).ok_or(NO_KEY)?;
            return self.delete_record(&key);
        };
        let service = self.known_service(name.service)?.unwrap_or_default();
        let key = MapKey::of_endpoint(wire, service).ok_or(NO_KEY)?;
        self.delete_record(&key)?;
        if let Some(address) = name.address() {
            self.delete_entry(endpoint_entry(service, address));
        }
        Ok(())
    }

    /// Writes the chunks of a new set, then the record that names them, then frees the old
    /// chunks. If the chunks find no room, the record leaves the name to userspace. If the
    /// old chunks make room, the name is stored once more. Returns whether the chunks found
    /// room.
    pub(super) fn store(
        &mut self,
        key: &MapKey,
        service: u32,
        encoded: &Encoded,
    ) -> Result<bool, SinkError> {
        let hash_key = self.config.hash_key;
        let old = if self.fresh {
            None
        } else {
            self.locate(key)?.map(|located| located.record())
        };
        let place = self.sets.put(self.sink.arrays(), &hash_key, encoded);
        let has_room = place.is_some();
        if has_room {
            self.hold(service, key, Room::Chunks, i64::from(encoded.len()));
        }
        let place = Place {
            service,
            ..place.unwrap_or_default()
        };
        let record = if has_room {
            encoded.record(&hash_key, key, place)
        } else {
            encoded.passing().record(&hash_key, key, place)
        };
        let put = self.write_over(old.is_some(), |writer| writer.put_record(key, record));
        if let Err(error) = put {
            self.free_set(key, &record);
            return Err(error);
        }
        self.counts.wrote(1 + u64::from(encoded.len()));
        let is_freed = old.is_some_and(|old| self.free_set(key, &old) > 0);
        if !has_room && is_freed {
            // The record now has no chunks, so this happens once.
            return self.store(key, service, encoded);
        }
        Ok(has_room)
    }

    /// Frees the chunks of a record that no map holds any more. Returns their number.
    fn free_set(&mut self, key: &MapKey, record: &NameRecord) -> u32 {
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        let len = self.sets.free(arrays, hash_key, key, record);
        self.hold(record.service, key, Room::Chunks, -i64::from(len));
        len
    }

    /// Looks up the record of a key.
    pub(in crate::maps) fn locate(&self, key: &MapKey) -> Result<Option<Located>, SinkError> {
        record::locate(&self.sink, &self.config, key)
    }

    /// Stores a record. A short key that is in its hash map stays there. Other short keys go
    /// to the table, and to the hash map if the table has no room.
    fn put_record(&mut self, key: &MapKey, record: NameRecord) -> Result<(), SinkError> {
        let class = key.class();
        let in_map = || self.config.has_names(class) && !self.fresh;
        if class == KeyClass::Short && !(in_map() && self.sink.get(key)?.is_some()) {
            let hash_key = &self.config.hash_key;
            let placed = self.table.put(self.sink.arrays(), hash_key, key, record);
            if let Placed::New(hint) | Placed::Replaced(hint) = placed {
                if let Some(marks) = &mut self.marks {
                    marks.hints[hint] = true;
                }
                if let Placed::New(_) = placed {
                    self.hold(record.service, key, Room::Short, 1);
                }
                return Ok(());
            }
        }
        if !self.config.has_names(class) {
            let mut config = self.config;
            config.add_names(class);
            self.sink.put_config(&config)?;
            self.config = config;
        }
        // No reader may see the record before its chunks.
        fence(Ordering::Release);
        let is_new = self.sink.put(key, record)?;
        let entries = i64::from(is_new);
        self.counts.add_entries(MapKind::of_class(class), entries);
        self.hold(record.service, key, Room::of_class(class), entries);
        if let Some(marks) = &mut self.marks {
            marks.keys.insert(key.words().into());
        }
        Ok(())
    }

    /// Deletes the record of a key, if there is one, and frees its chunks.
    pub(in crate::maps) fn delete_record(&mut self, key: &MapKey) -> Result<(), SinkError> {
        let Some(located) = self.locate(key)? else {
            return Ok(());
        };
        match &located {
            Located::Table(found) => self.table.delete(self.sink.arrays(), found),
            Located::Map(_) => {
                let existed = self.sink.delete(key)?;
                let entries = -i64::from(existed);
                let kind = MapKind::of_class(key.class());
                self.counts.add_entries(kind, entries);
            }
        }
        self.counts.wrote(1);
        let record = located.record();
        self.hold(record.service, key, Room::of_class(key.class()), -1);
        self.free_set(key, &record);
        Ok(())
    }

    /// Stores a regular endpoint. Returns whether it found room.
    pub(in crate::maps) fn put_entry(&mut self, entry: EndpointEntry) -> bool {
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        let number = match endpoints::put(arrays, hash_key, entry) {
            Placed::New(number) => {
                self.counts.add_entries(MapKind::Endpoints, 1);
                self.counts.wrote(1);
                let holder = Holder::Service(entry.service());
                self.budget.add(holder, Room::Endpoints, 1);
                number
            }
            Placed::Replaced(number) => number,
            Placed::NoRoom => return false,
        };
        if let Some(marks) = &mut self.marks {
            marks.endpoints[number] = true;
        }
        true
    }

    /// Deletes the entry of a regular endpoint. Returns whether there was one.
    pub(super) fn delete_entry(&mut self, entry: EndpointEntry) -> bool {
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        let Some(number) = endpoints::find(arrays, hash_key, entry) else {
            return false;
        };
        endpoints::delete(arrays, number);
        self.counts.add_entries(MapKind::Endpoints, -1);
        self.counts.wrote(1);
        let holder = Holder::Service(entry.service());
        self.budget.add(holder, Room::Endpoints, -1);
        true
    }
}
