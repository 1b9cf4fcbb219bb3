//! Heartbeats and served addresses.

use super::*;

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
