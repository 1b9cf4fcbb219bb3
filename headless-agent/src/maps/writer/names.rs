//! How one name is stored: as a record, or as a regular endpoint.

use std::sync::atomic::{Ordering, fence};

use headless_ebpf::abi::{EndpointEntry, KeyClass, NameRecord};

use super::super::encode::{Encoded, Place, encode};
use super::super::key::MapKey;
use super::super::kind::{MapKind, SinkError};
use super::super::name::{EndpointName, entry, is_service};
use super::super::read::{self, Located};
use super::super::sets::following;
use super::super::sink::RecordSink;
use super::super::{endpoints, table};
use super::Writer;
use crate::records::NameData;

/// The map that has no room for a name without a key, which there is none of.
const NO_KEY: SinkError = SinkError::Full {
    map: MapKind::NamesLong,
};

impl<S: RecordSink> Writer<S> {
    /// Stores a name. Whether its addresses found room, too.
    pub(super) fn put_name(&mut self, wire: &[u8], data: &NameData) -> Result<bool, SinkError> {
        if let Some(name) = EndpointName::new(wire) {
            return self.put_endpoint(name, data);
        }
        let key = MapKey::of_name(wire).ok_or(NO_KEY)?;
        if !is_service(wire) {
            return self.store(&key, 0, &encode(data));
        }
        let service = self.service_number(wire)?;
        // Its endpoints are stored under this number, whatever becomes of the record.
        self.numbers.insert(wire.into(), service);
        let stored = self.store(&key, service, &encode(data))?;
        self.numbers.remove(wire);
        Ok(stored)
    }

    /// The number of a Service, given by its name: a new number where it has none yet.
    fn service_number(&mut self, service: &[u8]) -> Result<u32, SinkError> {
        if let Some(number) = self.known_service(service)? {
            return Ok(number);
        }
        let number = self.next_service;
        self.next_service = following(number);
        self.numbers.insert(service.into(), number);
        Ok(number)
    }

    /// The number that a Service has.
    pub(in crate::maps) fn known_service(&self, service: &[u8]) -> Result<Option<u32>, SinkError> {
        if let Some(number) = self.numbers.get(service) {
            return Ok(Some(*number));
        }
        let key = MapKey::of_name(service).ok_or(NO_KEY)?;
        let number = self.locate(&key)?.map(|located| located.record().service);
        Ok(number.filter(|number| *number != 0))
    }

    fn put_endpoint(&mut self, name: EndpointName<'_>, data: &NameData) -> Result<bool, SinkError> {
        let service = self.service_number(name.service)?;
        let key = MapKey::of_endpoint(name.wire, service).ok_or(NO_KEY)?;
        if let Some(entry) = name.entry(service, data)
            && self.put_entry(entry)
        {
            self.delete_record(&key)?;
            return Ok(true);
        }
        let stored = self.store(&key, service, &encode(data))?;
        if let Some(address) = name.address() {
            self.delete_entry(entry(service, address));
        }
        Ok(stored)
    }

    /// Removes a name that does not exist any more.
    pub(super) fn delete_name(&mut self, wire: &[u8]) -> Result<(), SinkError> {
        self.remove(wire)?;
        self.numbers.remove(wire);
        Ok(())
    }

    /// Removes what is stored for a name that does exist: a Service keeps its number.
    pub(super) fn forget_name(&mut self, wire: &[u8]) -> Result<(), SinkError> {
        if is_service(wire)
            && let Some(number) = self.known_service(wire)?
        {
            self.numbers.insert(wire.into(), number);
        }
        self.remove(wire)
    }

    fn remove(&mut self, wire: &[u8]) -> Result<(), SinkError> {
        let Some(name) = EndpointName::new(wire) else {
            let key = MapKey::of_name(wire).ok_or(NO_KEY)?;
            return self.delete_record(&key);
        };
        let service = self.known_service(name.service)?.unwrap_or_default();
        let key = MapKey::of_endpoint(wire, service).ok_or(NO_KEY)?;
        self.delete_record(&key)?;
        if let Some(address) = name.address() {
            self.delete_entry(entry(service, address));
        }
        Ok(())
    }

    /// The chunks of a new set, then the record that names them, then the old chunks are
    /// free. Where there is no room for the chunks, a record that leaves the name to
    /// userspace. Whether there was room.
    fn store(&mut self, key: &MapKey, service: u32, encoded: &Encoded) -> Result<bool, SinkError> {
        let hash_key = self.config.hash_key;
        let old = self.locate(key)?.map(|located| located.record());
        let place = self.sets.put(self.sink.arrays(), &hash_key, encoded);
        let has_room = place.is_some();
        let place = Place {
            service,
            ..place.unwrap_or_default()
        };
        let record = if has_room {
            encoded.record(&hash_key, key, place)
        } else {
            encoded.passing().record(&hash_key, key, place)
        };
        if let Err(error) = self.put_record(key, record) {
            let arrays = self.sink.arrays();
            self.sets.free(arrays, &hash_key, key, &record);
            return Err(error);
        }
        self.counts.wrote(1 + u64::from(encoded.len()));
        if let Some(old) = old {
            let arrays = self.sink.arrays();
            self.sets.free(arrays, &hash_key, key, &old);
        }
        Ok(has_room)
    }

    pub(in crate::maps) fn locate(&self, key: &MapKey) -> Result<Option<Located>, SinkError> {
        read::locate(&self.sink, &self.config, key)
    }

    /// Stores a record: a short key where it is, in the table, or where that has no
    /// room, in the hash map.
    fn put_record(&mut self, key: &MapKey, record: NameRecord) -> Result<(), SinkError> {
        let class = key.class();
        if class == KeyClass::Short
            && !(self.config.has_names(class) && self.sink.get(key)?.is_some())
        {
            let hash_key = &self.config.hash_key;
            match self.table.put(self.sink.arrays(), hash_key, key, record) {
                table::Stored::New(hint) | table::Stored::Replaced(hint) => {
                    if let Some(marks) = &mut self.marks {
                        marks.hints[hint] = true;
                    }
                    return Ok(());
                }
                table::Stored::NoRoom => {}
            }
        }
        if !self.config.has_names(class) {
            let mut config = self.config;
            config.add_names(class);
            self.sink.put_config(&config)?;
            self.config = config;
        }
        // The chunks are seen before the record.
        fence(Ordering::Release);
        let is_new = self.sink.put(key, record)?;
        let entries = i64::from(is_new);
        self.counts.add_entries(MapKind::of_class(class), entries);
        if let Some(marks) = &mut self.marks {
            marks.keys.insert(*key);
        }
        Ok(())
    }

    /// Removes the record under a key, if there is one, and frees its chunks.
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
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        self.sets.free(arrays, hash_key, key, &located.record());
        Ok(())
    }

    /// Stores a regular endpoint. Whether there is room.
    fn put_entry(&mut self, entry: EndpointEntry) -> bool {
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        let number = match endpoints::put(arrays, hash_key, entry) {
            endpoints::Stored::New(number) => {
                self.counts.add_entries(MapKind::Endpoints, 1);
                self.counts.wrote(1);
                number
            }
            endpoints::Stored::Present(number) => number,
            endpoints::Stored::NoRoom => return false,
        };
        if let Some(marks) = &mut self.marks {
            marks.endpoints[number] = true;
        }
        true
    }

    fn delete_entry(&mut self, entry: EndpointEntry) {
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        if let Some(number) = endpoints::find(arrays, hash_key, entry) {
            endpoints::delete(arrays, number);
            self.counts.add_entries(MapKind::Endpoints, -1);
            self.counts.wrote(1);
        }
    }
}
