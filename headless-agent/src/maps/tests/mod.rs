//! The writer with maps in memory, which are read as the programs read them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod budget;
mod checked;
mod encoding;
mod endpoints;
mod full_maps;
mod full_pass;
mod names;
mod passed;
mod state;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headless_ebpf::abi::{
    Address, Config, HashKey, KeyClass, NameFlags, NameRecord, Outcome, PassReason, PodsMode, State,
};
use headless_ebpf::respond::{self, Message, Scratch};
use headless_ebpf::wire::{Capacity as _, Small};

use self::checked::Checked;
use super::capacity::Capacities;
use super::heartbeat::{Beat, monotonic_ns};
use super::memory::MemorySink;
use super::read::{self, Stored};
use super::writer::Writer;
use super::{MapKey, MapKind, RecordSink, SinkError, WriteCounts};
use crate::corefile::Parts;
use crate::records::{
    Details, Index, NameChange, NameData, RelativeName, Settings, Target, TargetSet, Targets,
};
use crate::watch::{Event, Object, Service, ServiceKind};

/// A namespace whose endpoints have names of more than 40 bytes.
const LONG: &str = "a-namespace-with-a-rather-long-name";

const CAPACITIES: Capacities = Capacities {
    table_slots: 64,
    names_short: 64,
    names_medium: 64,
    names_long: 64,
    chunks: 64,
    endpoint_buckets: 16,
    reverse_buckets: 16,
};

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

fn config() -> Config {
    let key = HashKey::from_seed(0x5eed);
    Config::new("cluster.local", 30, PodsMode::Insecure, &key).unwrap()
}

/// Writing names that no index has. Nothing yields for them, because only the index says what
/// a Service is.
trait WithoutIndex {
    fn apply(&mut self, changes: &[NameChange]);
    fn retry(&mut self, lookup: impl Fn(&[u8]) -> Option<NameData>);
}

impl<S: RecordSink> WithoutIndex for Writer<S> {
    fn apply(&mut self, changes: &[NameChange]) {
        self.write(changes, &no_index());
    }

    fn retry(&mut self, lookup: impl Fn(&[u8]) -> Option<NameData>) {
        self.retry_with(lookup, &no_index());
    }
}

fn no_index() -> Index {
    Index::new(Settings::new("cluster.local.".parse().unwrap()))
}

fn open<S: RecordSink>(sink: S) -> Writer<S> {
    Writer::open(sink, Arc::<WriteCounts>::default()).unwrap()
}

fn with(capacities: Capacities) -> Writer<MemorySink> {
    open(MemorySink::new(config(), capacities))
}

fn writer() -> Writer<MemorySink> {
    with(CAPACITIES)
}

/// Whether the programs may give negative answers.
fn complete(writer: &Writer<MemorySink>) -> bool {
    writer.sink().state.flags & State::COMPLETE != 0
}

fn beat(writer: &mut Writer<MemorySink>) {
    let beat = Beat {
        lease: Duration::from_secs(30),
        serial: 7,
        may_deny: true,
        passes: Parts::NONE,
    };
    writer.beat(beat).unwrap();
}

fn stored(sink: &impl RecordSink, text: &str) -> Option<Stored> {
    read::stored(sink, name(text).as_bytes()).unwrap()
}

/// The addresses that the maps hold for a name.
fn read(sink: &impl RecordSink, text: &str) -> Option<Vec<Ipv4Addr>> {
    Some(match stored(sink, text)? {
        Stored::Endpoint(address) => vec![address],
        Stored::Record(key, record) => {
            let found = read::addresses(sink, &key, &record).unwrap();
            assert_eq!(found.damage, None);
            found.ipv4
        }
    })
}

/// The versions of the sets that records name.
fn sets(sink: &impl RecordSink) -> BTreeSet<u32> {
    let mut sets = BTreeSet::new();
    for class in KeyClass::ALL {
        let mut visit = |_, record: NameRecord| _ = sets.insert(record.set);
        read::for_each_record(sink, class, &mut visit).unwrap();
    }
    sets.remove(&0);
    sets
}

/// A Service with endpoints that have hostnames.
fn detailed(endpoints: u32) -> NameData {
    let target = |i: u32| Target {
        label: Some(format!("web-{i}").into()),
        addresses: vec![Ipv4Addr::from(0x0a00_0000 + i).into()],
        ports: Box::default(),
    };
    let targets = Targets {
        ports: Vec::new(),
        targets: TargetSet::Each((0..endpoints).map(target).collect()),
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

/// A Service without ports.
fn service(namespace: &str, name: &str, kind: ServiceKind) -> Event {
    Event::Apply(Object::Service(Service {
        namespace: namespace.into(),
        name: name.into(),
        kind,
        ports: Box::default(),
        selector: true,
        partial: false,
        selected: true,
    }))
}

/// The engine's answer to a query.
fn answer(sink: &MemorySink, query: &[u8]) -> Result<Outcome, PassReason> {
    let mut scratch = Box::<Scratch>::default();
    scratch.image.as_mut_slice()[..query.len()].copy_from_slice(query);
    let message = Message {
        start: 0,
        end: query.len(),
        capacity: Small::MESSAGE_MAX,
    };
    let reply = respond::answer::<Small, _>(&mut *scratch, message, sink.state, sink);
    reply.map(|reply| reply.outcome)
}
