//! Writes or deletes one name, as far as its namespace may have it in the maps.

use std::borrow::Cow;

use headless_ebpf::abi::NameFlags;
use tracing::error;

use super::{NameData, Writer};
use crate::maps::budget::{Level, Room};
use crate::maps::encode::{EndpointName, MapKey, is_service, namespace_of};
use crate::maps::store::{MapKind, RecordSink, SinkError};
use crate::records::Index;
use crate::records::name::WireLabels;

/// The data of a Service of which the maps hold nothing but its record.
pub(super) const PASSING: NameData = NameData {
    flags: NameFlags::PASS.with(NameFlags::ENDPOINTS_UNKNOWN),
    ipv4: Vec::new(),
    ipv6: Vec::new(),
    details: None,
};

/// The data of a namespace with names that the maps do not hold.
pub(super) const MARKED: NameData = NameData {
    flags: NameFlags::NO_SERVICE.with(NameFlags::ENDPOINTS_UNKNOWN),
    ipv4: Vec::new(),
    ipv6: Vec::new(),
    details: None,
};

impl<S: RecordSink> Writer<S> {
    /// Writes or deletes one name, and remembers whether that failed. Where a map is full or
    /// nearly full, namespaces yield first. `index` as in [`Self::write`].
    pub(in crate::maps) fn install(&mut self, wire: &[u8], data: Option<&NameData>, index: &Index) {
        if MapKey::of_name(wire).is_none() {
            // No query can ask for such a name, so its absence is no fault.
            self.complaints.long(wire);
            return;
        }
        let mut result = self.put_or_delete(wire, data, index);
        while let Some(room) = room_of(&result)
            && self.ask_for_room(wire, room, index)
        {
            result = self.put_or_delete(wire, data, index);
        }
        if let Err(SinkError::Full { .. }) = result
            && self.step_aside(wire, index)
        {
            result = Ok(true);
        }
        match result {
            Ok(has_room) => {
                self.failed.remove(wire);
                self.note_room(wire, has_room);
            }
            Err(error) => self.fail(wire, &error),
        }
        self.keep_room(index);
    }

    /// Returns whether addresses and details of the name have found room.
    fn put_or_delete(
        &mut self,
        wire: &[u8],
        data: Option<&NameData>,
        index: &Index,
    ) -> Result<bool, SinkError> {
        let Some(data) = data else {
            if is_service(wire) {
                self.unpoint_deleted(wire, index)?;
            }
            return self.delete_name(wire).map(|()| true);
        };
        let Some(data) = self.form(wire, data)? else {
            return self.remove(wire).map(|()| true);
        };
        let newest = self.next_service;
        let has_room = self.put_name(wire, &data)?;
        if is_service(wire)
            && let Some(index_number) = index.number_of(wire)
            && let Some(number) = self.known_service(wire)?
        {
            self.budget.note_index_number(number, index_number);
            // The fill of empty maps writes the hints itself.
            if self.next_service != newest && !self.fresh {
                self.point_new(wire, number, index);
            }
        }
        Ok(has_room)
    }

    /// The data of a name as the maps may hold it. `None` if they may not hold the name. The
    /// record of its Service or namespace then says so.
    ///
    /// # Errors
    /// When the kernel refuses to read a map.
    pub(in crate::maps) fn form<'a>(
        &mut self,
        wire: &[u8],
        data: &'a NameData,
    ) -> Result<Option<Cow<'a, NameData>>, SinkError> {
        let whole = Ok(Some(Cow::Borrowed(data)));
        let namespace = match namespace_of(wire) {
            Some(namespace) if self.budget.yielding() != (0, 0) => namespace,
            _ => return whole,
        };
        let marked = self.budget.is_marked(namespace);
        // A new name of a marked namespace waits for the next full pass, which knows how much
        // the namespace needs.
        if let Some(EndpointName { service, .. }) = EndpointName::new(wire) {
            return match self.known_service(service)? {
                Some(number) if self.budget.level(number) == Level::Passing => Ok(None),
                None if marked => {
                    self.budget.leave_out(namespace);
                    Ok(None)
                }
                _ => whole,
            };
        }
        if is_service(wire) {
            return match self.known_service(wire)? {
                Some(number) if self.budget.level(number) == Level::Passing => {
                    Ok(Some(Cow::Owned(PASSING)))
                }
                None if marked => {
                    self.budget.leave_out(namespace);
                    Ok(None)
                }
                _ => whole,
            };
        }
        if !marked {
            return whole;
        }
        if WireLabels::new(wire).count() == 1 {
            return Ok(Some(Cow::Owned(MARKED)));
        }
        match MapKey::of_name(wire) {
            Some(key) if self.locate(&key)?.is_none() => {
                self.budget.leave_out(namespace);
                Ok(None)
            }
            _ => whole,
        }
    }

    /// Remembers whether the addresses and details of a name found room.
    fn note_room(&mut self, wire: &[u8], has_room: bool) {
        if has_room {
            self.crowded.remove(wire);
            return;
        }
        let map = MapKind::Chunks;
        self.counts.failure(&SinkError::Full { map });
        if self.crowded.insert(wire.into()) {
            self.complaints.crowded(wire);
        }
    }

    /// Handles a failed write of a name. The record that the maps still have is outdated, so
    /// it is deleted. Negative answers are withdrawn first, because the absence of the record
    /// then proves nothing.
    pub(super) fn fail(&mut self, wire: &[u8], error: &SinkError) {
        self.counts.failure(error);
        self.crowded.remove(wire);
        if self.failed.insert(wire.into()) {
            self.complaints.failed(wire, error);
        }
        if let Err(error) = self.withdraw_denials() {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot withdraw negative answers, so the outdated record stays until the next try"
            );
            return;
        }
        // A look-up that has begun before may have seen that denials were allowed.
        if let Err(error) = self.write_over(true, |writer| writer.forget_name(wire)) {
            self.counts.failure(&error);
        }
    }
}

/// The room that a name has not found.
fn room_of(result: &Result<bool, SinkError>) -> Option<Room> {
    match result {
        Ok(false) => Some(Room::Chunks),
        Err(SinkError::Full { map }) => Room::of_map(*map),
        _ => None,
    }
}
