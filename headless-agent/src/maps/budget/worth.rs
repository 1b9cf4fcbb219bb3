//! Whether another plan, another try of a name or an early full pass is worth its work.

use super::{Asked, Budget, Room};

/// How often a namespace may ask for room while a batch of names is written. More often, the
/// names of a batch would each take the same namespaces' room, and each plan visits all
/// Services.
const ASKED_MAX: u8 = 8;

/// A room has to change by this part of its capacity before the same work is worth its cost
/// again.
const STEPS: u64 = 64;

impl Budget {
    /// Begins a batch of names, in which each namespace may ask for room again.
    pub(in crate::maps) fn begin_batch(&mut self) {
        self.worth.batch += 1;
    }

    /// Counts that a name of a namespace asks for room. Returns whether it may. Each namespace has
    /// tries of its own, so that no other namespace can use them up.
    pub(in crate::maps) fn may_ask(&mut self, namespace: u32, room: Room) -> bool {
        let batch = self.worth.batch;
        let Some(namespace) = self.namespaces.get_mut(namespace as usize) else {
            return false;
        };
        let asked = &mut namespace.asked;
        if asked.batch != batch {
            *asked = Asked {
                batch,
                ..Asked::default()
            };
        }
        let times = &mut asked.times[room as usize];
        *times = times.saturating_add(1);
        *times <= ASKED_MAX
    }

    /// Notes how many elements a room has now. A room that has drained is worth a plan when it
    /// fills again.
    pub(in crate::maps) fn note_used(&mut self, room: Room, used: u64, capacity: u64) {
        let exhausted = &mut self.worth.exhausted[room as usize];
        *exhausted = exhausted.filter(|at| used + capacity / STEPS >= *at);
    }

    /// Whether a plan for a room with so many elements would find nothing to give up.
    pub(in crate::maps) fn is_exhausted(&self, room: Room, used: u64, capacity: u64) -> bool {
        let exhausted = self.worth.exhausted[room as usize];
        exhausted.is_some_and(|at| used <= at + capacity / STEPS)
    }

    /// Forgets which rooms had nothing more to give up.
    pub(super) fn forget_exhausted(&mut self) {
        self.worth.exhausted = Default::default();
    }

    /// Notes how many elements a plan has left in a room.
    pub(in crate::maps) fn end_plan(&mut self, room: Room, used: u64, capacity: u64) {
        let is_full = used > room.high(capacity);
        self.worth.exhausted[room as usize] = is_full.then_some(used);
        self.expect_drain(room, used, capacity);
    }

    /// Notes how many elements a room has after a plan, or after a full pass, which has brought
    /// back all names that find room.
    pub(in crate::maps) fn expect_drain(&mut self, room: Room, used: u64, capacity: u64) {
        let most = used.min(room.low(capacity));
        self.worth.drained[room as usize] = most.saturating_sub(capacity / STEPS);
    }

    /// Whether something yields, and a room with so many elements has drained since the last plan
    /// or full pass, so that names may come back.
    pub(in crate::maps) fn has_drained(&self, room: Room, used: u64) -> bool {
        self.yielding() != (0, 0) && used < self.worth.drained[room as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 640;

    #[test]
    fn each_namespace_may_ask_in_each_batch() {
        let mut budget = Budget::default();
        let [a, b] = [b"a", b"b"].map(|label| budget.namespace(label));
        for _ in 0..2 {
            budget.begin_batch();
            let tries = (0..1000).filter(|_| budget.may_ask(a, Room::Chunks));
            assert_eq!(tries.count(), usize::from(ASKED_MAX));
            assert!(budget.may_ask(a, Room::Short) && budget.may_ask(b, Room::Chunks));
        }
    }

    #[test]
    fn a_room_that_has_drained_is_worth_a_plan() {
        let mut budget = Budget::default();
        let room = Room::Short;
        budget.end_plan(room, 620, CAPACITY);
        let is_exhausted = |budget: &Budget, used| budget.is_exhausted(room, used, CAPACITY);
        assert!(is_exhausted(&budget, 630) && !is_exhausted(&budget, 631));
        budget.note_used(room, 610, CAPACITY);
        assert!(
            is_exhausted(&budget, 620),
            "changes at the mark plan nothing"
        );
        budget.note_used(room, 609, CAPACITY);
        assert!(!is_exhausted(&budget, 620));
        budget.end_plan(room, 600, CAPACITY);
        assert!(
            !is_exhausted(&budget, 600),
            "the room is below its high mark"
        );
    }

    #[test]
    fn names_may_come_back_if_a_room_drains_while_something_yields() {
        let mut budget = Budget::default();
        let room = Room::Short;
        budget.end_plan(room, 560, CAPACITY);
        assert!(!budget.has_drained(room, 0), "nothing yields");
        let namespace = budget.namespace(b"a");
        budget.set_marked(namespace, true);
        assert!(!budget.has_drained(room, 550) && budget.has_drained(room, 549));
        budget.expect_drain(room, 300, CAPACITY);
        assert!(
            !budget.has_drained(room, 290),
            "the full pass has brought back all names that fit"
        );
    }
}
