//! Names as the programs find them, in memory and in the kernel alike.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use headless_agent::maps::capacity::Capacities;
use headless_agent::maps::heartbeat::Beat;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{MapKey, RecordSink, WriteCounts, read};
use headless_agent::records::{NameChange, NameData, Pointers, RelativeName};
use headless_ebpf::abi::{
    Address, Chunk, Config, HashKey, KeyClass, NameRecord, PodsMode, SERVED_SLOTS, ServedSlot,
    State,
};

/// Seed of the key of hashes and seals.
pub const SEED: u64 = 0x5eed_5eed_5eed_5eed;

/// Room for what a test puts into the maps: little in the table, so that there are
/// short names in the hash map, too, and few buckets, so that they fill.
pub const CAPACITIES: Capacities = Capacities {
    table_slots: 16,
    names_short: 10_000,
    names_medium: 10_000,
    names_long: 10_000,
    chunks: 10_000,
    endpoint_buckets: 8,
    reverse_buckets: 16,
};

/// Serial of the SOA.
pub const SERIAL: u32 = 1_700_000_000;

/// The configuration of a zone as kubeadm has it: TTL 30.
pub fn config(zone: &str, ttl: u32) -> Config {
    let key = HashKey::from_seed(SEED);
    Config::new(zone, ttl, PodsMode::Insecure, &key).expect("a zone")
}

/// An agent that lives forever and knows everything.
pub fn state() -> State {
    State {
        deadline_ns: u64::MAX,
        serial: SERIAL,
        flags: State::COMPLETE,
    }
}

/// Maps in memory with nothing but a configuration and a served address.
pub fn memory(config: Config, state: State, server: impl Into<IpAddr>) -> MemorySink {
    let mut sink = MemorySink::new(config, CAPACITIES);
    sink.state = state;
    serve(&mut sink, [server.into()]);
    sink
}

/// A writer to maps in which there may be names already.
pub fn writer<S: RecordSink>(sink: S) -> Writer<S> {
    Writer::open(sink, Arc::<WriteCounts>::default()).unwrap()
}

/// Makes the served addresses exactly these.
pub fn serve(sink: &mut impl RecordSink, servers: impl IntoIterator<Item = IpAddr>) {
    let addresses: Vec<Address> = servers.into_iter().map(Address::from).collect();
    let unplaced = writer(sink).serve(&addresses).unwrap();
    assert_eq!(unplaced, []);
}

/// Lets a writer say that its agent lives forever, and that it knows everything if
/// `synced`: what it says itself takes the place of [`state`].
pub fn live(writer: &mut Writer<impl RecordSink>, synced: bool) {
    let beat = Beat {
        lease: Duration::MAX,
        serial: SERIAL,
        synced,
    };
    writer.beat(beat).unwrap();
}

/// Writes names. The state becomes what it was before.
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
    writer.apply(&changes);
    assert_eq!((writer.failed().len(), writer.crowded().len()), (0, 0));
    sink.put_state(state).unwrap();
}

/// Writes where addresses lead.
pub fn point(
    sink: &mut impl RecordSink,
    pointers: impl IntoIterator<Item = (IpAddr, RelativeName)>,
) {
    let mut changes = Pointers::default();
    for (service, (address, name)) in (1..).zip(pointers) {
        changes.services.insert(service, Some(name));
        changes.addresses.push((address, Some(service)));
    }
    writer(sink).point(&changes);
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

/// Makes maps of the same capacities hold what others hold.
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

/// What an element looks like whose memory was given to another key while a
/// program reads it.
pub fn tear_records(sink: &mut impl RecordSink) {
    replace_records(sink, |_, mut record| {
        record.inline[3] ^= 1;
        record
    });
}

/// Puts other records in the place of all there are.
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

/// As [`tear_records`], for chunks.
pub fn tear_chunks(sink: &mut impl RecordSink) {
    let arrays = sink.arrays();
    for index in 0..arrays.chunks() {
        let mut chunk = arrays.chunk(index);
        chunk.words[0] ^= 1 << 24;
        arrays.put_chunk(index, &chunk);
    }
}

/// A set that was replaced after the record that names it was read.
pub fn lose_chunks(sink: &mut impl RecordSink) {
    let arrays = sink.arrays();
    for index in 0..arrays.chunks() {
        arrays.put_chunk(index, &Chunk::default());
    }
}
