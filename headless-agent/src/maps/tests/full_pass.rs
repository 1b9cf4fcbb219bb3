//! The full pass, and maps that another agent has left.

use headless_ebpf::abi::EndpointEntry;

use super::super::endpoints;
use super::super::reconcile::{Drift, Progress, Reconcile};
use super::*;
use crate::records::{EndpointScope, Index, Settings};
use crate::watch::{
    Endpoint, EndpointSlice, Event, Kind, Namespace, Object, ObjectRef, Service, ServiceKind,
};

/// The objects of a small cluster with endpoints of every kind.
fn events() -> Vec<Event> {
    let namespace = |name: &str| Event::Apply(Object::Namespace(Namespace { name: name.into() }));
    let mut events = vec![namespace("default"), namespace(LONG)];
    for namespace in ["default", LONG] {
        events.push(service(namespace, "web", ServiceKind::Headless));
        events.push(slice(namespace, "web", 0..40));
        let address = IpAddr::from([10, 96, 0, namespace.len() as u8]);
        events.push(service(
            namespace,
            "api",
            ServiceKind::ClusterIp([address].into()),
        ));
        events.push(slice(namespace, "api", 40..43));
    }
    events.extend(Kind::ALL.map(Event::Restarted));
    events
}

fn service(namespace: &str, name: &str, kind: ServiceKind) -> Event {
    Event::Apply(Object::Service(Service {
        namespace: namespace.into(),
        name: name.into(),
        kind,
        ports: Box::default(),
        selector: true,
        partial: false,
    }))
}

/// Every third endpoint has a hostname. Namespaces share no addresses.
fn slice(namespace: &str, service: &str, numbers: std::ops::Range<u8>) -> Event {
    let endpoint = |i: u8| Endpoint {
        address: IpAddr::from([10, namespace.len() as u8, 0, i]),
        name: i.is_multiple_of(3).then(|| format!("host-{i}").into()),
    };
    Event::Apply(Object::EndpointSlice(EndpointSlice {
        namespace: namespace.into(),
        name: format!("{service}-1").into(),
        service: service.into(),
        ports: Box::default(),
        endpoints: numbers.map(endpoint).collect(),
        aliases: Box::default(),
        partial: false,
    }))
}

fn index() -> Index {
    let zone = "cluster.local.".parse().unwrap();
    Index::new(Settings {
        endpoints: EndpointScope::All,
        ..Settings::new(zone)
    })
}

fn take(writer: &mut Writer<impl RecordSink>, index: &mut Index, events: Vec<Event>) {
    let changes = index.apply_all(events);
    writer.apply(&changes);
    writer.point(&index.take_pointers());
}

const ROOMY: Capacities = Capacities {
    table_slots: 256,
    chunks: 256,
    endpoint_buckets: 32,
    reverse_buckets: 64,
    ..CAPACITIES
};

fn filled() -> (Writer<MemorySink>, Index) {
    let (mut writer, mut index) = (with(ROOMY), index());
    take(&mut writer, &mut index, events());
    (writer, index)
}

/// The maps hold exactly what the index has.
fn check(writer: &mut Writer<impl RecordSink>, index: &Index) {
    let expected: BTreeSet<_> = index
        .names()
        .map(|(name, _)| name.as_bytes().to_vec())
        .collect();
    assert_eq!(read::names(writer.sink()).unwrap(), expected);
    for wire in &expected {
        let data = index.detailed(wire).unwrap();
        let current = read::is_current(writer.sink(), wire, &data).unwrap();
        assert!(current, "{}", crate::maps::writer::show(wire));
    }
    let counted: Vec<u64> = entries(writer);
    assert_eq!(writer.reconcile(index).unwrap(), Drift::default());
    assert_eq!(entries(writer), counted, "counted right");
}

fn entries(writer: &Writer<impl RecordSink>) -> Vec<u64> {
    MapKind::ALL.map(|map| writer.counts.entries(map)).into()
}

#[test]
fn a_full_pass_finds_nothing_where_nothing_is_wrong() {
    let (mut writer, index) = filled();
    assert!(!writer.has_leftovers());
    check(&mut writer, &index);
    assert!(writer.counts.entries(MapKind::Reverse) > 80);
}

#[test]
fn a_full_pass_makes_the_maps_the_index() {
    let (mut writer, index) = filled();
    let before = entries(&writer);
    let hash_key = config().hash_key;
    // A name and a regular endpoint that are gone, one of each that should be.
    let gone = [name("api.default"), name("10-7-0-1.web.default")];
    for name in &gone {
        writer.apply(&[NameChange {
            name: name.clone(),
            data: None,
        }]);
    }
    writer.apply(&[
        change("new.default", Some(data(40))),
        change("10-0-0-0.new.default", Some(data(1))),
    ]);
    // A chunk that is another's, and one that nothing names.
    let Some(Stored::Record(_, web)) = stored(writer.sink(), "web.default") else {
        panic!("not stored");
    };
    let mut chunk = writer.sink().arrays().chunk(web.extent);
    chunk.words[0] ^= 1;
    writer.sink().arrays().put_chunk(web.extent, &chunk);
    writer.sets.extents.take(3).unwrap();
    // An endpoint of a Service that never was.
    endpoints::put(
        writer.sink().arrays(),
        &hash_key,
        EndpointEntry::new(999, 1),
    );
    let drift = writer.reconcile(&index).unwrap();
    assert_eq!(drift.missing, 1 + 2 + 1, "api has a new number");
    assert_eq!(drift.differing, 1 + 1, "so has its third endpoint");
    assert!(drift.stale > 1 + 1 + 3 + 1, "{drift:?}");
    assert_eq!(writer.counts.drift.load(Ordering::Relaxed), drift.total());
    assert_eq!(entries(&writer), before);
    check(&mut writer, &index);
}

/// Changes between the steps of a pass are neither drift nor broken by it.
#[test]
fn names_may_change_during_a_full_pass() {
    let (mut writer, mut index) = filled();
    let mut pass = Reconcile::new();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut steps = 0;
    let drift = loop {
        let progress = pass.step(&mut writer, &index, 8).unwrap();
        let namespace = if rng.bool() { "default" } else { LONG };
        let of = ["web", "api", "new"][rng.usize(..3)];
        let events = if rng.u8(..4) > 0 {
            let first = rng.u8(..40);
            let kind = match of {
                "api" => ServiceKind::ClusterIp([IpAddr::from([10, 97, 0, first])].into()),
                _ => ServiceKind::Headless,
            };
            vec![
                service(namespace, of, kind),
                slice(namespace, of, first..first + rng.u8(..40)),
            ]
        } else {
            vec![Event::Delete(ObjectRef {
                kind: Kind::Service,
                namespace: namespace.into(),
                name: of.into(),
            })]
        };
        take(&mut writer, &mut index, events);
        steps += 1;
        if let Progress::Done(drift) = progress {
            break drift;
        }
    };
    assert!(steps > 50, "{steps} steps");
    assert_eq!(drift, Drift::default());
    assert_eq!((writer.failed().len(), writer.crowded().len()), (0, 0));
    check(&mut writer, &index);
}

#[test]
fn another_agents_maps_are_taken_over() {
    let (mut first, index) = filled();
    first.apply(&[
        change("stale.default", Some(data(60))),
        change("host-0.stale.default", Some(data(1))),
    ]);
    let before = sets(first.sink());
    let mut writer = open(first.sink_mut());
    assert!(writer.has_leftovers());
    let drift = writer.reconcile(&index).unwrap();
    assert_eq!((drift.missing, drift.differing), (0, 0));
    assert_eq!(drift.stale, 2 + 1, "two names and the chunks");
    assert_eq!(read(writer.sink(), "stale.default"), None);
    assert!(sets(writer.sink()).is_subset(&before), "kept as they are");
    writer.apply(&[change("new.default", Some(data(60)))]);
    assert!(
        !sets(writer.sink()).is_subset(&before),
        "a version of its own"
    );
    writer.apply(&[change("new.default", None)]);
    check(&mut writer, &index);
}

/// An agent that dies while it writes may leave a name out.
#[test]
fn after_a_death_while_writing_nothing_is_denied() {
    let (mut first, index) = filled();
    beat(&mut first);
    first.begin_writing();
    let before = first.sink().state;
    let mut writer = open(first.sink_mut());
    assert_eq!(writer.sink().state, before, "opening writes nothing");
    writer.reconcile(&index).unwrap();
    writer.apply(&[change("new.default", Some(data(1)))]);
    let state = writer.sink().state;
    assert!(state.denies_since(state), "a generation of its own");
    assert_eq!(state.flags & State::COMPLETE, 0, "until the next heartbeat");
}

/// Chunks that two records name are neither's.
#[test]
fn records_with_chunks_of_others_are_dropped() {
    let (mut first, index) = filled();
    beat(&mut first);
    let Some(Stored::Record(..)) = stored(first.sink(), "web.default") else {
        panic!("not stored");
    };
    let arrays = first.sink().arrays();
    for index in 0..arrays.table_slots() {
        let mut slot = arrays.slot(index);
        if slot.record.extent != 0 {
            slot.record.extent = 1;
            arrays.put_slot(index, &slot);
        }
    }
    let mut writer = open(first.sink_mut());
    assert_eq!(writer.sink().state.flags & State::COMPLETE, 0);
    assert_eq!(read(writer.sink(), "web.default"), None);
    let drift = writer.reconcile(&index).unwrap();
    assert!(drift.missing > 0, "{drift:?}");
    check(&mut writer, &index);
}
