//! The table of short keys, see [`headless_ebpf::abi::TableBucket`].
//!
//! A record is written to a free slot, then a hint leads there, then the slot before is
//! free. A reader that is led to a slot which has been given to another key finds that
//! other key, and misses a name that is there: the writer's generation keeps it from
//! denying that name ([`headless_ebpf::abi::State::denies_since`]).

use std::collections::VecDeque;

use headless_ebpf::abi::{
    HashKey, KeyClass, NameRecord, TABLE_HINTS, TableHint, TablePlace, TableSlot,
};

use super::arrays::Arrays;
use super::key::MapKey;

/// What became of a record that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The key is new, and its hint has this number.
    New(usize),
    /// There was another record, and its hint has this number.
    Replaced(usize),
    /// Slots or hints are taken, or another name would be mistaken for it.
    NoRoom,
}

/// A record of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    bucket: u32,
    at: usize,
    slot: u32,
    /// The record.
    pub(super) record: NameRecord,
}

impl Found {
    /// Number of the hint among all hints.
    pub(super) fn hint(&self) -> usize {
        hint_number(self.bucket, self.at)
    }
}

fn hint_number(bucket: u32, at: usize) -> usize {
    bucket as usize * TABLE_HINTS + at
}

/// Looks up a key of class [`KeyClass::Short`].
pub(super) fn find(arrays: &Arrays, hash_key: &HashKey, key: &MapKey) -> Option<Found> {
    let place = TablePlace::of(key.hash(hash_key), arrays.table_buckets());
    for bucket in place.buckets {
        for (at, hint) in arrays.hints(bucket).into_iter().enumerate() {
            let Some(slot) = hint.slot().filter(|_| hint.is_of(place)) else {
                continue;
            };
            let TableSlot { key: found, record } = arrays.slot(slot);
            if found == key.words() {
                return Some(Found {
                    bucket,
                    at,
                    slot,
                    record,
                });
            }
        }
    }
    None
}

/// The records of a bucket, with the numbers of their hints.
pub(super) fn records(
    arrays: &Arrays,
    bucket: u32,
) -> impl Iterator<Item = (usize, MapKey, NameRecord)> {
    let hints = arrays.hints(bucket).into_iter().enumerate();
    hints.filter_map(move |(at, hint)| {
        let TableSlot { key, record } = arrays.slot(hint.slot()?);
        let key = MapKey::from_words(KeyClass::Short, &key);
        Some((hint_number(bucket, at), key, record))
    })
}

/// Which slots of the table are free.
#[derive(Debug)]
pub(super) struct Table {
    /// Slots that were used and are not any more.
    free: VecDeque<u32>,
    /// Slots from here on have not been used.
    fresh: u32,
}

impl Table {
    /// The table in these arrays, with what was written there before.
    pub(super) fn open(arrays: &Arrays) -> Self {
        let mut used = vec![false; arrays.table_slots() as usize];
        for bucket in 0..arrays.table_buckets() {
            for hint in arrays.hints(bucket) {
                let slot = hint.slot().and_then(|slot| used.get_mut(slot as usize));
                if let Some(slot) = slot {
                    *slot = true;
                }
            }
        }
        let fresh = used
            .iter()
            .rposition(|used| *used)
            .map_or(0, |last| last + 1);
        let free = (0..).zip(&used[..fresh]).filter(|(_, used)| !**used);
        Self {
            free: free.map(|(slot, _)| slot).collect(),
            fresh: fresh as u32,
        }
    }

    /// Number of records.
    pub(super) fn used(&self) -> u64 {
        u64::from(self.fresh) - self.free.len() as u64
    }

    /// Stores a record under a key of class [`KeyClass::Short`].
    pub(super) fn put(
        &mut self,
        arrays: &Arrays,
        hash_key: &HashKey,
        key: &MapKey,
        record: NameRecord,
    ) -> Stored {
        let slot = TableSlot {
            key: key.first_words(),
            record,
        };
        let place = TablePlace::of(key.hash(hash_key), arrays.table_buckets());
        if let Some(found) = find(arrays, hash_key, key) {
            let Some(number) = self.take(arrays) else {
                // A reader may see some of both, which the seal tells.
                arrays.put_slot(found.slot, &slot);
                return Stored::Replaced(found.hint());
            };
            arrays.put_slot(number, &slot);
            arrays.put_hint(found.bucket, found.at, TableHint::new(place, number));
            self.free.push_back(found.slot);
            return Stored::Replaced(found.hint());
        }
        let Some((bucket, at)) = free_hint(arrays, place) else {
            return Stored::NoRoom;
        };
        let Some(number) = self.take(arrays) else {
            return Stored::NoRoom;
        };
        arrays.put_slot(number, &slot);
        arrays.put_hint(bucket, at, TableHint::new(place, number));
        Stored::New(hint_number(bucket, at))
    }

    /// Removes a record.
    pub(super) fn delete(&mut self, arrays: &Arrays, found: &Found) {
        arrays.put_hint(found.bucket, found.at, TableHint::default());
        self.free.push_back(found.slot);
    }

    /// Removes the hint of this number. Its slot stays used until the table is opened
    /// anew.
    pub(super) fn delete_hint(arrays: &Arrays, number: usize) {
        let (bucket, at) = (number / TABLE_HINTS, number % TABLE_HINTS);
        arrays.put_hint(bucket as u32, at, TableHint::default());
    }

    /// A slot that nobody is led to; `None` where all are used. The slot that was given
    /// back last is used last, so that few readers are on their way to it.
    fn take(&mut self, arrays: &Arrays) -> Option<u32> {
        if self.fresh < arrays.table_slots() {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        self.free.pop_front()
    }
}

/// A free hint in the emptier of a name's buckets. `None` where both are full, or where
/// another name would be mistaken for this one.
fn free_hint(arrays: &Arrays, place: TablePlace) -> Option<(u32, usize)> {
    let mut best: Option<(u32, usize, usize)> = None;
    for bucket in place.buckets {
        let hints = arrays.hints(bucket);
        if hints.iter().any(|hint| hint.is_of(place)) {
            return None;
        }
        let mut free = hints.iter().enumerate();
        let Some((at, _)) = free.find(|(_, hint)| hint.slot().is_none()) else {
            continue;
        };
        let empty = hints.iter().filter(|hint| hint.slot().is_none()).count();
        if best.is_none_or(|(_, _, most)| empty > most) {
            best = Some((bucket, at, empty));
        }
    }
    best.map(|(bucket, at, _)| (bucket, at))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::maps::capacity::Capacities;

    struct Tested {
        arrays: Arrays,
        hash_key: HashKey,
        table: Table,
    }

    impl Tested {
        fn new(table_slots: u32) -> Self {
            let arrays = Arrays::zeroed(&Capacities {
                table_slots,
                ..Capacities::default()
            });
            Self {
                table: Table::open(&arrays),
                hash_key: HashKey::from_seed(1),
                arrays,
            }
        }

        fn put(&mut self, i: u32, record: NameRecord) -> Stored {
            self.table
                .put(&self.arrays, &self.hash_key, &key(i), record)
        }

        fn delete(&mut self, i: u32) -> bool {
            let found = find(&self.arrays, &self.hash_key, &key(i));
            if let Some(found) = &found {
                self.table.delete(&self.arrays, found);
            }
            found.is_some()
        }

        fn get(&self, i: u32) -> Option<NameRecord> {
            let found = find(&self.arrays, &self.hash_key, &key(i));
            assert_eq!(self.program(i), found.map(|found| found.record));
            self.program(i)
        }

        /// As a program looks a name up: by the first hint with the tag in either
        /// bucket.
        fn program(&self, i: u32) -> Option<NameRecord> {
            let (arrays, key) = (&self.arrays, key(i));
            let place = TablePlace::of(key.hash(&self.hash_key), arrays.table_buckets());
            place.buckets.into_iter().find_map(|bucket| {
                let slot = TableHint::choose(arrays.hints(bucket), place);
                let slot = arrays.slot(slot.checked_sub(1)?);
                (slot.key == key.words()).then_some(slot.record)
            })
        }

        fn all(&self) -> BTreeMap<MapKey, NameRecord> {
            let buckets = 0..self.arrays.table_buckets();
            let records = buckets.flat_map(|bucket| records(&self.arrays, bucket));
            records.map(|(_, key, record)| (key, record)).collect()
        }
    }

    fn key(i: u32) -> MapKey {
        let text = format!("{i}");
        let wire = [&[text.len() as u8], text.as_bytes()].concat();
        MapKey::of_name(&wire).unwrap()
    }

    fn record(set: u32) -> NameRecord {
        NameRecord {
            set,
            ..NameRecord::default()
        }
    }

    #[test]
    fn a_stored_record_is_found_by_programs() {
        let mut table = Tested::new(64);
        let mut expected = BTreeMap::new();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut refused = 0;
        for turn in 0..20_000 {
            let i = rng.u32(..96);
            if rng.bool() {
                assert_eq!(table.delete(i), expected.remove(&i).is_some());
            } else {
                match table.put(i, record(turn)) {
                    Stored::New(_) => assert!(expected.insert(i, turn).is_none()),
                    Stored::Replaced(_) => assert!(expected.insert(i, turn).is_some()),
                    Stored::NoRoom => {
                        assert!(!expected.contains_key(&i));
                        refused += 1;
                    }
                }
            }
            assert_eq!(table.table.used(), expected.len() as u64);
            assert_eq!(table.get(i), expected.get(&i).copied().map(record));
        }
        let all = table.all();
        let expected = expected.iter().map(|(i, turn)| (key(*i), record(*turn)));
        assert_eq!(all, expected.collect::<BTreeMap<_, _>>());
        assert!(refused < 400, "{refused}");

        // Another writer goes on where this one was.
        table.table = Table::open(&table.arrays);
        assert_eq!(table.table.used(), all.len() as u64);
        let fits = (100..200).filter(|i| matches!(table.put(*i, record(0)), Stored::New(_)));
        assert_eq!(fits.count(), 64 - all.len());
        let now = table.all();
        assert!(all.iter().all(|(key, record)| now[key] == *record));
    }

    /// The hints are hardly a limit: slots are used up first.
    #[test]
    fn every_slot_can_be_used() {
        for slots in [1, 2, 3, 1000, 30_000] {
            let mut table = Tested::new(slots);
            let mut stored = Vec::new();
            let mut names = 0..;
            while table.table.used() < u64::from(slots) {
                let i = names.next().unwrap();
                if matches!(table.put(i, record(i)), Stored::New(_)) {
                    stored.push(i);
                }
            }
            let refused = names.next().unwrap() - slots;
            assert!(refused <= slots / 1000, "{refused} of {slots}");
            assert_eq!(table.put(u32::MAX, record(0)), Stored::NoRoom);
            let first = stored[0];
            assert!(matches!(table.put(first, record(9)), Stored::Replaced(_)));
            assert_eq!(table.get(first), Some(record(9)), "in place");
            assert!(table.delete(first));
            assert!(matches!(table.put(first, record(0)), Stored::New(_)));
        }
    }

    /// A name is led to its slot once the slot is written.
    #[test]
    fn a_replaced_record_is_in_another_slot() {
        let mut table = Tested::new(4);
        let slot = |table: &Tested| find(&table.arrays, &table.hash_key, &key(0)).unwrap().slot;
        table.put(0, record(1));
        let before = slot(&table);
        table.put(0, record(2));
        assert_ne!(slot(&table), before);
        assert_eq!(table.arrays.slot(before).record, record(1));
    }

    /// A program looks at one hint of a tag in a bucket: a second one is refused.
    #[test]
    fn two_names_of_one_tag_are_not_in_one_bucket() {
        let mut table = Tested::new(4);
        let buckets = table.arrays.table_buckets();
        let place = TablePlace::of(key(0).hash(&table.hash_key), buckets);
        for bucket in place.buckets {
            table.arrays.put_hint(bucket, 3, TableHint::new(place, 3));
        }
        let other = TableSlot {
            key: [7; 5],
            ..TableSlot::default()
        };
        table.arrays.put_slot(3, &other);
        assert_eq!(table.put(0, record(1)), Stored::NoRoom);
        assert!(find(&table.arrays, &table.hash_key, &key(0)).is_none());
    }

    /// Names that shared buckets and tag with another's under every seed of the hash
    /// before this one.
    #[test]
    fn old_collisions_do_not_collide() {
        let wires: [&[u8]; 2] = [
            b"\x21aa44aaaazdadaaaalinjaaaeon8eaaafrp\x04evil",
            b"\x08payments\x04prod",
        ];
        for seed in 0..16 {
            let places = wires.map(|wire| {
                let key = MapKey::of_name(wire).unwrap_or_else(|| key(1));
                TablePlace::of(key.hash(&HashKey::from_seed(seed)), 1 << 15)
            });
            assert_ne!(places[0], places[1]);
        }
    }
}
