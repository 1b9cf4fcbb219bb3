//! Fills maps with names, in memory and in the kernel alike.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use headless_agent::corefile::Parts;
use headless_agent::maps::capacity::Capacities;
use headless_agent::maps::heartbeat::Beat;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{MapKey, RecordSink, WriteCounts, read};
use headless_agent::records::{Index, NameChange, NameData, Pointers, RelativeName, Settings};
use headless_ebpf::abi::{
    Address, Chunk, Config, HashKey, KeyClass, NameFlags, NameRecord, PodsMode, SERVED_SLOTS,
    ServedSlot, State,
};

/// Seed of the key for hashes and seals.
pub const SEED: u64 = 0x5eed_5eed_5eed_5eed;

/// Capacities of a test's maps. The table is small, so that short names are in the hash
/// map too. The buckets are few, so that each has several entries.
pub const CAPACITIES: Capacities = Capacities {
    table_slots: 16,
    names_short: 10_000,
    names_medium: 10_000,
    names_long: 10_000,
    chunks: 10_000,
    endpoint_buckets: 8,
    reverse_buckets: 16,
};

/// Serial of the zone's SOA record.
pub const SERIAL: u32 = 1_700_000_000;

/// The configuration of a zone, with its TTL in seconds.
pub fn config(zone: &str, ttl: u32) -> Config {
    let key = HashKey::from_seed(SEED);
    Config::new(zone, ttl, PodsMode::Insecure, &key).expect("a zone")
}

/// The state of an agent that is complete and whose deadline never comes.
pub fn state() -> State {
    State {
        deadline_ns: u64::MAX,
        serial: SERIAL,
        flags: State::COMPLETE,
    }
}

/// An empty index, for names that no cluster has. Nothing yields for them.
pub fn no_index() -> Index {
    Index::new(Settings::new("cluster.local.".parse().expect("a zone")))
}

/// Maps in memory with a configuration and a served address, but without names.
pub fn memory(config: Config, state: State, server: impl Into<IpAddr>) -> MemorySink {
    let mut sink = MemorySink::new(config, CAPACITIES);
    sink.state = state;
    serve(&mut sink, [server.into()]);
    sink
}

/// A writer to maps, which may have names already.
pub fn writer<S: RecordSink>(sink: S) -> Writer<S> {
    Writer::open(sink, Arc::<WriteCounts>::default()).unwrap()
}

/// Replaces the served addresses.
pub fn serve(sink: &mut impl RecordSink, servers: impl IntoIterator<Item = IpAddr>) {
    let addresses: Vec<Address> = servers.into_iter().map(Address::from).collect();
    let unplaced = writer(sink).serve(&addresses).unwrap();
    assert_eq!(unplaced, []);
}

/// Writes a heartbeat whose deadline never comes. With `may_deny` it says that the maps are
/// complete. The heartbeat replaces [`state`].
pub fn live(writer: &mut Writer<impl RecordSink>, may_deny: bool) {
    let beat = Beat {
        lease: Duration::MAX,
        serial: SERIAL,
        may_deny,
        passes: Parts::NONE,
    };
    writer.beat(beat).unwrap();
}

/// Writes names. The state does not change.
pub fn install<'a>(
    sink: &mut impl RecordSink,
    names: impl IntoIterator<Item = (&'a RelativeName, &'a NameData)>,
) {
    let changes: Vec<_> = names
        .into_iter()
        .map(|(name, data)| NameChange {
            name: name.clone(),
            data: Some(data.clone()),
        })
        .collect();
    let state = sink.state().unwrap();
    let mut writer = writer(&mut *sink);
    writer.write(&changes, &no_index());
    assert_eq!((writer.failed().len(), writer.crowded().len()), (0, 0));
    sink.put_state(state).unwrap();
}

/// Writes reverse names: each address leads to the name of a Service, which may be gone. The
/// state does not change.
pub fn point(
    sink: &mut impl RecordSink,
    pointers: impl IntoIterator<Item = (IpAddr, RelativeName)>,
) {
    let mut changes = Pointers::default();
    let mut gone = Vec::new();
    for (service, (address, name)) in (1..).zip(pointers) {
        if !holds(sink, &name) {
            gone.push(name.clone());
        }
        changes.services.insert(service, Some(name));
        changes.addresses.push((address, Some(service)));
    }
    let state = sink.state().unwrap();
    let mut writer = writer(&mut *sink);
    // The writer points at Services with a record only. One that is deleted later leaves its
    // hints.
    let nothing = NameData {
        flags: NameFlags::empty(),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        details: None,
    };
    let all = |data: Option<NameData>| -> Vec<NameChange> {
        let change = |name: &RelativeName| NameChange {
            name: name.clone(),
            data: data.clone(),
        };
        gone.iter().map(change).collect()
    };
    writer.write(&all(Some(nothing)), &no_index());
    writer.point(&changes, &no_index());
    writer.write(&all(None), &no_index());
    sink.put_state(state).unwrap();
}

/// Whether a name is stored.
pub fn holds(sink: &impl RecordSink, name: &RelativeName) -> bool {
    read::stored(sink, name.as_bytes()).unwrap().is_some()
}

/// Removes every name, chunk and served address, and makes the agent one that has said
/// nothing yet.
pub fn clear(sink: &mut impl RecordSink) {
    sink.put_state(State::default()).unwrap();
    sink.arrays().clear();
    for class in KeyClass::ALL {
        let mut keys = Vec::new();
        sink.for_each(class, &mut |key, _| keys.push(key)).unwrap();
        for key in keys {
            sink.delete(&key).unwrap();
        }
    }
    for at in 0..SERVED_SLOTS as u32 {
        sink.put_served_slot(at, ServedSlot::default()).unwrap();
    }
}

/// Copies everything from one set of maps to another with the same capacities.
pub fn copy(from: &impl RecordSink, to: &mut impl RecordSink) {
    clear(to);
    to.put_config(&from.config().unwrap()).unwrap();
    to.put_state(from.state().unwrap()).unwrap();
    to.arrays().copy_from(from.arrays());
    for class in KeyClass::ALL {
        let mut put = |key, record| assert!(to.put(&key, record).unwrap());
        from.for_each(class, &mut put).unwrap();
    }
    for at in 0..SERVED_SLOTS as u32 {
        let slot = from.served_slot(at).unwrap();
        to.put_served_slot(at, slot).unwrap();
    }
}

/// Changes every name record. A program may read such a record if the kernel gives an
/// element's memory to another key at that moment.
pub fn tear_records(sink: &mut impl RecordSink) {
    replace_records(sink, |_, mut record| {
        record.inline[3] ^= 1;
        record
    });
}

/// Replaces every name record by the result of `other`.
pub fn replace_records(
    sink: &mut impl RecordSink,
    other: impl Fn(&MapKey, NameRecord) -> NameRecord,
) {
    let arrays = sink.arrays();
    for index in 0..arrays.table_slots() {
        let mut slot = arrays.slot(index);
        let key = MapKey::from_words(KeyClass::Short, &slot.key);
        slot.record = other(&key, slot.record);
        arrays.put_slot(index, &slot);
    }
    for class in KeyClass::ALL {
        let mut records = Vec::new();
        let mut visit = |key, record| records.push((key, record));
        sink.for_each(class, &mut visit).unwrap();
        for (key, record) in records {
            sink.put(&key, other(&key, record)).unwrap();
        }
    }
}

/// Changes every chunk. See [`tear_records`].
pub fn tear_chunks(sink: &mut impl RecordSink) {
    let arrays = sink.arrays();
    for index in 0..arrays.chunks() {
        let mut chunk = arrays.chunk(index);
        chunk.words[0] ^= 1 << 24;
        arrays.put_chunk(index, &chunk);
    }
}

/// Clears every chunk. A program finds such chunks if a set is replaced after the program
/// has read the record that leads to it.
pub fn lose_chunks(sink: &mut impl RecordSink) {
    let arrays = sink.arrays();
    for index in 0..arrays.chunks() {
        arrays.put_chunk(index, &Chunk::default());
    }
}
