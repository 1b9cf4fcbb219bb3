//! Names that yield come back where the maps have room for them again.

use super::drift::Drift;
use crate::maps::budget::{Level, Room, elements};
use crate::maps::capacity::EntryCounts;
use crate::maps::encode::{MapKey, is_service, namespace_of};
use crate::maps::store::{RecordSink, SinkError};
use crate::maps::writer::Writer;
use crate::records::{Index, NameData, Part, Pointed, RelativeName};

/// What a full pass does with the names of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Compares all names with the maps.
    Keep,
    /// Writes all names of a Service that yields.
    Return,
    /// Keeps only the record of a Service, which leaves its names to userspace.
    Pass,
    /// Keeps no record of a Service: the record of its namespace says so.
    LeaveOut,
}

impl<S: RecordSink> Writer<S> {
    /// The course for a part.
    pub(super) fn course(&mut self, part: &Part) -> Result<Course, SinkError> {
        let Some((name, _)) = part.names.first() else {
            return Ok(Course::Keep);
        };
        let wire = name.as_bytes();
        if !is_service(wire) || self.budget.yielding() == (0, 0) {
            return Ok(Course::Keep);
        }
        let number = self.known_service(wire)?;
        let marked = namespace_of(wire).is_some_and(|label| self.budget.is_marked(label));
        if number.map_or(!marked, |number| {
            self.budget.level(number) != Level::Passing
        }) {
            return Ok(Course::Keep);
        }
        let mut needed = elements(&EntryCounts::of_part(part));
        // Hints come back on their own, see `may_point_again`.
        needed[Room::Reverse as usize] = 0;
        let own = MapKey::of_name(wire).map_or(Room::Long, |key| Room::of_class(key.class()));
        if number.is_some() {
            needed[own as usize] = needed[own as usize].saturating_sub(1);
        }
        let mut record = [0; Room::ALL.len()];
        record[own as usize] = 1;
        Ok(if self.has_space(&needed) {
            Course::Return
        } else if number.is_some() || self.has_space(&record) {
            Course::Pass
        } else {
            Course::LeaveOut
        })
    }

    /// Writes the names of a Service that yields. Its own record comes last: until then the
    /// record leaves all names to userspace. These names do not count as drift.
    pub(super) fn bring_back(&mut self, part: &Part, index: &Index) -> Result<(), SinkError> {
        let Some((name, data)) = part.names.first() else {
            return Ok(());
        };
        self.ensure_writing();
        let number = self.service_number(name.as_bytes())?;
        self.note_index_number(name.as_bytes(), number, index);
        let has_hints = part.pointed.is_some() && self.sink.arrays().reverse_buckets() > 0;
        let level = if has_hints {
            Level::Unpointed
        } else {
            Level::Whole
        };
        self.budget.set_level(number, level);
        let mut drift = Drift::default();
        for (name, data) in &part.names[1..] {
            self.check_name(name, data, index, &mut drift)?;
        }
        self.check_regular(part, index, &mut drift)?;
        self.check_name(name, data, index, &mut drift)
    }

    /// Writes the record of a Service that leaves its names to userspace.
    pub(super) fn check_passing(
        &mut self,
        part: &Part,
        index: &Index,
        drift: &mut Drift,
    ) -> Result<(), SinkError> {
        let Some((name, data)) = part.names.first() else {
            return Ok(());
        };
        let is_new = self.known_service(name.as_bytes())?.is_none();
        let number = self.service_number(name.as_bytes())?;
        self.note_index_number(name.as_bytes(), number, index);
        self.budget.set_level(number, Level::Passing);
        let mut new = Drift::default();
        self.check_name(name, data, index, if is_new { &mut new } else { drift })
    }

    /// Writes a pod that the maps do not hold because its namespace yields, if there is room.
    /// Returns whether it has done so.
    pub(super) fn bring_back_pod(
        &mut self,
        name: &RelativeName,
        data: &NameData,
        index: &Index,
    ) -> Result<bool, SinkError> {
        let wire = name.as_bytes();
        let marked = namespace_of(wire).is_some_and(|label| self.budget.is_marked(label));
        let Some(key) = MapKey::of_name(wire).filter(|_| marked && name.labels().count() == 4)
        else {
            return Ok(false);
        };
        let mut record = [0; Room::ALL.len()];
        record[Room::of_class(key.class()) as usize] = 1;
        if self.locate(&key)?.is_some() || !self.has_space(&record) {
            return Ok(false);
        }
        self.ensure_writing();
        let is_back = self.put_name(wire, data).is_ok();
        self.keep_room(index);
        Ok(is_back)
    }

    /// Whether hints may lead to a Service. The hints of a Service whose names are in the maps
    /// come back if there is room.
    pub(super) fn may_point_again(&mut self, pointed: &Pointed, owner: Option<u32>) -> bool {
        // A record is the proof of a hint.
        let Some(owner) = owner else { return false };
        match self.budget.level(owner) {
            Level::Whole => true,
            Level::Passing => false,
            Level::Unpointed => {
                let mut needed = [0; Room::ALL.len()];
                needed[Room::Chunks as usize] = 1;
                let hints = u32::try_from(pointed.addresses.len()).unwrap_or(u32::MAX);
                needed[Room::Reverse as usize] = hints;
                let has_space = self.has_space(&needed);
                if has_space {
                    self.budget.set_level(owner, Level::Whole);
                }
                has_space
            }
        }
    }
}
