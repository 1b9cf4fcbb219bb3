//! Namespaces yield: their names leave the maps, and only userspace knows them.
//!
//! First a record says that the maps do not hold everything below it, then the names leave. So
//! no program denies a name that exists: a look-up that has read the record before finds
//! another generation at its end, since the record was replaced.

use headless_ebpf::abi::{NameFlags, PodsMode};
use tracing::{info, warn};

use super::install::{MARKED, PASSING};
use super::{NameData, Writer};
use crate::maps::budget::{Level, Room, Share};
use crate::maps::encode::{EndpointName, MapKey, encode, endpoint_entry, namespace_of};
use crate::maps::store::RecordSink;
use crate::records::{Index, Part};

impl<S: RecordSink> Writer<S> {
    /// Lets the largest namespaces yield where a map is nearly full.
    pub(in crate::maps) fn keep_room(&mut self, index: &Index) {
        for room in Room::ALL {
            self.keep_room_of(room, index);
        }
    }

    /// [`Self::keep_room`] of one room.
    pub(in crate::maps) fn keep_room_of(&mut self, room: Room, index: &Index) {
        let (used, capacity) = (self.used(room), self.capacity(room));
        self.budget.note_used(room, used, capacity);
        let is_full = used > room.high(capacity);
        if is_full && (room != Room::Endpoints || !self.has_spare_records()) {
            self.make_room(room, index);
        }
    }

    /// Lets the largest namespaces yield because a name has found no room. Returns whether the
    /// name should be tried again.
    pub(super) fn ask_for_room(&mut self, wire: &[u8], room: Room, index: &Index) -> bool {
        let label = namespace_of(wire).unwrap_or_default();
        let namespace = self.budget.namespace(label);
        if !self.budget.may_ask(namespace, room) {
            return false;
        }
        let is_filled = self.used(room) > room.low(self.capacity(room));
        (is_filled && self.make_room(room, index))
            || (room == Room::Chunks && self.make_extent(namespace, index))
    }

    /// Lets the largest namespaces yield until the room is at its low mark. Returns whether it
    /// is emptier now.
    fn make_room(&mut self, room: Room, index: &Index) -> bool {
        let capacity = self.capacity(room);
        let before = self.used(room);
        if self.budget.is_exhausted(room, before, capacity) {
            return false;
        }
        let shares = self.budget.shares(room, before, room.low(capacity));
        self.yield_shares(room, &shares, index);
        let now = self.used(room);
        self.budget.end_plan(room, now, capacity);
        now < before
    }

    /// Lets the largest holders of chunks yield because a set of a namespace finds no extent
    /// although `CHUNKS` has room: a namespace can leave short runs between its sets. Nobody comes
    /// below an equal share, nor below what the namespace itself would then hold. Returns whether
    /// there is an extent now.
    fn make_extent(&mut self, namespace: u32, index: &Index) -> bool {
        let (room, len) = (Room::Chunks, self.sets.refused());
        let capacity = self.capacity(room);
        let own = self.budget.elements(namespace, room);
        let holders = self.budget.holders(room) + u64::from(own == 0);
        let equal = room.low(capacity) / holders;
        let floor = equal.max(own + u64::from(len));
        let surplus = self.budget.shares_above(room, u64::MAX, floor);
        let surplus: u64 = surplus.iter().map(|share| share.elements).sum();
        if surplus + u64::from(self.sets.extents.unused()) < len.into() {
            return false;
        }
        // Each plan visits all Services, so that each takes twice as much as the one before.
        let mut excess = u64::from(len);
        while !self.sets.extents.has_run(len) {
            let before = self.used(room);
            let shares = self.budget.shares_above(room, excess, floor);
            self.yield_shares(room, &shares, index);
            let now = self.used(room);
            self.budget.expect_drain(room, now, capacity);
            if now == before {
                return false;
            }
            excess *= 2;
        }
        true
    }

    /// Lets each namespace give up its share, and tells the log.
    fn yield_shares(&mut self, room: Room, shares: &[Share], index: &Index) {
        if shares.is_empty() {
            return;
        }
        // Names that leave must be looked up before they are deleted.
        let fresh = std::mem::take(&mut self.fresh);
        self.give_up_shares(room, shares, index);
        self.fresh = fresh;
        self.announce(room, shares);
        self.publish_counts();
    }

    fn give_up_shares(&mut self, room: Room, shares: &[Share], index: &Index) {
        let elements = |writer: &Self, share: &Share| writer.budget.elements(share.namespace, room);
        let levels = shares
            .iter()
            .map(|share| elements(self, share).saturating_sub(share.elements));
        let levels: Vec<u64> = levels.collect();
        let left = |writer: &Self| -> Vec<Share> {
            let left = shares.iter().zip(&levels).map(|(share, level)| Share {
                elements: elements(writer, share).saturating_sub(*level),
                ..*share
            });
            left.collect()
        };
        if room.is_record() && index.settings().pods == PodsMode::Verified {
            // If the names below Services are too few, all pods go before the first Service.
            let below = self.budget.below(room);
            for share in shares {
                if below.get(&share.namespace).copied().unwrap_or_default() < share.elements {
                    self.leave_out_pods(room, *share, index);
                }
            }
        }
        let level = match room {
            Room::Reverse => Level::Unpointed,
            _ => Level::Passing,
        };
        for number in self.budget.largest(room, &left(self)) {
            self.give_up(number, level, index);
        }
        if room.is_record() {
            for share in left(self).into_iter().filter(|share| share.elements > 0) {
                self.leave_out_services(room, share, index);
            }
        }
    }

    /// Takes a Service down to a lower level. Returns whether it has that level now.
    fn give_up(&mut self, number: u32, level: Level, index: &Index) -> bool {
        let Some(part) = self.part_of(number, index) else {
            return false;
        };
        let Some((name, _)) = part.names.first() else {
            return false;
        };
        if level == Level::Passing {
            let Some(key) = MapKey::of_name(name.as_bytes()) else {
                return false;
            };
            if let Err(error) = self.store(&key, number, &encode(&PASSING)) {
                self.counts.failure(&error);
                return false;
            }
            self.crowded.remove(name.as_bytes());
        }
        let level = level.max(self.budget.level(number));
        self.budget.set_level(number, level);
        if level == Level::Passing {
            self.remove_below(number, &part);
        }
        self.unpoint(&part);
        true
    }

    /// The part of the index for a Service in the maps. `None` if the index does not have the
    /// Service any more. Then its changes are on their way.
    fn part_of(&self, number: u32, index: &Index) -> Option<Part> {
        let part = index.part_of(self.budget.held(number)?.index_number)?;
        let (name, _) = part.names.first()?;
        let known = self.known_service(name.as_bytes()).ok()?;
        (known == Some(number)).then_some(part)
    }

    /// Deletes the names below a Service.
    fn remove_below(&mut self, number: u32, part: &Part) {
        for (name, _) in part.names.iter().skip(1) {
            self.remove_or_fail(name.as_bytes());
        }
        for address in &part.regular {
            // An endpoint that has found no room in its buckets has a record.
            if !self.delete_entry(endpoint_entry(number, *address))
                && let Some((name, _)) = part.regular_name(*address)
            {
                self.remove_or_fail(name.as_bytes());
            }
        }
    }

    fn remove_or_fail(&mut self, wire: &[u8]) {
        self.crowded.remove(wire);
        match self.remove(wire) {
            Ok(()) => drop(self.failed.remove(wire)),
            Err(error) => self.fail(wire, &error),
        }
    }

    /// Lets pods of a namespace leave.
    fn leave_out_pods(&mut self, room: Room, share: Share, index: &Index) {
        let level = self
            .budget
            .elements(share.namespace, room)
            .saturating_sub(share.elements);
        let namespace = String::from_utf8_lossy(self.budget.label(share.namespace)).into_owned();
        if index.pod_names(&namespace).next().is_none() || !self.mark_namespace(share.namespace) {
            return;
        }
        for pod in index.pod_names(&namespace) {
            if self.budget.elements(share.namespace, room) <= level {
                return;
            }
            let class = MapKey::of_name(pod.as_bytes()).map(|key| Room::of_class(key.class()));
            if class == Some(room) {
                self.remove_or_fail(pod.as_bytes());
            }
        }
    }

    /// Lets whole Services of a namespace leave.
    fn leave_out_services(&mut self, room: Room, share: Share, index: &Index) {
        let newest = self.budget.newest(room, &[share]);
        if newest.is_empty() || !self.mark_namespace(share.namespace) {
            return;
        }
        for number in newest {
            self.leave_out_service(number, index);
        }
    }

    /// Deletes everything that the maps hold of a Service of a marked namespace.
    fn leave_out_service(&mut self, number: u32, index: &Index) {
        let Some(part) = self.part_of(number, index) else {
            return;
        };
        self.remove_below(number, &part);
        self.unpoint(&part);
        if let Some((name, _)) = part.names.first() {
            self.crowded.remove(name.as_bytes());
            if let Err(error) = self.delete_name(name.as_bytes()) {
                self.fail(name.as_bytes(), &error);
            }
        }
    }

    /// Leaves a name to userspace that finds no room although others have yielded. Returns
    /// `false` if no record can say so.
    pub(super) fn step_aside(&mut self, wire: &[u8], index: &Index) -> bool {
        if let Some(EndpointName { service, .. }) = EndpointName::new(wire) {
            let number = self.known_service(service).ok().flatten();
            return number.is_some_and(|number| {
                self.budget.level(number) == Level::Passing
                    || self.give_up(number, Level::Passing, index)
            });
        }
        let Some(namespace) = namespace_of(wire).filter(|label| label.len() + 1 < wire.len())
        else {
            return false;
        };
        let namespace = self.budget.namespace(namespace);
        self.mark_namespace(namespace) && self.delete_name(wire).is_ok()
    }

    /// Says in the record of a namespace that the maps do not hold all of its names: some are
    /// about to leave. Returns `false` if the maps have no such record.
    fn mark_namespace(&mut self, namespace: u32) -> bool {
        self.budget.leave_out_of(namespace);
        let label = self.budget.label(namespace);
        if self.budget.is_marked(label) {
            return true;
        }
        let Some(key) = namespace_key(label) else {
            return false;
        };
        if !matches!(self.locate(&key), Ok(Some(_))) {
            return false;
        }
        // The programs look at the record only if the state says that some record is marked.
        let marked = self
            .put_yielding(true)
            .and_then(|()| self.store(&key, 0, &encode(&MARKED)));
        let is_marked = self.budget.set_marked(namespace, marked.is_ok());
        if let Err(error) = marked {
            self.counts.failure(&error);
            self.put_yielding(is_marked).ok();
            return false;
        }
        true
    }

    /// Whether names that yield may find room again, because a room has drained since names have
    /// yielded or the last full pass has ended. A full pass would bring them back.
    pub(crate) fn has_drained(&self) -> bool {
        let mut rooms = Room::ALL.into_iter();
        rooms.any(|room| self.budget.has_drained(room, self.used(room)))
    }

    /// Notes what a full pass has left in the rooms.
    pub(in crate::maps) fn expect_drain(&mut self) {
        for room in Room::ALL {
            let (used, capacity) = (self.used(room), self.capacity(room));
            self.budget.expect_drain(room, used, capacity);
        }
    }

    /// Ends the yield of the namespaces of which a full pass has written every name.
    pub(in crate::maps) fn unmark_complete(&mut self) {
        for namespace in self.budget.complete() {
            let label = self.budget.label(namespace);
            let Some(key) = namespace_key(label) else {
                continue;
            };
            let data = NameData {
                flags: NameFlags::NO_SERVICE,
                ..MARKED
            };
            if let Err(error) = self.store(&key, 0, &encode(&data)) {
                self.counts.failure(&error);
                continue;
            }
            self.end_mark(namespace);
        }
        for namespace in self.budget.recovered() {
            info!(
                namespace,
                "all names of the namespace are in the maps again"
            );
        }
        self.budget.forget_empty();
    }

    /// Forgets the mark of a namespace, whose record is gone or has no mark any more.
    pub(super) fn end_mark(&mut self, namespace: u32) {
        let any = self.budget.set_marked(namespace, false);
        if let Err(error) = self.put_yielding(any) {
            // The programs look at more records than they need to.
            self.counts.failure(&error);
        }
    }

    /// Tells the log which namespaces have begun to yield.
    fn announce(&mut self, room: Room, shares: &[Share]) {
        for yielding in self.budget.announce(shares) {
            warn!(
                namespace = yielding.namespace,
                services = yielding.services,
                without_record = yielding.marked,
                "{} nearly full, and this namespace holds the most: its largest Services are \
                 left to userspace",
                room.label()
            );
        }
    }
}

/// The key of a namespace's own record, by its folded label.
fn namespace_key(label: &[u8]) -> Option<MapKey> {
    let len = u8::try_from(label.len()).ok()?;
    MapKey::of_name(&[&[len], label].concat())
}
