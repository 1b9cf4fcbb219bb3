//! The writer against maps in memory, as the engine would read them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checked;
mod encoding;
mod full_pass;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headless_ebpf::abi::{
    Address, Config, HashKey, KeyClass, NameFlags, NameRecord, PodsMode, ServedSlot, State,
};

use self::checked::Checked;
use super::capacity::Capacities;
use super::heartbeat::{Beat, monotonic_ns};
use super::memory::MemorySink;
use super::read::{self, Stored};
use super::writer::Writer;
use super::{MapKey, MapKind, RecordSink, SinkError, WriteCounts};
use crate::records::{Details, NameChange, NameData, RelativeName, Target, TargetSet, Targets};

/// A namespace that makes names of its endpoints longer than 40 bytes.
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

fn open<S: RecordSink>(sink: S) -> Writer<S> {
    Writer::open(sink, Arc::<WriteCounts>::default()).unwrap()
}

fn with(capacities: Capacities) -> Writer<MemorySink> {
    open(MemorySink::new(config(), capacities))
}

fn writer() -> Writer<MemorySink> {
    with(CAPACITIES)
}

/// Whether negative answers may be given.
fn complete(writer: &Writer<MemorySink>) -> bool {
    writer.sink().state.flags & State::COMPLETE != 0
}

fn beat(writer: &mut Writer<MemorySink>) {
    let beat = Beat {
        lease: Duration::from_secs(30),
        serial: 7,
        may_deny: true,
    };
    writer.beat(beat).unwrap();
}

fn stored(sink: &impl RecordSink, text: &str) -> Option<Stored> {
    read::stored(sink, name(text).as_bytes()).unwrap()
}

/// The addresses that a reader of the maps finds.
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

/// The versions of the sets that records name, in order.
fn sets(sink: &impl RecordSink) -> BTreeSet<u32> {
    let mut sets = BTreeSet::new();
    for class in KeyClass::ALL {
        let mut visit = |_, record: NameRecord| _ = sets.insert(record.set);
        read::for_each_record(sink, class, &mut visit).unwrap();
    }
    sets.remove(&0);
    sets
}

#[test]
fn applied_names_are_read() {
    let mut writer = writer();
    for (text, addresses) in [
        ("few.default", 3),
        ("many.default", 40),
        ("none.default", 0),
    ] {
        writer.apply(&[change(text, Some(data(addresses)))]);
        assert_eq!(read(writer.sink(), text).unwrap(), data(addresses).ipv4);
    }
    assert_eq!(writer.counts.entries(MapKind::Table), 3);
    assert_eq!(writer.counts.entries(MapKind::Chunks), 2);
    writer.apply(&[change("many.default", None)]);
    assert_eq!(read(writer.sink(), "many.default"), None);
    assert_eq!(writer.counts.entries(MapKind::Table), 2);
    assert_eq!(writer.counts.entries(MapKind::Chunks), 0);
}

/// Whatever becomes of an endpoint, it is stored in one place.
#[test]
fn endpoints_are_stored_in_the_shortest_way() {
    let mut writer = writer();
    let counts = Arc::clone(&writer.counts);
    let records = || counts.entries(MapKind::Table) + counts.entries(MapKind::NamesMedium) - 1;
    let both = || (records(), counts.entries(MapKind::Endpoints));
    for namespace in ["default", LONG] {
        let text = |label: &str| format!("{label}.web.{namespace}");
        let service = format!("web.{namespace}");
        writer.apply(&[change(&service, Some(data(1)))]);
        let [dashed, other] = ["10-0-0-0", "web-0"].map(text);
        let label = "a".repeat(40);
        for (text, addresses, expected) in [
            (&dashed, 1, (0, 1)),
            (&dashed, 2, (1, 0)),
            (&dashed, 40, (1, 0)),
            (&dashed, 1, (0, 1)),
            (&other, 1, (1, 1)),
            (&text(&label), 1, (2, 1)),
        ] {
            writer.apply(&[change(text, Some(data(addresses)))]);
            assert_eq!(both(), expected, "{text} {addresses}");
            assert_eq!(read(writer.sink(), text).unwrap(), data(addresses).ipv4);
        }
        let repeated = NameData {
            flags: NameFlags::REPEATED,
            ..data(1)
        };
        writer.apply(&[change(&dashed, Some(repeated))]);
        assert_eq!(both(), (3, 0), "a flag needs a record");
        for text in [dashed, other, text(&label)] {
            writer.apply(&[change(&text, None)]);
            assert_eq!(read(writer.sink(), &text), None, "{text}");
        }
        assert_eq!(both(), (0, 0));
        assert_eq!(counts.entries(MapKind::Chunks), 0);
        writer.apply(&[change(&service, None)]);
    }
}

#[test]
fn a_service_has_one_number_while_it_exists() {
    let mut writer = writer();
    let number = |writer: &Writer<MemorySink>, text: &str| match stored(writer.sink(), text) {
        Some(Stored::Record(_, record)) => record.service,
        other => panic!("{other:?}"),
    };
    writer.apply(&[change("default", Some(data(0)))]);
    assert_eq!(number(&writer, "default"), 0, "a namespace");
    let mut seen = BTreeSet::new();
    for text in ["web.default", "api.default"] {
        writer.apply(&[change(text, Some(data(1)))]);
        assert!(seen.insert(number(&writer, text)));
    }
    let web = number(&writer, "web.default");
    writer.apply(&[change("web.default", Some(data(50)))]);
    writer.apply(&[change("web-0.web.default", Some(data(1)))]);
    assert_eq!(number(&writer, "web.default"), web);
    assert_eq!(number(&writer, "web-0.web.default"), web);
    writer.apply(&[
        change("web-0.web.default", None),
        change("web.default", None),
    ]);
    writer.apply(&[change("web.default", Some(data(1)))]);
    assert!(seen.insert(number(&writer, "web.default")), "never again");

    let mut next = open(writer.sink_mut());
    next.apply(&[change("new.default", Some(data(1)))]);
    let sink = next.sink();
    let Some(Stored::Record(_, record)) = stored(sink, "new.default") else {
        panic!("not stored");
    };
    assert!(seen.insert(record.service), "nor by another agent");
}

#[test]
fn a_set_gets_a_new_version_with_every_change() {
    let mut writer = writer();
    let mut seen = BTreeSet::new();
    for addresses in [10, 11, 60, 12] {
        writer.apply(&[change("web.default", Some(data(addresses)))]);
        let sets = sets(writer.sink());
        assert_eq!(sets.len(), 1);
        assert!(seen.is_disjoint(&sets), "{sets:?} twice");
        seen.extend(sets);
        assert_eq!(
            read(writer.sink(), "web.default").unwrap(),
            data(addresses).ipv4
        );
    }
    writer.apply(&[change("web.default", Some(data(1)))]);
    assert_eq!(sets(writer.sink()), BTreeSet::new());
    assert_eq!(writer.counts.entries(MapKind::Chunks), 0);
}

#[test]
fn no_write_shows_a_half_state() {
    // Names that are in the hash map: every change is a system call.
    let sink = MemorySink::new(
        config(),
        Capacities {
            table_slots: 0,
            ..CAPACITIES
        },
    );
    let mut writer = open(Checked { sink, changed: 0 });
    let before = writer.sink().sink.state;
    for addresses in [40, 90, 2, 30, 0] {
        writer.apply(&[change("web.default", Some(detailed(addresses)))]);
        assert_eq!(
            read(&writer.sink().sink, "web.default").unwrap().len(),
            addresses as usize
        );
    }
    writer.apply(&[change("web.default", None)]);
    assert_eq!(read(&writer.sink().sink, "web.default"), None);
    assert_eq!(writer.sink().changed, 12, "before and after six changes");
    let after = writer.sink().sink.state;
    assert!(!after.denies_since(before) && after.denies_since(after));
}

#[test]
fn a_full_map_withdraws_negative_answers_until_there_is_room() {
    let mut writer = with(Capacities {
        table_slots: 0,
        names_short: 1,
        ..CAPACITIES
    });
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

/// Names that find no room keep no others from being tried.
#[test]
fn every_name_is_tried_again() {
    let mut writer = with(Capacities {
        table_slots: 0,
        names_short: 0,
        ..CAPACITIES
    });
    let long = |i: u32| format!("{}-{i}.default", "a".repeat(40));
    let short = (0..600).map(|i| change(&format!("a{i:03}.default"), Some(data(1))));
    let medium = (0..3).map(|i| change(&long(i), Some(data(1))));
    writer.sink_mut().set_capacity(KeyClass::Medium, 0);
    writer.apply(&short.chain(medium).collect::<Vec<_>>());
    assert_eq!(writer.failed().len(), 603);
    writer.sink_mut().set_capacity(KeyClass::Medium, 3);
    for _ in 0..3 {
        writer.retry(|_| Some(data(1)));
    }
    assert_eq!(writer.failed().len(), 600, "the rest has no room");
    assert!(read(writer.sink(), &long(2)).is_some());
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

#[test]
fn details_come_and_go_with_their_name() {
    let mut writer = writer();
    let chunks = |writer: &Writer<MemorySink>| writer.counts.entries(MapKind::Chunks);
    writer.apply(&[change("web.default", Some(detailed(3)))]);
    assert_eq!(chunks(&writer), 1);
    writer.apply(&[change("web.default", Some(detailed(40)))]);
    // 40 addresses, then 8 bytes before the first target and some 14 each.
    assert_eq!(chunks(&writer), 2 + 5);
    writer.apply(&[change("web.default", None)]);
    assert_eq!(chunks(&writer), 0);
}

/// Without room for its addresses a name is there, for userspace, and what belongs to
/// it as well.
#[test]
fn a_set_without_room_is_left_to_userspace() {
    let mut writer = with(Capacities {
        chunks: 3,
        ..CAPACITIES
    });
    let flags = |writer: &Writer<MemorySink>| match stored(writer.sink(), "web.default") {
        Some(Stored::Record(_, record)) => record.flags,
        other => panic!("{other:?}"),
    };
    writer.apply(&[
        change("web.default", Some(data(2))),
        change("10-0-0-0.web.default", Some(data(1))),
    ]);
    beat(&mut writer);
    writer.apply(&[change("web.default", Some(data(100)))]);
    assert_eq!(flags(&writer), NameFlags::PASS, "the two addresses are old");
    assert_eq!(writer.crowded().count(), 1);
    assert_eq!(writer.counts.crowded.load(Ordering::Relaxed), 1);
    assert_eq!(writer.counts.full.load(Ordering::Relaxed), 1);
    assert!(complete(&writer), "all names are there");
    assert!(read(writer.sink(), "10-0-0-0.web.default").is_some());
    assert_eq!(writer.counts.entries(MapKind::Chunks), 0);

    writer.retry(|_| Some(data(100)));
    assert_eq!(flags(&writer), NameFlags::PASS, "still no room");
    writer.retry(|_| Some(data(20)));
    assert_eq!(read(writer.sink(), "web.default").unwrap().len(), 20);
    assert_eq!(writer.crowded().count(), 0);
}

/// Where a Service's own record cannot be written, its endpoints keep its number.
#[test]
fn a_service_without_a_record_keeps_its_number() {
    let mut writer = with(Capacities {
        table_slots: 0,
        names_short: 0,
        ..CAPACITIES
    });
    writer.apply(&[
        change("web.default", Some(data(1))),
        change("10-0-0-0.web.default", Some(data(1))),
    ]);
    assert_eq!(writer.failed().len(), 1, "the Service's own name");
    writer.sink_mut().set_capacity(KeyClass::Short, 1);
    writer.retry(|_| Some(data(1)));
    assert_eq!(writer.failed().len(), 0);
    assert!(read(writer.sink(), "10-0-0-0.web.default").is_some());
}

#[test]
fn endpoints_without_room_have_records() {
    let mut writer = with(Capacities {
        endpoint_buckets: 1,
        ..CAPACITIES
    });
    writer.apply(&[change("web.default", Some(data(1)))]);
    let names: Vec<String> = (0..20).map(|i| format!("10-0-0-{i}.web.default")).collect();
    let of = |i: u8| NameData {
        ipv4: vec![[10, 0, 0, i].into()],
        ..data(0)
    };
    let changes = (0..).zip(&names).map(|(i, text)| change(text, Some(of(i))));
    writer.apply(&changes.collect::<Vec<_>>());
    assert_eq!(writer.counts.entries(MapKind::Endpoints), 8);
    assert_eq!(writer.counts.entries(MapKind::Table), 1 + 12);
    for text in &names {
        assert_eq!(read(writer.sink(), text).unwrap().len(), 1, "{text}");
    }
    let gone = names.iter().map(|text| change(text, None));
    writer.apply(&gone.collect::<Vec<_>>());
    assert_eq!(writer.counts.entries(MapKind::Endpoints), 0);
    assert_eq!(writer.counts.entries(MapKind::Table), 1);
}

#[test]
fn a_beat_moves_the_deadline_by_the_lease() {
    let mut writer = writer();
    let before = monotonic_ns();
    beat(&mut writer);
    let (state, lease) = (writer.sink().state, 30_000_000_000);
    assert!((before + lease..=monotonic_ns() + lease).contains(&state.deadline_ns));
    assert_eq!(state.serial, 7);
    let unsure = Beat {
        lease: Duration::from_secs(30),
        serial: 8,
        may_deny: false,
    };
    writer.beat(unsure).unwrap();
    assert!(!complete(&writer));
}

#[test]
fn served_addresses_are_exactly_those_given() {
    let mut writer = writer();
    let [a, b, c] = [1, 2, 3].map(|i| Address::from(IpAddr::from([10, 96, 0, i])));
    for addresses in [&[a, b][..], &[b, c], &[c, b], &[]] {
        assert_eq!(writer.serve(addresses).unwrap(), []);
        assert_eq!(writer.served().unwrap(), addresses);
        let entries = writer.counts.entries(MapKind::Served);
        assert_eq!(entries, addresses.len() as u64);
    }
}

/// One address that finds no slot keeps no other from being served.
#[test]
fn an_address_without_a_slot_is_left_out() {
    let mut writer = writer();
    let other = ServedSlot {
        address: Address::from(IpAddr::from([10, 96, 9, 9])),
        number: 1,
        spare: 0,
    };
    let addresses: Vec<Address> = (0..600_u32)
        .map(|i| IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + i)).into())
        .collect();
    writer.sink_mut().served_max = u32::MAX;
    let unplaced = writer.serve(&addresses).unwrap();
    assert!(unplaced.len() >= 88, "512 slots");
    assert_eq!(writer.served().unwrap().len(), 600 - unplaced.len());
    assert!(!unplaced.contains(&other.address));
}
