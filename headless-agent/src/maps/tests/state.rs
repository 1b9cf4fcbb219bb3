//! Heartbeats and served addresses.

use super::*;
use crate::corefile::Part;

#[test]
fn a_heartbeat_moves_the_deadline_by_the_lease() {
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
        passes: Part::Reverse.into(),
    };
    writer.beat(unsure).unwrap();
    assert!(!complete(&writer));
    let passes = |writer: &Writer<MemorySink>| writer.sink().state.flags & State::PASSES;
    assert_eq!(passes(&writer), State::PASS_REVERSE);
    beat(&mut writer);
    assert_eq!(passes(&writer), 0);
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

/// An address that finds no slot does not keep others from being served.
#[test]
fn an_address_without_a_slot_is_left_out() {
    let mut writer = writer();
    let addresses: Vec<Address> = (0..600_u32)
        .map(|i| IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + i)).into())
        .collect();
    writer.sink_mut().served_max = u32::MAX;
    let unplaced = writer.serve(&addresses).unwrap();
    assert!(unplaced.len() >= 88, "there are 512 slots");
    let mut placed = addresses;
    placed.retain(|address| !unplaced.contains(address));
    assert_eq!(writer.served().unwrap(), placed);
}

/// The outdated record of a name is deleted, although the name exists.
#[test]
fn a_failed_write_is_not_followed_by_a_denial() {
    let mut writer = open(Checked::new());
    writer.apply(&[change("web.default", Some(data(1)))]);
    let before = State {
        flags: writer.sink().sink.state.flags | State::COMPLETE,
        ..writer.sink().sink.state
    };
    writer.sink_mut().sink.put_state(before).unwrap();
    let mut writer = open(writer.sink_mut());
    writer.sink_mut().refuses = true;
    writer.apply(&[change("web.default", Some(data(2)))]);
    assert_eq!(writer.failed().len(), 1);
    assert_eq!(stored(*writer.sink(), "web.default"), None);
    let after = writer.sink().sink.state.flags;
    let generations = (after - (before.flags & !State::COMPLETE)) / State::GENERATION;
    assert_eq!(
        generations, 4,
        "an odd one for the write, another for the deletion"
    );
}

/// A look-up beside a write over a name may miss it. A look-up beside other writes may deny a
/// name: otherwise a tenant that makes and deletes names all the time would keep all other
/// tenants' questions from being denied.
#[test]
fn only_a_write_over_a_name_keeps_names_from_being_denied() {
    let mut writer = writer();
    beat(&mut writer);
    let mut denies = |text: &str, data| {
        let before = writer.sink().state;
        writer.apply(&[change(text, data)]);
        writer.sink().state.denies_since(before)
    };
    for namespace in ["default", LONG] {
        let service = format!("web.{namespace}");
        let [regular, named] = ["10-0-0-0", "web-0"].map(|label| format!("{label}.{service}"));
        assert!(denies(&service, Some(data(0))), "new");
        assert!(denies(&regular, Some(data(1))), "a new entry");
        assert!(denies(&named, Some(data(1))), "a new record");
        assert!(!denies(&service, Some(data(1))), "a record over a record");
        assert!(
            !denies(&regular, Some(data(2))),
            "from an entry to a record"
        );
        assert!(
            !denies(&regular, Some(data(1))),
            "from a record to an entry"
        );
        assert!(!denies(&named, Some(data(2))), "a record over a record");
        for text in [&regular, &named, &service] {
            assert!(denies(text, None), "deleted");
        }
    }
}
