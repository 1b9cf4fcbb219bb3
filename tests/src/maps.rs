//! Names as the programs find them, in memory and in the kernel alike.

use std::net::IpAddr;
use std::time::Duration;

use headless_agent::maps::encode::{Encoded, encode};
use headless_agent::maps::heartbeat::Beat;
use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{MapName, RecordSink};
use headless_agent::records::{NameData, RelativeName};
use headless_ebpf::abi::{
    Chunk, ChunkKey, ChunkKind, Config, KeyClass, PodsMode, ReverseAddress, ReverseBucket,
    ReverseSlot, ServerAddress, State,
};

/// Seed of every seal.
pub const SEED: u64 = 0x5eed_5eed_5eed_5eed;

/// Room for addresses that have reverse names: little, so that buckets fill.
pub const ADDRESSES: u32 = 64;

/// Serial of the SOA.
pub const SERIAL: u32 = 1_700_000_000;

/// The configuration of a zone as kubeadm has it: TTL 30.
pub fn config(zone: &str, ttl: u32) -> Config {
    Config::new(zone, ttl, PodsMode::Insecure, SEED).expect("a zone")
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
    let mut sink = MemorySink {
        state,
        ..MemorySink::new(config, ADDRESSES)
    };
    sink.put_server(address(server), 0).unwrap();
    sink
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

/// A served address as the map's key.
pub fn address(server: impl Into<IpAddr>) -> ServerAddress {
    ServerAddress::from(server.into())
}

/// Writes names to empty maps.
pub fn install<'a>(
    sink: &mut impl RecordSink,
    names: impl IntoIterator<Item = (&'a RelativeName, &'a NameData)>,
) {
    install_from(1, sink, names);
}

/// Writes names to maps whose sets of addresses have numbers below `first`.
pub fn install_from<'a>(
    first: u32,
    sink: &mut impl RecordSink,
    names: impl IntoIterator<Item = (&'a RelativeName, &'a NameData)>,
) {
    for (set, (name, data)) in (first..).zip(names) {
        let name = MapName::from_wire(name.as_bytes()).unwrap();
        let Encoded { record, chunks } = encode(&name, SEED, data, set);
        for (key, chunk) in chunks {
            sink.put_chunk(key, chunk).unwrap();
        }
        sink.put_name(&name, record).unwrap();
    }
}

/// Writes where addresses lead to an empty table.
pub fn point(
    sink: &mut impl RecordSink,
    pointers: impl IntoIterator<Item = (IpAddr, RelativeName)>,
) {
    for (service, (address, name)) in (1..).zip(pointers) {
        let key = ChunkKey::new(service, ChunkKind::Name, 0);
        let name = name.as_bytes();
        let content = [&[name.len() as u8], name].concat();
        sink.put_chunk(key, Chunk::new(SEED, key, &content))
            .unwrap();
        let address = ReverseAddress::from(address);
        let index = address.bucket(sink.reverse_buckets());
        let mut bucket = sink.reverse_bucket(index).unwrap();
        let free = bucket.iter_mut().find(|slot| slot.is_empty());
        *free.expect("room in the bucket") = ReverseSlot::new(address, service);
        sink.put_reverse_bucket(index, bucket).unwrap();
    }
}

/// Removes every name, chunk and served address.
pub fn clear(sink: &mut impl RecordSink) {
    let mut names = Vec::new();
    for class in KeyClass::ALL {
        sink.for_each_name(class, &mut |name, _| names.push(name))
            .unwrap();
    }
    for name in names {
        sink.delete_name(&name).unwrap();
    }
    for key in sink.chunk_keys().unwrap() {
        sink.delete_chunk(key).unwrap();
    }
    for (server, _) in sink.servers().unwrap() {
        sink.delete_server(server).unwrap();
    }
    for bucket in 0..sink.reverse_buckets() {
        let empty = ReverseBucket::default();
        sink.put_reverse_bucket(bucket, empty).unwrap();
    }
}

/// What an element looks like whose memory was given to another key while a
/// program reads it.
pub fn tear_records(sink: &mut impl RecordSink) {
    let mut records = Vec::new();
    for class in KeyClass::ALL {
        sink.for_each_name(class, &mut |name, record| records.push((name, record)))
            .unwrap();
    }
    for (name, mut record) in records {
        record.inline[3] ^= 1;
        sink.put_name(&name, record).unwrap();
    }
}

/// As [`tear_records`], for the chunks of address sets.
pub fn tear_chunks(sink: &mut impl RecordSink) {
    for key in sink.chunk_keys().unwrap() {
        let mut chunk = sink.chunk(key).unwrap().unwrap();
        chunk.words[0] ^= 1 << 24;
        sink.put_chunk(key, chunk).unwrap();
    }
}

/// A set that was replaced after the record that names it was read.
pub fn lose_chunks(sink: &mut impl RecordSink) {
    for key in sink.chunk_keys().unwrap() {
        sink.delete_chunk(key).unwrap();
    }
}
