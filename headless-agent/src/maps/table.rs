//! The table of short names, see [`headless_ebpf::abi::TableBucket`].
//!
//! A name is written to a slot that nobody is led to, then a hint leads there, then
//! the slot before is free. A reader that was led to a slot which is another's by now
//! finds another key there, and misses a name that is there: the writer's generation
//! keeps it from denying that name ([`headless_ebpf::abi::State::denies_since`]).

use std::collections::{BTreeSet, VecDeque};

use headless_ebpf::abi::{
    KeyClass, NameRecord, TABLE_HINTS, TableBucket, TableHint, TablePlace, TableSlot,
};

use super::{MapName, SinkError};

/// How many buckets a table of so many slots has: half of the hints are for them, so
/// that of a name's two buckets one has room.
pub fn buckets(slots: u32) -> u32 {
    const SLOTS: u32 = TABLE_HINTS as u32 / 2;
    slots.div_ceil(SLOTS).next_power_of_two()
}

/// Where a table is.
pub trait Arrays {
    /// How many buckets and slots there are.
    fn sizes(&self) -> (u32, u32);
    /// A bucket.
    fn bucket(&self, index: u32) -> Result<TableBucket, SinkError>;
    /// Replaces a bucket.
    fn put_bucket(&mut self, index: u32, bucket: TableBucket) -> Result<(), SinkError>;
    /// A slot.
    fn slot(&self, index: u32) -> Result<TableSlot, SinkError>;
    /// Replaces a slot.
    fn put_slot(&mut self, index: u32, slot: TableSlot) -> Result<(), SinkError>;
}

/// What became of a name that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is there for the first time.
    New,
    /// It was there with another record.
    Replaced,
    /// Slots or hints are taken, or another name would be mistaken for it.
    NoRoom,
}

/// A table, and which of its slots are free.
#[derive(Debug)]
pub struct Table<A> {
    pub(super) arrays: A,
    /// [`headless_ebpf::abi::Config::seal_seed`].
    pub(super) seed: u64,
    /// Slots that were used and are not any more.
    free: VecDeque<u32>,
    /// Slots from here on have not been used.
    fresh: u32,
}

/// Where a name is.
#[derive(Clone, Copy, Debug)]
struct Found {
    bucket: u32,
    hint: usize,
    slot: u32,
    record: NameRecord,
}

impl<A: Arrays> Table<A> {
    /// The table in these arrays, with what an earlier writer has left there.
    pub fn open(arrays: A, seed: u64) -> Result<Self, SinkError> {
        let mut used = BTreeSet::new();
        for index in 0..arrays.sizes().0 {
            used.extend(arrays.bucket(index)?.iter().filter_map(|hint| hint.slot()));
        }
        let fresh = used.last().map_or(0, |last| last + 1);
        Ok(Self {
            arrays,
            seed,
            free: (0..fresh).filter(|slot| !used.contains(slot)).collect(),
            fresh,
        })
    }

    /// How many names are in it.
    pub fn used(&self) -> u64 {
        u64::from(self.fresh) - self.free.len() as u64
    }

    fn place(&self, name: &MapName) -> TablePlace {
        TablePlace::of(name.seal(self.seed), self.arrays.sizes().0)
    }

    fn find(&self, name: &MapName) -> Result<Option<Found>, SinkError> {
        let place = self.place(name);
        for index in place.buckets {
            let bucket = self.arrays.bucket(index)?;
            for (hint, found) in bucket.iter().enumerate() {
                let Some(slot) = found.slot().filter(|_| found.is_of(place)) else {
                    continue;
                };
                let TableSlot { key, record } = self.arrays.slot(slot)?;
                if key == name.words() {
                    return Ok(Some(Found {
                        bucket: index,
                        hint,
                        slot,
                        record,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The record of a name of class [`KeyClass::Short`].
    pub fn get(&self, name: &MapName) -> Result<Option<NameRecord>, SinkError> {
        Ok(self.find(name)?.map(|found| found.record))
    }

    /// Stores the record of such a name.
    pub fn put(&mut self, name: &MapName, record: NameRecord) -> Result<Stored, SinkError> {
        let mut key = [0; KeyClass::Short.words()];
        key.copy_from_slice(name.words());
        let slot = TableSlot { key, record };
        let place = self.place(name);
        if let Some(found) = self.find(name)? {
            let Some(index) = self.take() else {
                // A reader may see some of both, which the seal tells.
                self.arrays.put_slot(found.slot, slot)?;
                return Ok(Stored::Replaced);
            };
            self.arrays.put_slot(index, slot)?;
            let mut bucket = self.arrays.bucket(found.bucket)?;
            bucket[found.hint] = TableHint::new(place, index);
            self.arrays.put_bucket(found.bucket, bucket)?;
            self.free.push_back(found.slot);
            return Ok(Stored::Replaced);
        }
        let mut best: Option<(u32, TableBucket, usize)> = None;
        for index in place.buckets {
            let bucket = self.arrays.bucket(index)?;
            if bucket.iter().any(|hint| hint.is_of(place)) {
                return Ok(Stored::NoRoom);
            }
            let empty = bucket.iter().filter(|hint| hint.slot().is_none()).count();
            if empty > best.map_or(0, |(_, _, most)| most) {
                best = Some((index, bucket, empty));
            }
        }
        let Some((index, mut bucket, _)) = best else {
            return Ok(Stored::NoRoom);
        };
        let Some(number) = self.take() else {
            return Ok(Stored::NoRoom);
        };
        self.arrays.put_slot(number, slot)?;
        if let Some(hint) = bucket.iter_mut().find(|hint| hint.slot().is_none()) {
            *hint = TableHint::new(place, number);
        }
        self.arrays.put_bucket(index, bucket)?;
        Ok(Stored::New)
    }

    /// Removes such a name and says whether it was there.
    pub fn delete(&mut self, name: &MapName) -> Result<bool, SinkError> {
        let Some(found) = self.find(name)? else {
            return Ok(false);
        };
        let mut bucket = self.arrays.bucket(found.bucket)?;
        bucket[found.hint] = TableHint::default();
        self.arrays.put_bucket(found.bucket, bucket)?;
        self.free.push_back(found.slot);
        Ok(true)
    }

    /// Visits all of it, in no order.
    pub fn for_each(&self, visit: &mut dyn FnMut(MapName, NameRecord)) -> Result<(), SinkError> {
        for index in 0..self.arrays.sizes().0 {
            for hint in self.arrays.bucket(index)? {
                if let Some(slot) = hint.slot() {
                    let TableSlot { key, record } = self.arrays.slot(slot)?;
                    visit(MapName::from_words(KeyClass::Short, &key), record);
                }
            }
        }
        Ok(())
    }

    /// A slot that nobody is led to; `None` where all are used. One that was given
    /// back last is used last, so that few readers are on their way to it.
    fn take(&mut self) -> Option<u32> {
        if self.fresh < self.arrays.sizes().1 {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        self.free.pop_front()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;

    struct Memory {
        buckets: Vec<TableBucket>,
        slots: Vec<TableSlot>,
    }

    impl Arrays for Memory {
        fn sizes(&self) -> (u32, u32) {
            (self.buckets.len() as u32, self.slots.len() as u32)
        }

        fn bucket(&self, index: u32) -> Result<TableBucket, SinkError> {
            Ok(self.buckets[index as usize])
        }

        fn put_bucket(&mut self, index: u32, bucket: TableBucket) -> Result<(), SinkError> {
            self.buckets[index as usize] = bucket;
            Ok(())
        }

        fn slot(&self, index: u32) -> Result<TableSlot, SinkError> {
            Ok(self.slots[index as usize])
        }

        fn put_slot(&mut self, index: u32, slot: TableSlot) -> Result<(), SinkError> {
            self.slots[index as usize] = slot;
            Ok(())
        }
    }

    fn table(slots: u32) -> Table<Memory> {
        let memory = Memory {
            buckets: vec![TableBucket::default(); buckets(slots) as usize],
            slots: vec![TableSlot::default(); slots as usize],
        };
        Table::open(memory, 1).unwrap()
    }

    fn name(i: u32) -> MapName {
        let text = format!("{i}");
        let wire = [&[text.len() as u8], text.as_bytes()].concat();
        MapName::from_wire(&wire).unwrap()
    }

    fn record(i: u32) -> NameRecord {
        NameRecord::default().with_set(i)
    }

    /// As a program looks a name up: by the first hint with the tag in either bucket.
    fn program(table: &Table<Memory>, name: &MapName) -> Option<NameRecord> {
        let place = table.place(name);
        place.buckets.into_iter().find_map(|index| {
            let slot = TableHint::choose(table.arrays.buckets[index as usize], place);
            let slot = table.arrays.slots[slot.checked_sub(1)? as usize];
            (slot.key == name.words()).then_some(slot.record)
        })
    }

    #[test]
    fn what_is_stored_is_found_by_programs() {
        let mut table = table(64);
        let mut expected = BTreeMap::new();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut refused = 0;
        for turn in 0..20_000 {
            let i = rng.u32(..96);
            if rng.bool() {
                assert_eq!(
                    table.delete(&name(i)).unwrap(),
                    expected.remove(&i).is_some()
                );
            } else {
                match table.put(&name(i), record(turn)).unwrap() {
                    Stored::New => assert!(expected.insert(i, turn).is_none()),
                    Stored::Replaced => assert!(expected.insert(i, turn).is_some()),
                    Stored::NoRoom => {
                        assert!(!expected.contains_key(&i));
                        refused += 1;
                    }
                }
            }
            assert_eq!(table.used(), expected.len() as u64);
            let found = expected.get(&i).copied().map(record);
            assert_eq!(program(&table, &name(i)), found);
            assert_eq!(table.get(&name(i)).unwrap(), found);
        }
        let mut all = BTreeMap::new();
        table
            .for_each(&mut |name, record| _ = all.insert(name, record))
            .unwrap();
        let expected = expected.iter().map(|(i, turn)| (name(*i), record(*turn)));
        assert_eq!(all, expected.collect::<BTreeMap<_, _>>());
        assert!(refused < 200, "{refused}");

        // Another writer goes on where this one was.
        let mut next = Table::open(table.arrays, 1).unwrap();
        assert_eq!(next.used(), all.len() as u64);
        let fits = (100..164).filter(|i| next.put(&name(*i), record(0)).unwrap() == Stored::New);
        assert_eq!(fits.count(), 64 - all.len());
        for (name, record) in all {
            assert_eq!(next.get(&name).unwrap(), Some(record));
        }
    }

    /// The hints are no limit: slots are used up first.
    #[test]
    fn every_slot_can_be_used() {
        for slots in [1, 2, 3, 1000, 30_000] {
            let mut table = table(slots);
            for i in 0..slots {
                assert_eq!(table.put(&name(i), record(i)).unwrap(), Stored::New);
            }
            assert_eq!(table.put(&name(slots), record(0)).unwrap(), Stored::NoRoom);
            assert_eq!(table.put(&name(0), record(9)).unwrap(), Stored::Replaced);
            assert_eq!(program(&table, &name(0)), Some(record(9)), "in place");
            assert!(table.delete(&name(0)).unwrap());
            assert_eq!(table.put(&name(slots), record(0)).unwrap(), Stored::New);
        }
    }

    /// A name is led to its slot once the slot is written.
    #[test]
    fn a_replaced_record_is_another_slot() {
        let mut table = table(4);
        table.put(&name(0), record(1)).unwrap();
        let before = table.find(&name(0)).unwrap().unwrap().slot;
        table.put(&name(0), record(2)).unwrap();
        assert_ne!(table.find(&name(0)).unwrap().unwrap().slot, before);
        assert_eq!(table.arrays.slots[before as usize].record, record(1));
    }

    /// A program looks at one hint of a tag in a bucket: a second one is refused.
    #[test]
    fn two_names_of_one_tag_are_not_in_one_bucket() {
        let mut table = table(4);
        let place = table.place(&name(0));
        for at in place.buckets {
            table.arrays.buckets[at as usize][3] = TableHint::new(place, 3);
        }
        table.arrays.slots[3].key = [7; 5];
        assert_eq!(table.put(&name(0), record(1)).unwrap(), Stored::NoRoom);
        assert_eq!(table.get(&name(0)).unwrap(), None);
    }
}
