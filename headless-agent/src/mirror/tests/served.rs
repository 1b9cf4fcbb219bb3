//! Served addresses.

use super::*;

#[test]
fn served_addresses_wait_for_the_whole_list() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let slices = slice("web", &[[10, 0, 0, 1]]);
    apply(&mut keeper, batch(vec![slices]));
    assert_eq!(mirror.snapshot().served, [] as [IpAddr; 0]);
    apply(&mut keeper, cluster());
    let expected: [IpAddr; 2] = [[10, 96, 0, 10].into(), [169, 254, 20, 10].into()];
    assert_eq!(mirror.snapshot().served, expected);
}

#[test]
fn addresses_of_the_dns_service_and_listen_addresses_are_served() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, cluster());
    let listen = IpAddr::from([169, 254, 20, 10]);
    assert_eq!(
        mirror.snapshot().served,
        [IpAddr::from([10, 96, 0, 10]), listen]
    );
    let moved = ServiceKind::ClusterIp(Box::new([IpAddr::from([10, 96, 0, 11])]));
    let event = service("kube-system", "kube-dns", moved);
    apply(&mut keeper, batch(vec![event]));
    assert_eq!(
        mirror.snapshot().served,
        [IpAddr::from([10, 96, 0, 11]), listen]
    );
    let served = mirror.snapshot().served.clone().into_iter();
    let served: Vec<_> = served.map(Address::from).collect();
    assert_eq!(keeper.writer.served().unwrap(), served);
}

#[test]
fn addresses_beyond_the_maps_capacity_are_left_out_and_shown() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let last = SERVED_MAX as usize + 2;
    let address = |i: usize| IpAddr::from([169, 254, (i >> 8) as u8, i as u8]);
    keeper.policy.listen = (0..last).map(address).collect();
    apply(&mut keeper, cluster());
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.served.len(), SERVED_MAX as usize);
    // The address of the DNS Service comes first, so it is served.
    assert_eq!(
        snapshot.unserved,
        [last - 3, last - 2, last - 1].map(address)
    );
    keeper.policy.listen.truncate(1);
    keeper.serve();
    keeper.beat().unwrap();
    let snapshot = mirror.snapshot();
    assert_eq!((snapshot.served.len(), snapshot.unserved.len()), (2, 0));
}

#[test]
fn an_address_without_a_place_is_tried_again() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    keeper.writer.sink_mut().served_max = 1;
    apply(&mut keeper, cluster());
    let [dns, listen] = [[10, 96, 0, 10], [169, 254, 20, 10]].map(IpAddr::from);
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.served, [dns]);
    assert_eq!(snapshot.unserved, [listen]);
    keeper.writer.sink_mut().served_max = SERVED_MAX;
    keeper.serve();
    keeper.beat().unwrap();
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.served, [dns, listen]);
    assert_eq!(snapshot.unserved, [] as [IpAddr; 0]);
}
