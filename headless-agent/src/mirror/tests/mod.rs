//! The loop with maps in memory and events made by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod filling;
mod problems;
mod running;
mod served;

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use headless_ebpf::abi::{Address, HashKey, PodsMode, SERVED_MAX, State};
use hickory_proto::rr::Name;
use tokio::sync::mpsc;

use super::intake::WORK_MAX;
use super::reported::LINES_SHOWN_MAX;
use super::*;
use crate::maps::capacity::{self, Capacities, EntryCounts};
use crate::maps::memory::MemorySink;
use crate::maps::writer::Writer;
use crate::maps::{WriteCounts, read};
use crate::records::Settings;
use crate::watch::{
    Batch, Endpoint, EndpointSlice, Event, Kind, Namespace, Object, Port, Problem, Problems,
    Reason, Report, Service, ServiceKind, ServiceRef,
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
        selected: true,
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
        selected: true,
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

/// The first lists of a cluster with the Service of its DNS and one headless Service.
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
    let counts = EntryCounts {
        endpoints: 10_000,
        addresses: 10_000,
        ..EntryCounts::LEAST
    };
    keeper_with(intake, capacity::capacities(&counts, u64::MAX).capacities)
}

fn keeper_with(intake: Intake, capacities: Capacities) -> Keeper<MemorySink> {
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

/// Applies a batch, and fills the maps once all kinds are listed.
async fn take(keeper: &mut Keeper<MemorySink>, batch: Batch) {
    keeper.take(batch).await.unwrap();
    if !keeper.complete && keeper.intake.mirror.index().synced() {
        keeper.fill().await.unwrap();
    }
}

/// Whether the maps hold a name of the index, exactly as the index has it. Neither may have a
/// name that the other has not.
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
