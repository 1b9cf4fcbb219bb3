//! The loop with maps in memory, fed by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::str::FromStr as _;
use std::sync::atomic::Ordering;

use headless_ebpf::abi::{PodsMode, State};
use hickory_proto::rr::Name;
use tokio::sync::watch;

use super::*;
use crate::maps::memory::MemorySink;
use crate::maps::{MapName, WriteCounts, encode};
use crate::records::Settings;
use crate::watch::{
    Endpoint, EndpointSlice, Namespace, Object, Port, Reason, Service, ServiceKind,
};

fn config() -> Config {
    Config::new("cluster.local", 30, PodsMode::Insecure, 0x5eed).unwrap()
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
    }))
}

fn slice(service: &str, addresses: &[[u8; 4]]) -> Event {
    Event::Apply(Object::EndpointSlice(EndpointSlice {
        namespace: "default".into(),
        name: format!("{service}-1").into(),
        service: service.into(),
        ports: Box::new([] as [Port; 0]),
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

fn keeper(mirror: &Arc<Mirror>) -> (Keeper<MemorySink>, watch::Receiver<bool>) {
    let writer = Writer::new(
        MemorySink::default(),
        mirror.config().seal_seed,
        Arc::<WriteCounts>::default(),
    );
    let policy = Policy {
        lease: Duration::from_secs(30),
        cluster_dns: ServiceRef {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        },
        listen: vec![IpAddr::from([169, 254, 20, 10])],
    };
    let (on_filled, filled) = watch::channel(false);
    (
        Keeper::new(Arc::clone(mirror), writer, policy, on_filled),
        filled,
    )
}

fn installed(keeper: &Keeper<MemorySink>, wire: &[u8]) -> bool {
    let name = MapName::from_wire(wire).unwrap();
    let record = keeper.writer.sink().names.get(&name);
    let data = keeper.mirror.index().detailed(wire);
    match (record, data) {
        (Some(record), Some(data)) => {
            let seed = keeper.mirror.config().seal_seed;
            let expected = encode::encode(&name, seed, &data, record.set()).record;
            assert_eq!(*record, expected, "as the index has it");
            true
        }
        (None, None) => false,
        (record, data) => panic!("{record:?} installed, {data:?} in the index"),
    }
}

#[test]
fn served_addresses_wait_for_the_whole_list() {
    let mirror = mirror();
    let (mut keeper, _filled) = keeper(&mirror);
    let slices = slice("web", &[[10, 0, 0, 1]]);
    keeper.apply(batch(vec![slices])).unwrap();
    assert_eq!(mirror.servers(), [] as [IpAddr; 0]);
    keeper.apply(cluster()).unwrap();
    let expected: [IpAddr; 2] = [[10, 96, 0, 10].into(), [169, 254, 20, 10].into()];
    assert_eq!(mirror.servers(), expected);
}

#[test]
fn filled_when_every_kind_is_listed_and_not_before() {
    let mirror = mirror();
    let (mut keeper, filled) = keeper(&mirror);
    keeper.apply(batch(vec![namespace("default")])).unwrap();
    assert!(!*filled.borrow());
    assert_eq!(keeper.writer.sink().state.flags & State::COMPLETE, 0);
    keeper.apply(cluster()).unwrap();
    assert!(*filled.borrow());
    assert_ne!(keeper.writer.sink().state.flags & State::COMPLETE, 0);
    assert!(installed(&keeper, b"\x03web\x07default"));
    assert!(!installed(&keeper, b"\x03web\x05other"));
}

#[test]
fn the_dns_service_and_own_addresses_are_served() {
    let mirror = mirror();
    let (mut keeper, _filled) = keeper(&mirror);
    keeper.apply(cluster()).unwrap();
    let listen = IpAddr::from([169, 254, 20, 10]);
    assert_eq!(mirror.servers(), [IpAddr::from([10, 96, 0, 10]), listen]);
    let moved = ServiceKind::ClusterIp(Box::new([IpAddr::from([10, 96, 0, 11])]));
    let event = service("kube-system", "kube-dns", moved);
    keeper.apply(batch(vec![event])).unwrap();
    assert_eq!(mirror.servers(), [IpAddr::from([10, 96, 0, 11]), listen]);
    let served: Vec<_> = mirror
        .servers()
        .into_iter()
        .map(ServerAddress::from)
        .collect();
    let mut installed = keeper.writer.sink().servers().unwrap();
    installed.sort_by_key(|(_, index)| *index);
    assert_eq!(installed, [(served[0], 0), (served[1], 1)]);
}

#[test]
fn what_is_deleted_is_gone_from_the_maps() {
    let mirror = mirror();
    let (mut keeper, _filled) = keeper(&mirror);
    keeper.apply(cluster()).unwrap();
    assert!(installed(&keeper, b"\x0810-0-0-1\x03web\x07default"));
    keeper
        .apply(batch(vec![slice("web", &[[10, 0, 0, 2]])]))
        .unwrap();
    assert!(!installed(&keeper, b"\x0810-0-0-1\x03web\x07default"));
    assert!(installed(&keeper, b"\x0810-0-0-2\x03web\x07default"));
    let reference = crate::watch::ObjectRef {
        kind: Kind::Service,
        namespace: "default".into(),
        name: "web".into(),
    };
    keeper.apply(batch(vec![Event::Delete(reference)])).unwrap();
    assert!(!installed(&keeper, b"\x03web\x07default"));
    assert_eq!(mirror.events(Kind::Service, Change::Delete), 1);
    assert_eq!(mirror.events(Kind::EndpointSlice, Change::Apply), 2);
}

#[test]
fn problems_are_counted_and_kept() {
    let mirror = mirror();
    let (mut keeper, _filled) = keeper(&mirror);
    let problem = |i: usize| Problem {
        object: format!("Service default/bad-{i}"),
        field: "spec.clusterIP".into(),
        reason: Reason::InvalidAddress("fd00::1e525".into()),
    };
    keeper
        .apply(Batch {
            problems: (0..PROBLEMS_SHOWN_MAX + 5).map(problem).collect(),
            ..Batch::default()
        })
        .unwrap();
    assert_eq!(mirror.problem_counts()["invalid_address"], 105);
    let reported = mirror.reported();
    assert_eq!(reported.len(), PROBLEMS_SHOWN_MAX);
    assert!(
        reported.last().unwrap().contains("bad-104"),
        "the latest last"
    );
}

#[tokio::test]
async fn the_end_of_the_source_ends_the_loop() {
    let (keeper, _filled) = keeper(&mirror());
    let (sender, batches) = mpsc::channel(1);
    drop(sender);
    let error = keeper.run(batches).await.unwrap_err();
    assert!(error.to_string().contains("source"), "{error}");
}

#[tokio::test]
async fn the_loop_beats_as_soon_as_it_runs() {
    let mirror = mirror();
    let (keeper, mut filled) = keeper(&mirror);
    let counts = Arc::clone(&keeper.writer.counts);
    let (sender, batches) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(batches));
    sender.send(cluster()).await.unwrap();
    filled.wait_for(|filled| *filled).await.unwrap();
    assert!(counts.beat_ns.load(Ordering::Relaxed) > 0);
    assert!(counts.complete());
    drop(sender);
    assert!(running.await.unwrap().is_err());
}
