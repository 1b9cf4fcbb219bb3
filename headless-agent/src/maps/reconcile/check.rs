//! Compares one part of the index with the maps, and marks entries that are right.

use headless_ebpf::abi::EndpointEntry;

use super::drift::Drift;
use super::returns::Course;
use crate::maps::budget::{Level, Room};
use crate::maps::encode::{EndpointName, MapKey, encode, endpoint_entry, is_service, namespace_of};
use crate::maps::place::endpoints;
use crate::maps::place::record::{self, Located};
use crate::maps::store::{RecordSink, SinkError};
use crate::maps::writer::Writer;
use crate::records::{Index, NameData, Part, Pointed, RelativeName};

/// A name in the maps, compared with the index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    Missing,
    Differing,
}

impl<S: RecordSink> Writer<S> {
    /// Corrects the names and hints of one part. All names of a part are written in one
    /// generation, because the endpoints of a Service have new keys if the Service's record
    /// gets a new number.
    pub(super) fn check_part(
        &mut self,
        part: &Part,
        index: &Index,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let checked = match self.course(part)? {
            Course::Keep => self.check_names(part, index, drift),
            Course::Return => self.bring_back(part, index),
            Course::Pass => self.check_passing(part, index, drift),
            Course::LeaveOut => {
                let label = part
                    .names
                    .first()
                    .and_then(|(name, _)| namespace_of(name.as_bytes()));
                self.budget.leave_out(label.unwrap_or_default());
                Ok(())
            }
        };
        let pointed = part.pointed.as_ref();
        let owner = pointed.map(|pointed| self.known_service(pointed.name.as_bytes()));
        let owner = owner.and_then(Result::ok).flatten();
        self.forget_number(part);
        if !self.fresh {
            self.end_filling();
        }
        if let Some(pointed) = pointed {
            self.check_pointed(pointed, owner, drift);
            self.keep_room_of(Room::Reverse, index);
        }
        checked
    }

    /// Ends the generation in which names were written, if one has begun.
    pub(super) fn end_filling(&mut self) {
        if self.is_writing() {
            self.end_writing();
            self.publish_counts();
        }
    }

    fn check_names(
        &mut self,
        part: &Part,
        index: &Index,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        for (name, data) in &part.names {
            self.check_name(name, data, index, drift)?;
        }
        self.check_regular(part, index, drift)
    }

    /// Corrects the regular endpoints of a part. Ends early if the Service yields meanwhile.
    pub(super) fn check_regular(
        &mut self,
        part: &Part,
        index: &Index,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let Some((service, _)) = part.names.first().filter(|_| !part.regular.is_empty()) else {
            return Ok(());
        };
        let mut number = None;
        for address in &part.regular {
            if number.is_none() {
                number = self.known_service(service.as_bytes())?;
            }
            if number.is_some_and(|number| self.budget.level(number) == Level::Passing) {
                break;
            }
            let entry = number.map(|number| endpoint_entry(number, *address));
            let is_there = entry.is_some_and(|entry| self.check_entry(entry, drift));
            if !is_there && let Some((name, data)) = part.regular_name(*address) {
                self.check_name(&name, &data, index, drift)?;
            }
            self.keep_room_of(Room::Endpoints, index);
        }
        Ok(())
    }

    /// Corrects a name.
    pub(super) fn check_name(
        &mut self,
        name: &RelativeName,
        data: &NameData,
        index: &Index,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let wire = name.as_bytes();
        if self.bring_back_pod(name, data, index)? {
            return Ok(());
        }
        let Some(form) = self.form(wire, data)? else {
            return Ok(());
        };
        let standing = if self.fresh {
            Standing::Missing
        } else {
            self.standing(wire, &form)?
        };
        if standing == Standing::Current {
            self.see_index_number(wire, index)?;
            return Ok(());
        }
        // A failed or crowded name is known to differ, so it is no drift.
        if !self.failed.contains(wire) && !self.crowded.contains(wire) {
            match standing {
                Standing::Missing => drift.missing += 1,
                _ => drift.differing += 1,
            }
        }
        self.ensure_writing();
        self.install(wire, Some(data), index);
        Ok(())
    }

    /// [`Self::note_index_number`] of a Service whose record is right, but may be of another agent.
    fn see_index_number(&mut self, wire: &[u8], index: &Index) -> Result<(), SinkError> {
        if is_service(wire)
            && let Some(number) = self.known_service(wire)?
        {
            self.note_index_number(wire, number, index);
        }
        Ok(())
    }

    /// [`Self::mark_entry`], but fresh maps get the entry. Returns whether the
    /// maps have it now.
    fn check_entry(&mut self, entry: EndpointEntry, drift: &mut Drift) -> bool {
        if self.fresh {
            self.ensure_writing();
            let has_room = self.put_entry(entry);
            drift.missing += u64::from(has_room);
            return has_room;
        }
        self.mark_entry(entry)
    }

    /// Marks the entry of a regular endpoint. Returns whether the maps have it.
    fn mark_entry(&mut self, entry: EndpointEntry) -> bool {
        let number = endpoints::find(self.sink.arrays(), &self.config.hash_key, entry);
        if let (Some(number), Some(marks)) = (number, &mut self.marks) {
            marks.endpoints[number] = true;
        }
        number.is_some()
    }

    pub(super) fn ensure_writing(&mut self) {
        if !self.is_writing() {
            self.budget.begin_batch();
            self.begin_writing();
        }
    }

    /// Compares a name with its entry in the maps, and marks the entry if it is right.
    fn standing(&mut self, wire: &[u8], data: &NameData) -> Result<Standing, SinkError> {
        let (key, service) = if let Some(name) = EndpointName::new(wire) {
            let Some(service) = self.known_service(name.service)? else {
                return Ok(Standing::Missing);
            };
            if let Some(entry) = name.entry(service, data)
                && self.mark_entry(entry)
            {
                return Ok(Standing::Current);
            }
            (MapKey::of_endpoint(wire, service), Some(service))
        } else {
            let service = (!is_service(wire)).then_some(0);
            (MapKey::of_name(wire), service)
        };
        // No query can ask for a name without a key, so the maps need not have it.
        let Some(key) = key else {
            return Ok(Standing::Current);
        };
        let Some(located) = self.locate(&key)? else {
            return Ok(Standing::Missing);
        };
        let record = located.record();
        let has_number = match service {
            Some(service) => record.service == service,
            None => record.service != 0,
        };
        let hash_key = &self.config.hash_key;
        let holds = record::holds(self.sink.arrays(), hash_key, &key, &record, &encode(data));
        if !has_number || !holds {
            return Ok(Standing::Differing);
        }
        self.mark(&key, &located);
        Ok(Standing::Current)
    }

    fn mark(&mut self, key: &MapKey, located: &Located) {
        let record = located.record();
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        if let Some(extent) = record::extent(arrays, hash_key, key, &record) {
            self.sets.extents.see(&extent);
        }
        let Some(marks) = &mut self.marks else { return };
        match located {
            Located::Table(found) => marks.hints[found.hint()] = true,
            Located::Map(_) => drop(marks.keys.insert(key.words().into())),
        }
    }

    /// Corrects the name chunk of one Service and the hints that lead to it.
    fn check_pointed(&mut self, pointed: &Pointed, owner: Option<u32>, drift: &mut Drift) {
        if self.sink.arrays().reverse_buckets() == 0 || !self.may_point_again(pointed, owner) {
            return;
        }
        let Pointed {
            number,
            name,
            addresses,
        } = pointed;
        // A missing chunk or hint is no drift: it may have found no room before.
        drift.differing += u64::from(self.put_name_chunk(*number, name, owner));
        let chunk = self.name_chunks.get(*number);
        for address in addresses {
            drift.differing += u64::from(self.put_pointer(*address, chunk, owner));
        }
    }
}
