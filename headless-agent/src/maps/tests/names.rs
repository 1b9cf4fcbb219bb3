//! Names that are written, replaced and deleted.

use super::*;

#[test]
fn written_names_are_found_until_they_are_deleted() {
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
fn details_come_and_go_with_their_name() {
    let mut writer = writer();
    let chunks = |writer: &Writer<MemorySink>| writer.counts.entries(MapKind::Chunks);
    writer.apply(&[change("web.default", Some(detailed(3)))]);
    assert_eq!(chunks(&writer), 1);
    writer.apply(&[change("web.default", Some(detailed(40)))]);
    // 40 addresses take 2 chunks. 8 bytes of header and 40 targets of about 14 bytes take 5.
    assert_eq!(chunks(&writer), 2 + 5);
    writer.apply(&[change("web.default", None)]);
    assert_eq!(chunks(&writer), 0);
}

#[test]
fn no_write_shows_a_half_state() {
    let mut writer = open(Checked::new());
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
    assert_eq!(
        writer.sink().changed,
        12,
        "checked before and after each of six changes"
    );
    let after = writer.sink().sink.state;
    assert!(!after.denies_since(before) && after.denies_since(after));
}
