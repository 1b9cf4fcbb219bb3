//! The table of short keys, see [`headless_ebpf::abi::TableBucket`].
//!
//! A record is written to a free slot. Then the key's hint is set to this slot, and the slot
//! of the old record becomes free. A reader that still has the old hint may find another
//! key there, and so miss a name that exists. The writer's generation keeps the program
//! from denying such a name ([`headless_ebpf::abi::State::denies_since`]).

use std::collections::VecDeque;

use headless_ebpf::abi::{
    HashKey, KeyClass, NameRecord, TABLE_HINTS, TableBucket, TableHint, TablePlace, TableSlot,
};

use super::{BucketPlace, Placed, emptier};
use crate::maps::encode::MapKey;
use crate::maps::store::Arrays;

/// A record of the table.
#[derive(Clone, Copy, Debug)]
pub(in crate::maps) struct TableRecord {
    bucket: u32,
    at: usize,
    slot: u32,
    /// The record.
    pub(super) record: NameRecord,
}

impl TableRecord {
    /// Number of the record's hint among all hints of all buckets.
    pub(in crate::maps) fn hint(&self) -> usize {
        hint_number(self.bucket, self.at)
    }
}

fn hint_number(bucket: u32, at: usize) -> usize {
    bucket as usize * TABLE_HINTS + at
}

/// Looks up a key of class [`KeyClass::Short`].
pub(in crate::maps) fn find(
    arrays: &Arrays,
    hash_key: &HashKey,
    key: &MapKey,
) -> Option<TableRecord> {
    let place = TablePlace::of(key.hash(hash_key), arrays.table_buckets());
    for bucket in place.buckets {
        for (at, hint) in arrays.hints(bucket).into_iter().enumerate() {
            let Some(slot) = hint.slot().filter(|_| hint.is_of(place)) else {
                continue;
            };
            let TableSlot { key: found, record } = arrays.slot(slot);
            if found == key.words() {
                return Some(TableRecord {
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
pub(in crate::maps) fn records(
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

/// The free slots of the table.
#[derive(Debug)]
pub(in crate::maps) struct Table {
    /// Slots that were freed, the earliest first.
    free: VecDeque<u32>,
    /// Slots from this index on have never been used.
    fresh: u32,
}

impl Table {
    /// Finds the free slots of a table that may have records.
    pub(in crate::maps) fn open(arrays: &Arrays) -> Self {
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

    /// Number of used slots.
    pub(in crate::maps) fn used(&self) -> u64 {
        u64::from(self.fresh) - self.free.len() as u64
    }

    /// Stores the record of a key of class [`KeyClass::Short`]. A new key has no room if all
    /// slots or all of its hints are taken, or if another key with the same tag is in one of
    /// its buckets: programs look at one hint of each tag.
    pub(in crate::maps) fn put(
        &mut self,
        arrays: &Arrays,
        hash_key: &HashKey,
        key: &MapKey,
        record: NameRecord,
    ) -> Placed {
        let slot = TableSlot {
            key: key.first_words(),
            record,
        };
        let place = TablePlace::of(key.hash(hash_key), arrays.table_buckets());
        if let Some(found) = find(arrays, hash_key, key) {
            let Some(number) = self.take(arrays) else {
                // A reader that sees a part of both records notices by the seal.
                arrays.put_slot(found.slot, &slot);
                return Placed::Replaced(found.hint());
            };
            arrays.put_slot(number, &slot);
            arrays.put_hint(found.bucket, found.at, TableHint::new(place, number));
            self.free.push_back(found.slot);
            return Placed::Replaced(found.hint());
        }
        let Some((bucket, at)) = free_hint(arrays, place) else {
            return Placed::NoRoom;
        };
        let Some(number) = self.take(arrays) else {
            return Placed::NoRoom;
        };
        arrays.put_slot(number, &slot);
        arrays.put_hint(bucket, at, TableHint::new(place, number));
        Placed::New(hint_number(bucket, at))
    }

    /// Deletes a record.
    pub(in crate::maps) fn delete(&mut self, arrays: &Arrays, found: &TableRecord) {
        arrays.put_hint(found.bucket, found.at, TableHint::default());
        self.free.push_back(found.slot);
    }

    /// Clears the hint with this number. The slot counts as used until [`Table::open`].
    pub(in crate::maps) fn delete_hint(arrays: &Arrays, number: usize) {
        let (bucket, at) = (number / TABLE_HINTS, number % TABLE_HINTS);
        arrays.put_hint(bucket as u32, at, TableHint::default());
    }

    /// Takes a free slot. `None` if all are used. The slot that was freed first is used
    /// first, so that hardly a reader still has its old hint.
    fn take(&mut self, arrays: &Arrays) -> Option<u32> {
        if self.fresh < arrays.table_slots() {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        self.free.pop_front()
    }
}

/// A free hint in the emptier of a key's buckets. `None` if both buckets are full, or if one
/// has a hint with the same tag.
fn free_hint(arrays: &Arrays, place: TablePlace) -> Option<BucketPlace> {
    let buckets = place.buckets.map(|bucket| (bucket, arrays.hints(bucket)));
    let has_tag = |(_, hints): &(u32, TableBucket)| hints.iter().any(|hint| hint.is_of(place));
    if buckets.iter().any(has_tag) {
        return None;
    }
    emptier(&buckets, |hint| hint.slot().is_none())
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

        fn put(&mut self, i: u32, record: NameRecord) -> Placed {
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

        /// Looks up a name as the programs do, by one hint with the tag in each bucket.
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
    fn programs_find_stored_records() {
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
                    Placed::New(_) => assert!(expected.insert(i, turn).is_none()),
                    Placed::Replaced(_) => assert!(expected.insert(i, turn).is_some()),
                    Placed::NoRoom => {
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

        // Another writer finds the free slots.
        table.table = Table::open(&table.arrays);
        assert_eq!(table.table.used(), all.len() as u64);
        let fits = (100..200).filter(|i| matches!(table.put(*i, record(0)), Placed::New(_)));
        assert_eq!(fits.count(), 64 - all.len());
        let now = table.all();
        assert!(all.iter().all(|(key, record)| now[key] == *record));
    }

    /// All slots are used before hints become scarce.
    #[test]
    fn every_slot_can_be_used() {
        for slots in [1, 2, 3, 1000, 30_000] {
            let mut table = Tested::new(slots);
            let mut stored = Vec::new();
            let mut names = 0..;
            while table.table.used() < u64::from(slots) {
                let i = names.next().unwrap();
                if matches!(table.put(i, record(i)), Placed::New(_)) {
                    stored.push(i);
                }
            }
            let refused = names.next().unwrap() - slots;
            assert!(refused <= slots / 1000, "{refused} of {slots}");
            assert_eq!(table.put(u32::MAX, record(0)), Placed::NoRoom);
            let first = stored[0];
            assert!(matches!(table.put(first, record(9)), Placed::Replaced(_)));
            assert_eq!(table.get(first), Some(record(9)), "written in its own slot");
            assert!(table.delete(first));
            assert!(matches!(table.put(first, record(0)), Placed::New(_)));
        }
    }

    /// The hint changes once the new slot is written, so the old slot keeps its record.
    #[test]
    fn a_replaced_record_moves_to_another_slot() {
        let mut table = Tested::new(4);
        let slot = |table: &Tested| find(&table.arrays, &table.hash_key, &key(0)).unwrap().slot;
        table.put(0, record(1));
        let before = slot(&table);
        table.put(0, record(2));
        assert_ne!(slot(&table), before);
        assert_eq!(table.arrays.slot(before).record, record(1));
    }

    /// Programs look at one hint of each tag in a bucket, so a second one is refused.
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
        assert_eq!(table.put(0, record(1)), Placed::NoRoom);
        assert!(find(&table.arrays, &table.hash_key, &key(0)).is_none());
    }

    /// Two names that have the same buckets and tag under a hash without a secret key.
    #[test]
    fn names_that_collide_without_a_key_do_not_collide() {
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
