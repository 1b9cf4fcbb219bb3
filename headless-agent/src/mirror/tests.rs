//! The loop with maps in memory, fed by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use headless_ebpf::abi::{Address, HashKey, PodsMode, SERVED_MAX, State};
use hickory_proto::rr::Name;
use tokio::sync::mpsc;

use super::intake::Pieces;
use super::reported::PROBLEMS_SHOWN_MAX;
use super::*;
use crate::maps::capacity::{self, Counts};
use crate::maps::memory::MemorySink;
use crate::maps::writer::Writer;
use crate::maps::{WriteCounts, read};
use crate::records::Settings;
use crate::watch::{
    Batch, Endpoint, EndpointSlice, Event, Kind, Namespace, Object, Port, Problem, Reason, Report,
    Service, ServiceKind, ServiceRef,
};

fn config() -> Config {
    Config::new(
        "cluster.local",
        30,
        PodsMode::Insecure,
        &HashKey::from_seed(1),
    )
    .unwrap()
}

fn mirror() -> Arc<Mirror> {
    let zone = Name::from_str("cluster.local.").unwrap();
    Arc::new(Mirror::new(Index::new(Settings::new(zone)), config()))
}

fn service(namespace: &str, name: &str, kind: ServiceKind) -> Event {
    Event::Apply(Object::Service(Service {
        namespace: namespace.into(),
        name: name.into(),
        kind,
        ports: Box::new([]),
        selector: true,
        partial: false,
    }))
}

fn slice(service: &str, addresses: &[[u8; 4]]) -> Event {
    Event::Apply(Object::EndpointSlice(EndpointSlice {
        namespace: "default".into(),
        name: format!("{service}-1").into(),
        service: service.into(),
        ports: Box::new([] as [Port; 0]),
        aliases: Box::default(),
        partial: false,
        endpoints: addresses
            .iter()
            .map(|address| Endpoint {
                address: IpAddr::from(*address),
                name: None,
            })
            .collect(),
    }))
}

fn namespace(name: &str) -> Event {
    Event::Apply(Object::Namespace(Namespace { name: name.into() }))
}

fn batch(events: Vec<Event>) -> Batch {
    Batch {
        events,
        ..Batch::default()
    }
}

/// A cluster with its DNS and one headless Service.
fn cluster() -> Batch {
    let mut events = vec![
        namespace("default"),
        namespace("kube-system"),
        service(
            "kube-system",
            "kube-dns",
            ServiceKind::ClusterIp(Box::new([IpAddr::from([10, 96, 0, 10])])),
        ),
        service("default", "web", ServiceKind::Headless),
        slice("web", &[[10, 0, 0, 1], [10, 0, 0, 2]]),
    ];
    events.extend(Kind::ALL.map(Event::Restarted));
    batch(events)
}

fn keeper(mirror: &Arc<Mirror>) -> Keeper<MemorySink> {
    keeper_of(Intake::new(Arc::clone(mirror)))
}

fn keeper_of(intake: Intake) -> Keeper<MemorySink> {
    let counts = Counts {
        endpoints: 10_000,
        addresses: 10_000,
        ..Counts::LEAST
    };
    let capacities = capacity::capacities(&counts, u64::MAX).capacities;
    let sink = MemorySink::new(config(), capacities);
    let writer = Writer::open(sink, Arc::<WriteCounts>::default()).unwrap();
    let policy = Policy {
        lease: Duration::from_secs(30),
        source_max_age_deny: Duration::from_mins(2),
        cluster_dns: ServiceRef {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        },
        listen: vec![IpAddr::from([169, 254, 20, 10])],
    };
    Keeper::new(intake, writer, policy)
}

fn apply(keeper: &mut Keeper<MemorySink>, batch: Batch) {
    futures::executor::block_on(take(keeper, batch));
}

/// Takes in a batch, and fills the maps where it was the one that was missing.
async fn take(keeper: &mut Keeper<MemorySink>, batch: Batch) {
    keeper.take(batch).await.unwrap();
    if !keeper.complete && keeper.intake.mirror.index().synced() {
        keeper.fill().await.unwrap();
    }
}

fn installed(keeper: &Keeper<MemorySink>, wire: &[u8]) -> bool {
    let sink = keeper.writer.sink();
    let stored = read::stored(sink, wire).unwrap();
    let Some(data) = keeper.intake.mirror.index().detailed(wire) else {
        assert_eq!(stored, None);
        return false;
    };
    let current = read::is_current(sink, wire, &data).unwrap();
    assert!(current, "{stored:?} stored, {data:?} in the index");
    true
}

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
fn filled_when_every_kind_is_listed_and_not_before() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, batch(vec![namespace("default")]));
    assert!(!keeper.complete);
    assert_eq!(keeper.writer.sink().state.flags & State::COMPLETE, 0);
    apply(&mut keeper, cluster());
    assert!(keeper.complete);
    assert_ne!(keeper.writer.sink().state.flags & State::COMPLETE, 0);
    assert!(installed(&keeper, b"\x03web\x07default"));
    assert!(!installed(&keeper, b"\x03web\x05other"));
}

#[test]
fn the_dns_service_and_own_addresses_are_served() {
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
fn what_is_deleted_is_gone_from_the_maps() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, cluster());
    assert!(installed(&keeper, b"\x0810-0-0-1\x03web\x07default"));
    apply(&mut keeper, batch(vec![slice("web", &[[10, 0, 0, 2]])]));
    assert!(!installed(&keeper, b"\x0810-0-0-1\x03web\x07default"));
    assert!(installed(&keeper, b"\x0810-0-0-2\x03web\x07default"));
    let reference = crate::watch::ObjectRef {
        kind: Kind::Service,
        namespace: "default".into(),
        name: "web".into(),
    };
    apply(&mut keeper, batch(vec![Event::Delete(reference)]));
    assert!(!installed(&keeper, b"\x03web\x07default"));
    assert_eq!(
        mirror.snapshot().events(Kind::Service, EventKind::Delete),
        1
    );
    assert_eq!(
        mirror
            .snapshot()
            .events(Kind::EndpointSlice, EventKind::Apply),
        2
    );
}

/// A report about the Service of this number.
fn report(i: usize, wrong: bool) -> Report {
    let about = format!("Service default/bad-{i}");
    let problem = Problem {
        object: about.clone(),
        field: "spec.clusterIP".into(),
        reason: Reason::InvalidAddress("fd00::1e525".into()),
    };
    Report {
        about,
        problems: wrong.then_some(problem).into_iter().collect(),
    }
}

fn reports(reports: impl IntoIterator<Item = Report>) -> Batch {
    Batch {
        reports: reports.into_iter().collect(),
        ..Batch::default()
    }
}

#[test]
fn problems_are_counted_and_the_latest_are_shown() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let many = (0..PROBLEMS_SHOWN_MAX + 5).map(|i| report(i, true));
    apply(&mut keeper, reports(many));
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.problem_counts["invalid_address"], 105);
    assert_eq!(snapshot.reported.len(), PROBLEMS_SHOWN_MAX);
    assert!(snapshot.reported.last().unwrap().contains("bad-104"));
}

#[test]
fn a_problem_is_shown_until_its_object_is_right_or_gone() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, reports([report(1, true), report(2, true)]));
    apply(&mut keeper, reports([report(1, false), report(2, true)]));
    let snapshot = mirror.snapshot();
    assert_eq!(snapshot.reported.len(), 1, "{:?}", snapshot.reported);
    assert!(snapshot.reported[0].contains("bad-2"));
    assert_eq!(snapshot.problem_counts["invalid_address"], 2, "none twice");
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
    // The DNS Service's address comes first.
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

#[tokio::test(start_paused = true)]
async fn nothing_is_denied_while_the_source_is_silent_for_too_long() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let ear = mirror.source().listen("services");
    take(&mut keeper, cluster()).await;
    let mut denies = || {
        keeper.beat().unwrap();
        let told = keeper.writer.sink().state.flags & State::COMPLETE != 0;
        assert_eq!(told, mirror.index().may_deny());
        assert_eq!(told, mirror.snapshot().current);
        told
    };
    assert!(denies());
    tokio::time::advance(Duration::from_secs(119)).await;
    assert!(denies());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!denies());
    ear.heard();
    assert!(denies());
}

/// A cluster with this many headless Services of 100 endpoints each.
fn large(services: usize) -> Batch {
    let mut batch = cluster();
    let lists = batch.events.split_off(batch.events.len() - Kind::ALL.len());
    for i in 0..services {
        let name = format!("s{i}");
        batch
            .events
            .push(service("default", &name, ServiceKind::Headless));
        let addresses: Vec<_> = (0..100)
            .map(|e| [10, 1 + (i >> 8) as u8, i as u8, e])
            .collect();
        batch.events.push(slice(&name, &addresses));
    }
    batch.events.extend(lists);
    batch
}

#[test]
fn a_large_batch_is_cut_and_keeps_its_order() {
    let events = large(100).events;
    let pieces: Vec<_> = Pieces::new(events.clone()).collect();
    assert!(pieces.len() >= 5, "{}", pieces.len());
    assert_eq!(pieces.concat(), events);
    let one: Vec<_> = Pieces::new(cluster().events).collect();
    assert_eq!(one.len(), 1, "small batches stay whole");
}

#[tokio::test]
async fn others_run_and_the_loop_beats_between_the_pieces_of_a_batch() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let counts = Arc::clone(&keeper.writer.counts);
    keeper.beaten_ago(Duration::from_secs(2));
    let mut taking = Box::pin(keeper.take(large(100)));
    assert!(futures::poll!(taking.as_mut()).is_pending());
    assert!(mirror.index.try_write().is_some(), "nobody waits");
    assert!(!mirror.index().synced(), "half of it is there");
    assert!(!counts.complete());
    taking.await.unwrap();
    assert!(mirror.index().synced());
    assert!(!counts.complete(), "leftovers may be in the maps");
    keeper.fill().await.unwrap();
    assert!(counts.complete());
    assert!(mirror.index().name(b"\x03s99\x07default").is_some());
}

#[tokio::test]
async fn the_end_of_the_source_ends_the_loop() {
    let keeper = keeper(&mirror());
    let (sender, batches) = mpsc::channel(1);
    drop(sender);
    let error = keeper.run(batches).await.unwrap_err();
    assert!(error.to_string().contains("source"), "{error}");
}

#[tokio::test]
async fn the_cluster_is_read_before_there_are_maps_and_filled_in_later() {
    let mirror = mirror();
    let (sender, mut batches) = mpsc::channel(1);
    let mut intake = Intake::new(Arc::clone(&mirror));
    let (loaded, loading) = tokio::sync::oneshot::channel();
    let reading = async {
        sender.send(cluster()).await.unwrap();
        // The channel has room again once the first batch is taken out.
        sender.send(batch(vec![namespace("late")])).await.unwrap();
        loaded.send(7).unwrap();
    };
    let ((), ready) = tokio::join!(reading, intake.until(loading, &mut batches));
    assert_eq!(ready.unwrap().unwrap(), 7);
    assert!(mirror.snapshot().synced());
    let mut keeper = keeper_of(intake);
    keeper.fill().await.unwrap();
    assert!(installed(&keeper, b"\x03web\x07default"));
    assert_eq!(keeper.writer.served().unwrap().len(), 2);
}

#[tokio::test]
async fn the_cluster_has_been_read_once_every_kind_was_listed() {
    let mirror = mirror();
    let (sender, mut batches) = mpsc::channel(2);
    let mut intake = Intake::new(Arc::clone(&mirror));
    let mut events = cluster().events;
    let last = events.pop().unwrap();
    sender.send(batch(events)).await.unwrap();
    let read = async {
        let reading = intake.until(mirror.read(), &mut batches);
        reading.await.unwrap();
    };
    let listing = async {
        while mirror.index().name(b"\x03web\x07default").is_none() {
            tokio::task::yield_now().await;
        }
        assert!(mirror.read().now_or_never().is_none());
        sender.send(batch(vec![last])).await.unwrap();
    };
    tokio::join!(read, listing);
    assert!(mirror.index().synced());
}

#[tokio::test]
async fn the_loop_beats_as_soon_as_it_runs() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let counts = Arc::clone(&keeper.writer.counts);
    take(&mut keeper, cluster()).await;
    let before = counts.beat_ns.load(Ordering::Relaxed);
    let (sender, batches) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(batches));
    while counts.beat_ns.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    assert!(counts.complete());
    drop(sender);
    assert!(running.await.unwrap().is_err());
}
