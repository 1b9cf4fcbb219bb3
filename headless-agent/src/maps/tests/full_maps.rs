//! Maps without room.

use headless_ebpf::abi::CHUNK_IPV4;

use super::*;
use crate::maps::capacity::{self, EntryCounts};

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
    assert!(
        !complete(&writer),
        "withdrawn at once, not with the next heartbeat"
    );
    assert_eq!(
        writer.failed().collect::<Vec<_>>(),
        [name("b.default").as_bytes()]
    );
    assert_eq!(writer.counts.full.load(Ordering::Relaxed), 1);
    let deadline = writer.sink().state.deadline_ns;
    beat(&mut writer);
    assert!(!complete(&writer), "the next heartbeat does not allow them");
    assert!(writer.sink().state.deadline_ns >= deadline);

    writer.retry(|_| Some(data(2)));
    assert_eq!(read(writer.sink(), "b.default"), None, "still full");
    writer.apply(&[change("a.default", None)]);
    writer.retry(|_| Some(data(3)));
    assert_eq!(
        read(writer.sink(), "b.default").unwrap().len(),
        3,
        "the present data"
    );
    assert_eq!(writer.counts.pending.load(Ordering::Relaxed), 0);
    beat(&mut writer);
    assert!(complete(&writer));
}

/// Names that never find room do not keep others from their turn.
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
    assert_eq!(writer.failed().len(), 600, "the short names have no room");
    assert!(read(writer.sink(), &long(2)).is_some());
}

/// The heartbeat waits while names are tried again.
#[test]
fn few_large_names_are_tried_again_at_once() {
    check_retry(&data(5000), 2);
    // One address, and a target for each of 2,500 hostnames that have it.
    let target = |i: u32| Target {
        label: Some(format!("h{i}").into()),
        addresses: vec![IpAddr::from([10, 0, 0, 0])],
        ports: Box::new([0]),
    };
    let targets = Targets {
        targets: TargetSet::Each((0..2500).map(target).collect()),
        ..Targets::default()
    };
    let details = Details {
        endpoints: Some(targets),
        ..Details::default()
    };
    let named = NameData {
        details: Some(Box::new(details)),
        ..data(1)
    };
    check_retry(&named, 2);
}

/// Checks that one call tries this many names with these data.
fn check_retry(data: &NameData, expected: usize) {
    let mut writer = with(Capacities {
        names_short: 256,
        ..CAPACITIES
    });
    let names = (0..100).map(|i| change(&format!("a{i:03}.default"), Some(data.clone())));
    writer.apply(&names.collect::<Vec<_>>());
    assert_eq!(writer.crowded().len(), 100);
    let mut tried = BTreeSet::new();
    for _ in 0..50 {
        let asked = std::cell::RefCell::new(Vec::new());
        writer.retry(|name| {
            asked.borrow_mut().push(name.to_vec());
            Some(data.clone())
        });
        let asked = asked.into_inner();
        assert_eq!(asked.len(), expected);
        tried.extend(asked);
    }
    assert_eq!(tried.len(), 100, "each has its turn");
}

/// A name whose addresses find no room has a record that leaves it to userspace. Its
/// endpoints stay.
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
    assert_eq!(
        flags(&writer),
        NameFlags::PASS,
        "the two old addresses are gone"
    );
    assert_eq!(writer.crowded().count(), 1);
    assert_eq!(writer.counts.crowded.load(Ordering::Relaxed), 1);
    assert_eq!(writer.counts.full.load(Ordering::Relaxed), 1);
    assert!(complete(&writer), "all names have records");
    assert!(read(writer.sink(), "10-0-0-0.web.default").is_some());
    assert_eq!(writer.counts.entries(MapKind::Chunks), 0);

    writer.retry(|_| Some(data(100)));
    assert_eq!(flags(&writer), NameFlags::PASS, "still no room");
    writer.retry(|_| Some(data(20)));
    assert_eq!(read(writer.sink(), "web.default").unwrap().len(), 20);
    assert_eq!(writer.crowded().count(), 0);
}

/// A record that cannot be written gives its new chunks back, and so does the old record.
#[test]
fn a_refused_record_keeps_no_chunks() {
    let mut writer = open(Checked::new());
    let counts = Arc::clone(&writer.counts);
    let chunks = || counts.entries(MapKind::Chunks);
    writer.apply(&[change("web.default", Some(data(40)))]);
    assert_eq!(chunks(), 2);
    writer.sink_mut().refuses = true;
    for _ in 0..100 {
        let changes = ["web.default", "new.default"].map(|text| change(text, Some(data(90))));
        writer.apply(&changes);
    }
    assert_eq!((writer.failed().len(), chunks()), (2, 0));
    writer.sink_mut().refuses = false;
    writer.retry(|_| Some(data(90)));
    assert_eq!((writer.failed().len(), chunks()), (0, 2 * 4));
}

/// As for records, but the hash map is full.
#[test]
fn names_without_room_keep_no_chunks() {
    let mut writer = with(Capacities {
        table_slots: 2,
        names_short: 1,
        ..CAPACITIES
    });
    let counts = Arc::clone(&writer.counts);
    let chunks = || counts.entries(MapKind::Chunks);
    let names: Vec<String> = (0..6).map(|i| format!("web-{i}.default")).collect();
    let mut apply = |addresses: Option<u32>| {
        let changes = names.iter().map(|text| change(text, addresses.map(data)));
        writer.apply(&changes.collect::<Vec<_>>());
        (writer.failed().len(), chunks())
    };
    for _ in 0..20 {
        assert_eq!(apply(Some(60)), (3, 3 * 3));
        assert_eq!(apply(Some(30)), (3, 3 * 2));
    }
    assert_eq!(apply(None), (0, 0));
}

/// Maps with twice the chunks that the cluster needs have room for the old and the new set of
/// its largest Service, however long these are.
#[test]
fn the_largest_set_can_be_replaced() {
    for addresses in [5_000, 30_000, 65_000] {
        let counts = EntryCounts {
            chunks: data(addresses).ipv4.len().div_ceil(CHUNK_IPV4) as u64,
            ..EntryCounts::default()
        };
        let capacities = capacity::capacities(&counts, u64::MAX).capacities;
        let mut writer = with(capacities);
        for changed in [addresses, addresses - 1, addresses] {
            writer.apply(&[change("web.default", Some(data(changed)))]);
            assert_eq!(writer.counts.full.load(Ordering::Relaxed), 0, "{changed}");
            let found = read(writer.sink(), "web.default").unwrap();
            assert_eq!(found.len(), changed as usize);
        }
    }
}

/// Without room for both sets the old one is given up first.
#[test]
fn a_set_may_take_the_chunks_of_the_one_before() {
    let mut writer = with(Capacities {
        chunks: 1 + 4,
        ..CAPACITIES
    });
    for addresses in [60, 80, 100] {
        writer.apply(&[change("web.default", Some(data(addresses)))]);
        assert_eq!(writer.crowded().count(), 0);
        let found = read(writer.sink(), "web.default").unwrap();
        assert_eq!(found, data(addresses).ipv4);
    }
    writer.apply(&[change("web.default", Some(data(120)))]);
    assert_eq!(writer.crowded().count(), 1);
}
