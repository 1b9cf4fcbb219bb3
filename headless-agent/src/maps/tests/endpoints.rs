//! Endpoints, and the numbers of their Services.

use super::*;

/// An endpoint has either an entry or a record, also after it has changed.
#[test]
fn each_endpoint_is_stored_once_in_the_shortest_form() {
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
    assert!(
        seen.insert(number(&writer, "web.default")),
        "a number is never used again"
    );

    let mut next = open(writer.sink_mut());
    next.apply(&[change("new.default", Some(data(1)))]);
    let sink = next.sink();
    let Some(Stored::Record(_, record)) = stored(sink, "new.default") else {
        panic!("not stored");
    };
    assert!(
        seen.insert(record.service),
        "another agent does not use it again either"
    );
}

/// A Service keeps its number if its own record cannot be written, so its endpoints stay
/// right.
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
    assert_eq!(writer.failed().len(), 1, "only the Service's own name");
    writer.sink_mut().set_capacity(KeyClass::Short, 1);
    writer.retry(|_| Some(data(1)));
    assert_eq!(writer.failed().len(), 0);
    assert!(read(writer.sink(), "10-0-0-0.web.default").is_some());
}

#[test]
fn regular_endpoints_without_room_get_records() {
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

/// No question can spell the key of an endpoint: its first byte is no length of a label.
#[test]
fn a_question_does_not_find_an_endpoint_by_its_key() {
    let mut writer = writer();
    let service = format!("web.{LONG}");
    let endpoint = format!("web-0.{service}");
    writer.apply(&[
        change(&service, Some(data(1))),
        change(&endpoint, Some(data(1))),
    ]);
    beat(&mut writer);
    let Some(Stored::Record(key, record)) = stored(writer.sink(), &endpoint) else {
        panic!("not stored");
    };
    assert_eq!(key.endpoint_service(), Some(record.service));
    let words = key.words().iter();
    let mut name: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    name.truncate(name.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    let header = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let query = [
        &header,
        &*name,
        b"\x03svc\x07cluster\x05local\0\0\x01\0\x01",
    ]
    .concat();
    assert_eq!(answer(writer.sink(), &query), Err(PassReason::Name));
}
