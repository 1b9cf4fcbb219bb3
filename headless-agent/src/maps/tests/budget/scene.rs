//! Three namespaces, their maps, and questions about them to the engine.

use super::*;
use crate::maps::reconcile::{Drift, Progress, Reconcile};
use crate::records::EndpointScope;
use crate::watch::{Endpoint, EndpointSlice, Kind, Namespace, ObjectRef, Pod};

/// An index and its maps.
pub(super) struct Scene {
    pub(super) index: Index,
    pub(super) writer: Writer<MemorySink>,
}

/// Maps for some 100 names of each kind.
pub(super) const SMALL: Capacities = Capacities {
    table_slots: 64,
    names_short: 64,
    names_medium: 32,
    names_long: 16,
    chunks: 129,
    endpoint_buckets: 16,
    reverse_buckets: 32,
};

impl Scene {
    pub(super) fn new(capacities: Capacities) -> Self {
        Self::with(capacities, EndpointScope::All)
    }

    /// Maps of which only these Services' endpoints have names and hints.
    pub(super) fn with(capacities: Capacities, endpoints: EndpointScope) -> Self {
        let mut config = config();
        config.pods = PodsMode::Verified as u32;
        let mut scene = Self {
            index: Index::new(Settings {
                endpoints,
                pods: PodsMode::Verified,
                ..Settings::new("cluster.local.".parse().unwrap())
            }),
            writer: open(MemorySink::new(config, capacities)),
        };
        let namespace =
            |name: &str| Event::Apply(Object::Namespace(Namespace { name: name.into() }));
        let mut events = vec![namespace("a"), namespace("b"), namespace("c")];
        events.extend(Kind::ALL.map(Event::Restarted));
        scene.take(events);
        scene
    }

    pub(super) fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        let changes = self.index.apply_all(events);
        self.writer.write(&changes, &self.index);
        let pointers = self.index.take_pointers();
        self.writer.point(&pointers, &self.index);
        beat(&mut self.writer);
    }

    /// The engine's answer to a question for A records of a relative name.
    pub(super) fn ask(&self, name: &str) -> Result<Outcome, PassReason> {
        let below = if name.contains(".pod.") {
            ""
        } else {
            ".svc.cluster"
        };
        let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in format!("{name}{below}.local").split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        answer(self.writer.sink(), &query)
    }

    /// Whether the addresses of a name are in the maps.
    pub(super) fn is_given(&self, name: &str) -> bool {
        matches!(self.ask(name), Ok(Outcome::Data | Outcome::Truncated))
    }

    /// Checks that every name of a namespace is in the maps, and that its negative answers are
    /// given.
    pub(super) fn is_unhurt(&self, namespace: &str) {
        let end = format!(".{namespace}");
        let mut seen = 0;
        for (name, data) in self.index.names() {
            let text = name.to_string();
            if text.ends_with(&end) && !data.ipv4.is_empty() {
                assert!(self.is_given(&text), "{text}: {:?}", self.ask(&text));
                seen += 1;
            }
        }
        assert!(seen > 0, "{namespace} has names");
        for missing in [
            format!("nope.{namespace}"),
            format!("nope.small.{namespace}"),
            format!("192-0-2-1.{namespace}.pod.cluster"),
        ] {
            assert_eq!(self.ask(&missing), Ok(Outcome::NxDomain), "{missing}");
        }
    }

    /// Checks that no name that exists is denied, and that the counted holdings are the maps'.
    pub(super) fn check(&mut self) {
        for (name, data) in self.index.names() {
            match self.ask(&name.to_string()) {
                Ok(Outcome::NoData) => assert!(data.ipv4.is_empty(), "{name}"),
                Ok(Outcome::NxDomain) => panic!("{name} is denied"),
                _ => {}
            }
        }
        assert_eq!(self.writer.failed().len(), 0);
        let counted = holdings(&self.writer);
        for room in Room::ALL {
            let held: u64 = counted.iter().map(|(_, held)| held[room as usize]).sum();
            assert_eq!(held, self.writer.used(room), "{room:?} {counted:?}");
        }
        // Another writer finds the same. It does not know a name chunk without hints.
        let but_chunks = |mut all: Vec<(String, [u64; 6])>| {
            for (_, held) in &mut all {
                held[Room::Chunks as usize] = 0;
            }
            all
        };
        let fresh = open(self.writer.sink_mut());
        assert_eq!(but_chunks(counted), but_chunks(holdings(&fresh)));
    }

    pub(super) fn reconcile(&mut self) -> Drift {
        let drift = self.writer.reconcile(&self.index).unwrap();
        beat(&mut self.writer);
        drift
    }

    /// Makes a step of a full pass over so many entries. Returns whether the pass is under way.
    pub(super) fn step(&mut self, pass: &mut Reconcile, entries: usize) -> bool {
        let progress = pass.step(&mut self.writer, &self.index, entries).unwrap();
        beat(&mut self.writer);
        progress == Progress::More
    }

    pub(super) fn yields(&self) -> (u32, u32) {
        self.writer.budget.yielding()
    }
}

/// The elements of each namespace, by room.
fn holdings<S: RecordSink>(writer: &Writer<S>) -> Vec<(String, [u64; 6])> {
    let mut all: Vec<_> = writer.budget.holdings().collect();
    all.sort_unstable();
    all
}

/// A number for the addresses of a namespace.
fn net(namespace: &str) -> u32 {
    0x0a00_0000 | u32::from(namespace.as_bytes()[0]) << 16
}

/// A headless Service with endpoints, of which each third one has a hostname if `named`.
pub(super) fn headless(
    namespace: &str,
    name: &str,
    first: u32,
    count: u32,
    named: bool,
) -> [Event; 2] {
    let endpoint = |i: u32| Endpoint {
        address: Ipv4Addr::from(net(namespace) + first + i).into(),
        name: (named && i.is_multiple_of(3)).then(|| format!("host-{i}").into()),
    };
    [
        service(namespace, name, ServiceKind::Headless),
        Event::Apply(Object::EndpointSlice(EndpointSlice {
            namespace: namespace.into(),
            name: format!("{name}-1").into(),
            service: name.into(),
            ports: Box::default(),
            endpoints: (0..count).map(endpoint).collect(),
            aliases: Box::default(),
            partial: false,
            selected: true,
        })),
    ]
}

pub(super) fn cluster_ip(namespace: &str, name: &str, number: u32) -> Event {
    let address = Ipv4Addr::from(net(namespace) + 0x8000 + number);
    service(
        namespace,
        name,
        ServiceKind::ClusterIp([address.into()].into()),
    )
}

pub(super) fn pod(namespace: &str, number: u32) -> Event {
    Event::Apply(Object::Pod(Pod {
        namespace: namespace.into(),
        name: format!("pod-{number}").into(),
        address: Some(Ipv4Addr::from(net(namespace) + number).into()),
        terminating: false,
    }))
}

pub(super) fn gone(kind: Kind, namespace: &str, name: &str) -> Event {
    Event::Delete(ObjectRef {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    })
}

/// A small cluster: a Service of three endpoints and a pod in each namespace.
pub(super) fn small(scene: &mut Scene) {
    for namespace in ["a", "b", "c"] {
        scene.take(headless(namespace, "small", 1, 3, true));
        scene.take([pod(namespace, 1)]);
    }
}
