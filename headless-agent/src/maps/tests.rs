//! The writer against maps in memory, as the engine would read them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headless_ebpf::abi::{
    Chunk, ChunkKey, DetailsHeader, KeyClass, NameFlags, NameRecord, ReverseBucket, SET_NUMBER_MAX,
    ServerAddress, State,
};

use super::encode;
use super::heartbeat::{Beat, monotonic_ns};
use super::memory::MemorySink;
use super::reconcile::Drift;
use super::writer::Writer;
use super::{MapKind, MapName, RecordSink, SinkError, WriteCounts};
use crate::records::{Details, NameChange, NameData, Pointers, RelativeName, Target, Targets};

const SEED: u64 = 0x5eed;

fn name(text: &str) -> RelativeName {
    RelativeName::from_labels(text.split('.')).unwrap()
}

fn data(addresses: u32) -> NameData {
    NameData {
        flags: NameFlags::empty(),
        ipv4: (0..addresses)
            .map(|i| Ipv4Addr::from(0x0a00_0000 + i))
            .collect(),
        ipv6: Vec::new(),
        details: None,
    }
}

fn change(text: &str, data: Option<NameData>) -> NameChange {
    NameChange {
        name: name(text),
        data,
    }
}

fn writer() -> Writer<MemorySink> {
    Writer::new(MemorySink::default(), SEED, Arc::<WriteCounts>::default())
}

/// Whether negative answers may be given.
fn complete(writer: &Writer<MemorySink>) -> bool {
    writer.sink().state.flags & State::COMPLETE != 0
}

fn beat(writer: &mut Writer<MemorySink>) {
    let beat = Beat {
        lease: Duration::from_secs(30),
        serial: 7,
        synced: true,
    };
    writer.beat(beat).unwrap();
}

/// The addresses that a reader of the maps finds, by following the set.
fn read(sink: &MemorySink, text: &str) -> Option<Vec<Ipv4Addr>> {
    let key = MapName::from_wire(name(text).as_bytes()).unwrap();
    let record = sink.names.get(&key)?;
    assert_eq!(record.seal, record.sealed(key.seal(SEED)).seal, "sealed");
    let bytes: Vec<u8> = if record.flags.contains(NameFlags::SET) {
        let words = encode::address_chunks(record).flat_map(|key| sink.chunks[&key].words);
        words.flat_map(u64::to_le_bytes).collect()
    } else {
        record.inline.to_vec()
    };
    let addresses = bytes.as_chunks::<4>().0.iter().copied().map(Ipv4Addr::from);
    Some(addresses.take(record.ipv4.into()).collect())
}

#[test]
fn what_is_applied_is_read() {
    let mut writer = writer();
    for (text, addresses) in [
        ("few.default", 3),
        ("many.default", 40),
        ("none.default", 0),
    ] {
        writer.apply(&[change(text, Some(data(addresses)))]);
        assert_eq!(read(writer.sink(), text).unwrap(), data(addresses).ipv4);
    }
    assert_eq!(writer.counts.entries(MapKind::NamesShort), 3);
    assert_eq!(writer.counts.entries(MapKind::Chunks), 2);
    writer.apply(&[change("many.default", None)]);
    assert_eq!(read(writer.sink(), "many.default"), None);
    assert!(writer.sink().chunks.is_empty(), "its chunks are gone");
    assert_eq!(writer.counts.entries(MapKind::NamesShort), 2);
    assert_eq!(writer.counts.entries(MapKind::Chunks), 0);
}

#[test]
fn a_set_gets_a_new_number_with_every_change() {
    let mut writer = writer();
    let mut numbers = Vec::new();
    for addresses in [10, 11, 60, 12] {
        writer.apply(&[change("web.default", Some(data(addresses)))]);
        let sets: Vec<u32> = writer.sink().chunks.keys().map(|key| key.set).collect();
        assert!(sets.iter().all(|set| set == &sets[0]), "one set: {sets:?}");
        assert!(!numbers.contains(&sets[0]), "number {} twice", sets[0]);
        numbers.push(sets[0]);
        assert_eq!(
            read(writer.sink(), "web.default").unwrap(),
            data(addresses).ipv4
        );
    }
    writer.apply(&[change("web.default", Some(data(1)))]);
    assert!(writer.sink().chunks.is_empty());
    assert_eq!(read(writer.sink(), "web.default").unwrap().len(), 1);
}

#[test]
fn numbers_in_use_are_skipped_when_they_start_over() {
    let mut writer = writer();
    writer.apply(&[change("web.default", Some(data(10)))]);
    let used = sets(&writer)[0];
    writer.next_set = SET_NUMBER_MAX;
    writer.apply(&[change("a.default", Some(data(10)))]);
    writer.apply(&[change("b.default", Some(data(10)))]);
    assert_eq!(sets(&writer), [used, used + 1, SET_NUMBER_MAX]);
}

/// The numbers of the installed sets, in order.
fn sets(writer: &Writer<MemorySink>) -> Vec<u32> {
    let chunks = writer.sink().chunks.keys();
    chunks
        .map(|key| key.set)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Looks at the maps before each write of a name or chunk, and after it.
struct Checked {
    sink: MemorySink,
    before: fn(&MemorySink),
    after: fn(&MemorySink),
}

macro_rules! checked {
    ($($name:ident($($argument:ident: $type:ty),*) -> $value:ty;)+) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<$value, SinkError> {
            (self.before)(&self.sink);
            let result = self.sink.$name($($argument),*);
            (self.after)(&self.sink);
            result
        })+
    };
}

impl RecordSink for Checked {
    checked! {
        put_name(name: &MapName, record: NameRecord) -> Option<MapKind>;
        delete_name(name: &MapName) -> Option<MapKind>;
        put_chunk(key: ChunkKey, chunk: Chunk) -> bool;
        delete_chunk(key: ChunkKey) -> bool;
    }

    fn name(&self, name: &MapName) -> Result<Option<NameRecord>, SinkError> {
        self.sink.name(name)
    }

    fn for_each_name(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapName, NameRecord),
    ) -> Result<(), SinkError> {
        self.sink.for_each_name(class, visit)
    }

    fn chunk(&self, key: ChunkKey) -> Result<Option<Chunk>, SinkError> {
        self.sink.chunk(key)
    }

    fn chunk_keys(&self) -> Result<Vec<ChunkKey>, SinkError> {
        self.sink.chunk_keys()
    }

    fn put_server(&mut self, address: ServerAddress, index: u32) -> Result<bool, SinkError> {
        self.sink.put_server(address, index)
    }

    fn delete_server(&mut self, address: ServerAddress) -> Result<bool, SinkError> {
        self.sink.delete_server(address)
    }

    fn servers(&self) -> Result<Vec<(ServerAddress, u32)>, SinkError> {
        self.sink.servers()
    }

    fn table_len(&self) -> u64 {
        self.sink.table_len()
    }

    fn reverse_buckets(&self) -> u32 {
        self.sink.reverse_buckets()
    }

    fn reverse_bucket(&self, index: u32) -> Result<ReverseBucket, SinkError> {
        self.sink.reverse_bucket(index)
    }

    fn put_reverse_bucket(&mut self, index: u32, bucket: ReverseBucket) -> Result<(), SinkError> {
        self.sink.put_reverse_bucket(index, bucket)
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.sink.put_state(state)
    }
}

/// A writer whose writes are looked at.
fn checked(before: fn(&MemorySink), after: fn(&MemorySink)) -> Writer<Checked> {
    let sink = Checked {
        sink: MemorySink::default(),
        before,
        after,
    };
    Writer::new(sink, SEED, Arc::<WriteCounts>::default())
}

/// Whether every record's chunks are all there, so that no reader sees a half state.
fn has_all_chunks(sink: &MemorySink) {
    for record in sink.names.values() {
        for key in encode::address_chunks(record) {
            assert!(sink.chunks.contains_key(&key), "{key:?}");
        }
        for first in encode::first_details(record) {
            let header = sink.chunks[&first].words[0];
            for index in 0..DetailsHeader::from_word(header).chunks {
                let key = ChunkKey { index, ..first };
                assert!(sink.chunks.contains_key(&key), "{key:?}");
            }
        }
    }
}

#[test]
fn no_write_leaves_a_record_without_its_chunks() {
    let mut writer = checked(|_| {}, has_all_chunks);
    for addresses in [40, 90, 2, 30, 0] {
        writer.apply(&[change("web.default", Some(detailed(addresses)))]);
        assert_eq!(
            read(&writer.sink().sink, "web.default").unwrap().len(),
            addresses as usize
        );
    }
    writer.apply(&[change("web.default", None)]);
    assert_eq!(read(&writer.sink().sink, "web.default"), None);
}

#[test]
fn every_write_of_a_name_is_in_an_odd_generation() {
    let is_odd = |sink: &MemorySink| assert_ne!(sink.state.flags & State::GENERATION, 0);
    let mut writer = checked(is_odd, |_| {});
    let before = writer.sink().sink.state;
    for data in [Some(detailed(40)), Some(detailed(3)), None] {
        writer.apply(&[change("web.default", data)]);
    }
    writer.sink.sink.capacity = HashMap::from([(MapKind::NamesShort, 0)]);
    writer.apply(&[change("api.default", Some(data(1)))]);
    writer.retry(|_| Some(data(2)));
    writer.sink.sink.capacity.clear();
    let names = [(name("api.default"), data(2))];
    let drift = writer.reconcile(|_| Some(data(2)), names.into_iter(), &Pointers::default());
    assert_eq!(
        drift.unwrap().total(),
        0,
        "known to be missing, now written"
    );
    let after = writer.sink().sink.state;
    assert!(!after.denies_since(before) && after.denies_since(after));
}

#[test]
fn a_full_map_withdraws_negative_answers_until_there_is_room() {
    let mut writer = writer();
    writer.sink.capacity = HashMap::from([(MapKind::NamesShort, 1)]);
    writer.apply(&[change("a.default", Some(data(1)))]);
    beat(&mut writer);
    assert!(complete(&writer));

    writer.apply(&[change("b.default", Some(data(2)))]);
    assert!(!complete(&writer), "at once, not with the next beat");
    assert_eq!(
        writer.failed().collect::<Vec<_>>(),
        [name("b.default").as_bytes()]
    );
    assert_eq!(writer.counts.full.load(Ordering::Relaxed), 1);
    let deadline = writer.sink().state.deadline_ns;
    beat(&mut writer);
    assert!(!complete(&writer), "nor by the next beat");
    assert!(writer.sink().state.deadline_ns >= deadline);

    writer.retry(|_| Some(data(2)));
    assert_eq!(read(writer.sink(), "b.default"), None, "still full");
    let names = HashMap::from([(name("a.default"), data(1)), (name("b.default"), data(2))]);
    assert_eq!(
        reconcile(&mut writer, &names),
        Drift::default(),
        "known to be missing"
    );
    writer.apply(&[change("a.default", None)]);
    writer.retry(|_| Some(data(3)));
    assert_eq!(
        read(writer.sink(), "b.default").unwrap().len(),
        3,
        "as it is now"
    );
    assert_eq!(writer.counts.pending.load(Ordering::Relaxed), 0);
    beat(&mut writer);
    assert!(complete(&writer));
}

/// A Service of so many named endpoints.
fn detailed(endpoints: u32) -> NameData {
    let target = |i: u32| Target {
        label: Some(format!("web-{i}").into()),
        addresses: vec![Ipv4Addr::from(0x0a00_0000 + i).into()],
        ports: Box::default(),
    };
    let targets = Targets {
        ports: Vec::new(),
        targets: (0..endpoints).map(target).collect(),
        endpoints: endpoints as usize,
    };
    NameData {
        details: Some(Box::new(Details {
            own: None,
            endpoints: Some(targets),
        })),
        ..data(endpoints)
    }
}

#[test]
fn details_come_and_go_with_their_name() {
    let mut writer = writer();
    let chunks = |writer: &Writer<MemorySink>| writer.sink().chunks.len();
    writer.apply(&[change("web.default", Some(detailed(3)))]);
    assert_eq!(chunks(&writer), 1);
    writer.apply(&[change("web.default", Some(detailed(40)))]);
    // 40 addresses, then 8 bytes before the first target and some 14 each.
    assert_eq!(chunks(&writer), 2 + 5);
    assert_eq!(writer.counts.entries(MapKind::Chunks), 7);
    let names = HashMap::from([(name("web.default"), detailed(40))]);
    assert_eq!(reconcile(&mut writer, &names), Drift::default());

    let last = *writer.sink().chunks.keys().max().unwrap();
    writer.sink.chunks.remove(&last).unwrap();
    let drift = reconcile(&mut writer, &names);
    assert_eq!((drift.missing, drift.differing), (0, 1));
    assert_eq!(chunks(&writer), 7);
    writer.apply(&[change("web.default", None)]);
    assert_eq!(chunks(&writer), 0);
}

#[test]
fn a_failed_change_leaves_nothing_outdated() {
    let mut writer = writer();
    writer.apply(&[change("web.default", Some(data(2)))]);
    beat(&mut writer);
    writer.sink.capacity = HashMap::from([(MapKind::Chunks, 1)]);
    writer.apply(&[change("web.default", Some(data(100)))]);
    assert_eq!(
        read(writer.sink(), "web.default"),
        None,
        "the two addresses are old"
    );
    assert!(writer.sink().chunks.is_empty(), "nor half a set");
    assert!(!complete(&writer));
    assert_eq!(writer.counts.entries(MapKind::Chunks), 0);
    assert_eq!(writer.counts.entries(MapKind::NamesShort), 0);
    writer.apply(&[change("web.default", Some(data(20)))]);
    assert_eq!(read(writer.sink(), "web.default").unwrap().len(), 20);
    assert_eq!(writer.failed().len(), 0);
}

#[test]
fn a_beat_moves_the_deadline_by_the_lease() {
    let mut writer = writer();
    let before = monotonic_ns();
    beat(&mut writer);
    let (state, lease) = (writer.sink().state, 30_000_000_000);
    assert!((before + lease..=monotonic_ns() + lease).contains(&state.deadline_ns));
    assert_eq!(state.serial, 7);
    let unsynced = Beat {
        lease: Duration::from_secs(30),
        serial: 8,
        synced: false,
    };
    writer.beat(unsynced).unwrap();
    assert!(!complete(&writer));
}

#[test]
fn served_addresses_are_exactly_those_given() {
    let mut writer = writer();
    let [a, b, c] = [1, 2, 3].map(|i| ServerAddress([i; 4]));
    writer.serve(&[a, b]).unwrap();
    assert_eq!(writer.sink().servers, HashMap::from([(a, 0), (b, 1)]));
    writer.serve(&[b, c]).unwrap();
    assert_eq!(writer.sink().servers, HashMap::from([(b, 0), (c, 1)]));
    assert_eq!(writer.counts.entries(MapKind::Servers), 2);
}

fn reconcile(writer: &mut Writer<MemorySink>, names: &HashMap<RelativeName, NameData>) -> Drift {
    let found = |wire: &[u8]| names.iter().find(|(name, _)| name.as_bytes() == wire);
    let lookup = |wire: &[u8]| found(wire).map(|(_, data)| data.clone());
    let all = names
        .iter()
        .map(|(name, data)| (name.clone(), data.clone()));
    writer.reconcile(lookup, all, &Pointers::default()).unwrap()
}

#[test]
fn a_full_pass_makes_the_maps_the_index() {
    let mut writer = writer();
    let mut names = HashMap::from([
        (name("few.default"), data(3)),
        (name("many.default"), data(40)),
        (name("gone.default"), data(9)),
    ]);
    for (name, data) in &names {
        let data = Some(data.clone());
        writer.apply(&[NameChange {
            name: name.clone(),
            data,
        }]);
    }
    assert_eq!(reconcile(&mut writer, &names), Drift::default());

    names.remove(&name("gone.default"));
    names.insert(name("few.default"), data(4));
    names.insert(name("new.default"), data(7));
    let many = MapName::from_wire(name("many.default").as_bytes()).unwrap();
    let first = encode::address_chunks(&writer.sink.names[&many]).next();
    writer.sink.chunks.remove(&first.unwrap()).unwrap();
    let expected = Drift {
        missing: 1,
        differing: 2,
        stale: 1,
    };
    assert_eq!(reconcile(&mut writer, &names), expected);
    for (text, addresses) in [("few.default", 4), ("many.default", 40), ("new.default", 7)] {
        assert_eq!(read(writer.sink(), text).unwrap(), data(addresses).ipv4);
    }
    assert_eq!(read(writer.sink(), "gone.default"), None);
    assert_eq!(writer.counts.drift.load(Ordering::Relaxed), 4);
    assert_eq!(writer.counts.entries(MapKind::NamesShort), 3);
    assert_eq!(writer.counts.entries(MapKind::Chunks), 3);
    assert_eq!(reconcile(&mut writer, &names), Drift::default());
}

#[test]
fn what_another_agent_left_is_taken_over_or_goes() {
    let mut before = writer();
    before.apply(&[
        change("kept.default", Some(data(2))),
        change("set.default", Some(data(50))),
        change("stale.default", Some(data(60))),
    ]);
    let sink = std::mem::take(&mut before.sink);
    let old_sets: Vec<u32> = sink.chunks.keys().map(|key| key.set).collect();

    let mut writer = Writer::new(sink, SEED, Arc::<WriteCounts>::default());
    let names = HashMap::from([
        (name("kept.default"), data(2)),
        (name("set.default"), data(50)),
    ]);
    reconcile(&mut writer, &names);
    assert_eq!(read(writer.sink(), "kept.default").unwrap().len(), 2);
    assert_eq!(read(writer.sink(), "set.default").unwrap(), data(50).ipv4);
    assert_eq!(read(writer.sink(), "stale.default"), None);
    let sets: Vec<u32> = writer.sink().chunks.keys().map(|key| key.set).collect();
    assert!(
        sets.iter().all(|set| old_sets.contains(set)),
        "kept as it is: {sets:?} {old_sets:?}"
    );
    assert_eq!(reconcile(&mut writer, &names), Drift::default());
    writer.apply(&[change("new.default", Some(data(50)))]);
    assert_eq!(self::sets(&writer).len(), 2, "under a number of its own");
    assert_eq!(read(writer.sink(), "set.default").unwrap(), data(50).ipv4);
}
