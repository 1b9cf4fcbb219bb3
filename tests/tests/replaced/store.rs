//! Records what the agent's writer stores in maps in memory, and stores the same in the
//! kernel's maps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use headless_agent::maps::kernel::KernelSink;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{MapKey, RecordSink as _};
use headless_agent::records::{NameChange, RelativeName};
use headless_ebpf::abi::{Chunk, KeyClass, NameRecord, TableHint, TableSlot};
use headless_tests::maps;

use crate::names::{Name, Place, Turn, VERSIONS, few};

/// One stored element. A change of the writer is a list of them.
pub(crate) enum Store {
    Chunk(u32, Chunk),
    Slot(u32, TableSlot),
    Put(MapKey, NameRecord),
    Delete(MapKey),
    Hint(u32, usize, TableHint),
}

impl Store {
    fn apply(&self, sink: &mut KernelSink) {
        match self {
            Self::Chunk(index, chunk) => sink.arrays().put_chunk(*index, chunk),
            Self::Slot(index, slot) => sink.arrays().put_slot(*index, slot),
            Self::Put(key, record) => _ = sink.put(key, *record).unwrap(),
            Self::Delete(key) => assert!(sink.delete(key).unwrap()),
            Self::Hint(bucket, at, hint) => sink.arrays().put_hint(*bucket, *at, *hint),
        }
    }
}

/// The content of maps.
struct Content {
    chunks: Vec<Chunk>,
    slots: Vec<TableSlot>,
    records: BTreeMap<MapKey, NameRecord>,
    hints: Vec<(u32, usize, TableHint)>,
}

impl Content {
    fn of(sink: &MemorySink) -> Self {
        let arrays = sink.arrays();
        let mut records = BTreeMap::new();
        sink.for_each(KeyClass::Short, &mut |key, record| {
            records.insert(key, record);
        })
        .unwrap();
        let hints = (0..arrays.table_buckets()).flat_map(|bucket| {
            let hints = arrays.hints(bucket).into_iter().enumerate();
            hints.map(move |(at, hint)| (bucket, at, hint))
        });
        Self {
            chunks: (0..arrays.chunks()).map(|at| arrays.chunk(at)).collect(),
            slots: (0..arrays.table_slots())
                .map(|at| arrays.slot(at))
                .collect(),
            records,
            hints: hints.collect(),
        }
    }

    /// The stores that turn `before` into this content, in the order of the writer: chunks,
    /// slots, then records and hints that lead to them.
    fn since(&self, before: &Self) -> Vec<Store> {
        let chunks = (0..).zip(self.chunks.iter().zip(&before.chunks));
        let chunks = chunks.filter(|(_, (now, old))| now != old);
        let slots = (0..).zip(self.slots.iter().zip(&before.slots));
        let slots = slots.filter(|(_, (now, old))| now != old);
        let puts = self.records.iter();
        let puts = puts.filter(|(key, record)| before.records.get(key) != Some(record));
        let deletes = before.records.keys();
        let deletes = deletes.filter(|key| !self.records.contains_key(key));
        let hints = self.hints.iter().zip(&before.hints);
        let hints = hints.filter(|(now, old)| now != old);
        chunks
            .map(|(at, (now, _))| Store::Chunk(at, *now))
            .chain(slots.map(|(at, (now, _))| Store::Slot(at, *now)))
            .chain(puts.map(|(key, record)| Store::Put(*key, *record)))
            .chain(deletes.map(|key| Store::Delete(*key)))
            .chain(hints.map(|((bucket, at, hint), _)| Store::Hint(*bucket, *at, *hint)))
            .collect()
    }
}

/// Lets the agent's writer write names in all their versions. Returns the maps with the first
/// versions, and the stores of each change. The last change leads back to these maps.
pub(crate) fn record(place: Place, names: &[Name], turn: Turn) -> (MemorySink, Vec<Vec<Store>>) {
    let config = maps::config("cluster.local", 30);
    let mut writer = maps::writer(MemorySink::new(config, place.capacities()));
    for label in place.others() {
        let change = NameChange {
            name: RelativeName::from_labels([*label]).unwrap(),
            data: Some(few(0, 0)),
        };
        writer.write(&[change], &maps::no_index());
    }
    for name in names {
        writer.write(&[name.change(Some(0))], &maps::no_index());
    }
    // After the last version all extents and slots may be others than at the start. The last
    // change also restores these.
    let mut first = MemorySink::new(config, place.capacities());
    maps::copy(writer.sink(), &mut first);
    let start = Content::of(&first);
    let mut before = Content::of(&first);
    let mut changes = Vec::new();
    for version in (1..VERSIONS).chain([0]) {
        for name in names {
            let parts = match turn {
                Turn::Replace | Turn::Marked => vec![name.change(Some(version))],
                Turn::DeleteFirst => vec![name.change(None), name.change(Some(version))],
            };
            for part in parts {
                apply(&mut writer, part);
                let now = Content::of(writer.sink());
                changes.push(now.since(&before));
                before = now;
            }
        }
    }
    changes.push(start.since(&before));
    (first, changes)
}

fn apply(writer: &mut Writer<MemorySink>, change: NameChange) {
    writer.write(&[change], &maps::no_index());
    assert_eq!((writer.failed().len(), writer.crowded().len()), (0, 0));
}

/// Stores all changes in turns until `stop` is set.
pub(crate) fn write_all(
    sink: &mut KernelSink,
    changes: &[Vec<Store>],
    turn: Turn,
    stop: &AtomicBool,
) {
    let mut state = maps::state();
    let mut mark = |sink: &mut KernelSink| {
        if turn == Turn::Marked {
            state = state.next_generation();
            sink.put_state(state).unwrap();
        }
    };
    while !stop.load(Ordering::Relaxed) {
        for change in changes {
            mark(sink);
            for store in change {
                store.apply(sink);
            }
            mark(sink);
        }
    }
}
