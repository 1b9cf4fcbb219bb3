//! The full pass, and maps of another agent.

use headless_ebpf::abi::EndpointEntry;

use super::checked::Checked;
use super::*;
use crate::maps::place::endpoints;
use crate::maps::reconcile::{Drift, Progress, Reconcile};
use crate::records::EndpointScope;
use crate::watch::{Endpoint, EndpointSlice, Kind, Namespace, ObjectRef};

/// The objects of a small cluster with all kinds of endpoints.
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

/// A slice in which every third endpoint has a hostname. No address is in two namespaces.
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
        selected: true,
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
    writer.write(&changes, index);
    writer.point(&index.take_pointers(), index);
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

/// Checks that the maps hold the names of the index and no others, and that a full pass finds
/// no difference.
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
    assert_eq!(entries(writer), counted, "the counts were right");
}

fn entries(writer: &Writer<impl RecordSink>) -> Vec<u64> {
    MapKind::ALL.map(|map| writer.counts.entries(map)).into()
}

#[test]
fn a_full_pass_over_right_maps_finds_no_drift() {
    let (mut writer, index) = filled();
    check(&mut writer, &index);
    assert!(writer.counts.entries(MapKind::Reverse) > 80);
}

#[test]
fn a_full_pass_corrects_every_kind_of_difference() {
    let (mut writer, index) = filled();
    let before = entries(&writer);
    let hash_key = config().hash_key;
    // A deleted name, a deleted regular endpoint, and one stale entry of each kind.
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
    // A damaged chunk, and three used chunks that no record names.
    let Some(Stored::Record(_, web)) = stored(writer.sink(), "web.default") else {
        panic!("not stored");
    };
    let mut chunk = writer.sink().arrays().chunk(web.extent);
    chunk.words[0] ^= 1;
    writer.sink().arrays().put_chunk(web.extent, &chunk);
    writer.sets.extents.take(3).unwrap();
    // A regular endpoint of a Service that never existed.
    endpoints::put(
        writer.sink().arrays(),
        &hash_key,
        EndpointEntry::new(999, 1),
    );
    let drift = writer.reconcile(&index).unwrap();
    assert_eq!(
        drift.missing,
        1 + 2 + 1,
        "api has a new number, so its two regular endpoints are missing"
    );
    assert_eq!(
        drift.differing,
        1 + 1,
        "web, and the record of api's third endpoint"
    );
    assert!(drift.stale > 1 + 1 + 3 + 1, "{drift:?}");
    assert_eq!(writer.counts.drift.load(Ordering::Relaxed), drift.total());
    assert_eq!(entries(&writer), before);
    check(&mut writer, &index);
}

/// Changes between the steps of a pass are no drift, and the pass does not undo them.
#[test]
fn names_may_change_during_a_full_pass() {
    let (mut writer, mut index) = filled();
    assert_eq!(changing(&mut writer, &mut index), Drift::default());
    check(&mut writer, &index);
}

/// Makes a full pass, and changes some Service after each step.
fn changing(writer: &mut Writer<impl RecordSink>, index: &mut Index) -> Drift {
    let mut pass = Reconcile::new();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut steps = 0;
    let drift = loop {
        let progress = pass.step(writer, index, 8).unwrap();
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
        take(writer, index, events);
        steps += 1;
        if let Progress::Done(drift) = progress {
            break drift;
        }
    };
    assert!(steps > 5, "{steps} steps");
    assert_eq!((writer.failed().len(), writer.crowded().len()), (0, 0));
    drift
}

/// The writer of empty maps, and an index with a cluster.
fn empty() -> (Writer<Checked>, Index) {
    let mut index = index();
    index.absorb(events());
    (open(Checked::with(ROOMY)), index)
}

#[test]
fn empty_maps_are_filled_without_a_read() {
    let (mut writer, index) = empty();
    let before = writer.sink().reads.get();
    let mut pass = Reconcile::new();
    let mut steps = 0;
    while pass.step(&mut writer, &index, 8).unwrap() == Progress::More {
        assert!(
            !writer.is_writing(),
            "the programs may deny between two steps"
        );
        steps += 1;
    }
    assert!(steps > 2 && writer.sink().changed > 30);
    assert_eq!(writer.sink().reads.get(), before);
    assert_eq!(writer.counts.drift.load(Ordering::Relaxed), 0);
    check(&mut writer, &index);
    assert!(writer.counts.entries(MapKind::Reverse) > 80);
}

#[test]
fn names_may_change_while_empty_maps_are_filled() {
    let (mut writer, mut index) = empty();
    changing(&mut writer, &mut index);
    check(&mut writer, &index);
}

/// A Service keeps its number while its record cannot be written.
#[test]
fn names_that_empty_maps_refuse_are_written_later() {
    let (mut writer, index) = empty();
    writer.sink_mut().refuses = true;
    writer.reconcile(&index).unwrap();
    assert!(writer.failed().len() > 30);
    assert!(writer.counts.entries(MapKind::Endpoints) > 50);
    writer.sink_mut().refuses = false;
    writer.catch_up(&index);
    assert_eq!(writer.failed().len(), 0);
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
    assert!(!writer.is_empty());
    let drift = writer.reconcile(&index).unwrap();
    assert_eq!((drift.missing, drift.differing), (0, 0));
    assert_eq!(drift.stale, 2 + 1, "two names and one run of chunks");
    assert_eq!(read(writer.sink(), "stale.default"), None);
    assert!(
        sets(writer.sink()).is_subset(&before),
        "no set was written again"
    );
    writer.apply(&[change("new.default", Some(data(60)))]);
    assert!(
        !sets(writer.sink()).is_subset(&before),
        "the new set has a version of its own"
    );
    writer.apply(&[change("new.default", None)]);
    check(&mut writer, &index);
}

/// With `--endpoints headless` the index knows no endpoints of Services with cluster IPs.
#[test]
fn services_with_unknown_endpoints_have_no_entries() {
    let mut writer = with(ROOMY);
    let zone = "cluster.local.".parse().unwrap();
    let mut index = Index::new(Settings::new(zone));
    let endpoints = |writer: &Writer<MemorySink>| writer.counts.entries(MapKind::Endpoints);
    take(&mut writer, &mut index, events());
    let headless = endpoints(&writer);
    assert_eq!(headless, 2 * 26, "two thirds of 40 endpoints, twice");
    check(&mut writer, &index);

    let address = IpAddr::from([10, 96, 9, 9]);
    let kind = ServiceKind::ClusterIp([address].into());
    take(
        &mut writer,
        &mut index,
        vec![service("default", "web", kind)],
    );
    assert_eq!(
        endpoints(&writer),
        headless / 2,
        "those of web.default are gone"
    );
    check(&mut writer, &index);
    let changes = vec![service("default", "web", ServiceKind::Headless)];
    take(&mut writer, &mut index, changes);
    assert_eq!(endpoints(&writer), headless);
    check(&mut writer, &index);
}

/// The maps of an agent that died while it wrote may lack a name.
#[test]
fn after_a_death_while_writing_nothing_is_denied() {
    let (mut first, index) = filled();
    beat(&mut first);
    first.begin_writing();
    let before = first.sink().state;
    let mut writer = open(first.sink_mut());
    assert_eq!(
        writer.sink().state,
        before,
        "opening the maps writes nothing"
    );
    writer.reconcile(&index).unwrap();
    writer.apply(&[change("new.default", Some(data(1)))]);
    let state = writer.sink().state;
    assert!(state.denies_since(state), "the generation is even again");
    assert_eq!(state.flags & State::COMPLETE, 0, "until the next heartbeat");
}

/// If two records name the same chunks, at least one is damaged, so both are deleted.
#[test]
fn records_with_chunks_of_others_are_deleted() {
    let (mut first, index) = filled();
    beat(&mut first);
    let Some(Stored::Record(..)) = stored(first.sink(), "web.default") else {
        panic!("not stored");
    };
    let arrays = first.sink().arrays();
    for index in 0..arrays.table_slots() {
        let mut slot = arrays.slot(index);
        if slot.record.extent != 0 {
            slot.record.extent = 2;
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
