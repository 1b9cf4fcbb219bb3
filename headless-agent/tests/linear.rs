//! Any EndpointSlice that the API can hold costs time and memory in proportion to its size. Of
//! other kinds, what no answer depends on costs no memory.
//!
//! Time is counted as allocations and as the index's own work, memory as the bytes that all
//! allocations take together and at most at one time.
#![expect(
    unsafe_code,
    reason = "an allocator that counts forwards to the system's"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use headless_agent::records::{EndpointScope, Index, Question, Resolution, Settings, resolve};
use headless_agent::watch::convert::{ReadPod, ReadService, ReadSlice, endpoint_slice};
use headless_agent::watch::{
    ENTRIES_MAX, Endpoint, EndpointSlice, Event, Keep, Kind, Namespace, Object, ObjectRef,
    Problems, Service, ServiceKind, SliceEndpoints,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Bytes of all allocations so far, bytes in use, and most bytes in use.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is forwarded to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        let used = USED.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(used, Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The cost of some slices.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Bytes of the slices as JSON.
    size: usize,
    /// Bytes of all allocations.
    allocated: usize,
    /// Most bytes that were in use at one time.
    peak: usize,
    work: usize,
}

impl Cost {
    /// Panics where each byte of `self` costs more than 1.6 times as much as one of `smaller`,
    /// but for a constant.
    fn is_linear(self, smaller: Self, what: &str) {
        let within = |now: usize, before: usize, free: usize| {
            now.saturating_sub(free) * smaller.size * 10 <= before * self.size * 16
        };
        assert!(
            within(self.allocated, smaller.allocated, 1 << 20)
                && within(self.peak, smaller.peak, 1 << 20)
                && within(self.work, smaller.work, 1000),
            "{what}: {smaller:?}, then {self:?}"
        );
    }
}

/// A shape of slices: the slice with this number of a set whose size is given.
type Shape = fn(n: usize, size: usize) -> Value;

fn object(n: usize, endpoints: &[Value], ports: &[Value]) -> Value {
    json!({
        "metadata": {
            "name": format!("web-{n}"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

fn addresses(n: usize, endpoint: usize, count: usize) -> Vec<String> {
    let address = |i: usize| format!("10.{}.{}.{}", n % 250 + endpoint / 250, endpoint % 250, i);
    (0..count).map(address).collect()
}

fn port(i: usize) -> Value {
    json!({ "name": format!("p{i}"), "port": i % 60_000 + 1, "protocol": "TCP" })
}

/// The shapes, each with its number of slices and its smaller size. The larger size is twice the
/// smaller: at least as large as the API allows, or as large as the index merges.
const SHAPES: &[(&str, Shape, usize, usize)] = &[
    (
        "ports and endpoints",
        |n, size| {
            let endpoints: Vec<_> = (0..size / 20)
                .map(|e| json!({ "addresses": addresses(n, e, 4) }))
                .collect();
            object(n, &endpoints, &(0..size).map(port).collect::<Vec<_>>())
        },
        1,
        10_000,
    ),
    (
        "ports and endpoints that are merged",
        |n, size| {
            let endpoints: Vec<_> = (0..size)
                .map(|e| json!({ "addresses": addresses(n, e, 1) }))
                .collect();
            object(n, &endpoints, &(0..size).map(port).collect::<Vec<_>>())
        },
        1,
        4000,
    ),
    (
        "one hostname",
        |n, size| {
            let endpoints: Vec<_> = (0..size)
                .map(|e| json!({ "addresses": addresses(n, e, 100), "hostname": "same" }))
                .collect();
            object(n, &endpoints, &[port(1)])
        },
        2,
        500,
    ),
    (
        "one hostname that is merged",
        |n, size| {
            let endpoints: Vec<_> = (0..size)
                .map(|e| json!({ "addresses": addresses(n, e, 100), "hostname": "same" }))
                .collect();
            object(n, &endpoints, &[port(1)])
        },
        2,
        40,
    ),
    (
        "labels that differ in case",
        |n, size| {
            let spelled = |i: usize| {
                let letter = |bit: usize| if i >> bit & 1 == 0 { 'a' } else { 'A' };
                let groups = (0..16).map(letter).collect::<String>();
                let groups = [&groups[..4], &groups[4..8], &groups[8..12], &groups[12..]];
                format!("fd00::{}", groups.join(":"))
            };
            let endpoints: Vec<_> = (0..size)
                .map(|i| json!({ "addresses": [spelled(i)] }))
                .collect();
            object(n, &endpoints, &[port(1)])
        },
        1,
        4000,
    ),
    (
        "domain names",
        |n, size| {
            let alias = |i| json!({ "addresses": [format!("{i}.example.com")], "hostname": "a" });
            let endpoints: Vec<_> = (0..size).map(alias).collect();
            object(n, &endpoints, &[port(1)])
        },
        1,
        4000,
    ),
];

fn index() -> Index {
    let mut index = Index::new(Settings {
        endpoints: EndpointScope::All,
        ..Settings::new("cluster.local.".parse().unwrap())
    });
    let service = Service {
        namespace: "default".into(),
        name: "web".into(),
        kind: ServiceKind::Headless,
        ports: Box::default(),
        selector: true,
        partial: false,
        selected: true,
    };
    index.apply(Event::Apply(Object::Namespace(Namespace {
        name: "default".into(),
    })));
    index.apply(Event::Apply(Object::Service(service)));
    index.apply_all(Kind::ALL.map(Event::Restarted));
    index.take_pointers();
    index
}

fn ask(index: &Index, name: &str, qtype: u16) {
    let question = Question {
        name: name.parse().unwrap(),
        qtype,
        qclass: 1,
    };
    if let Resolution::Answer(answer) = resolve(index, &question) {
        assert!(answer.answers.len() <= 100_000);
    }
}

/// Parts of the sizes of random slices.
#[derive(Clone, Copy, Debug)]
struct Parts {
    endpoints: usize,
    /// Addresses of an endpoint.
    addresses: usize,
    ports: usize,
    /// Endpoints that share a hostname; 0 where they have none.
    sharing: usize,
    slices: usize,
}

impl Parts {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let addresses = rng.usize(1..=100);
        Self {
            addresses,
            // Of some slices more entries than the index merges, of others fewer.
            endpoints: rng.usize(40..=500).min(10_000 / addresses).max(40),
            ports: rng.usize(1..=2000),
            sharing: rng.choice([0, 1, 7, 1000]).unwrap(),
            slices: rng.usize(1..=3),
        }
    }

    /// The slice with this number, with as many tenths of the endpoints and ports.
    fn slice(self, n: usize, tenths: usize) -> Value {
        let endpoint = |e: usize| {
            let hostname = e.checked_div(self.sharing).map(|at| format!("h{at}"));
            json!({ "addresses": addresses(n, e, self.addresses), "hostname": hostname })
        };
        let endpoints: Vec<_> = (0..self.endpoints * tenths / 10).map(endpoint).collect();
        let ports: Vec<_> = (0..self.ports * tenths / 10).map(port).collect();
        object(n, &endpoints, &ports)
    }
}

/// Random slices cost as much a byte as slices of half their size.
fn random_slices_cost_in_proportion() {
    let seed = std::env::var("HEADLESS_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..12 {
        let parts = Parts::random(&mut rng);
        let costs = [10, 20].map(|tenths| {
            let slice = |n: usize, tenths| parts.slice(n, tenths).to_string();
            let texts: Vec<_> = (0..parts.slices).map(|n| slice(n, tenths)).collect();
            cost_of(&texts, &slice(0, tenths - tenths / 10))
        });
        // Beyond the bound of a Service a byte costs less, so only one side of it is compared.
        let entries = |tenths| {
            let of_slice =
                1 + parts.endpoints * parts.addresses * tenths / 10 + parts.ports * tenths / 10;
            parts.slices * of_slice
        };
        if entries(20) <= ENTRIES_MAX || entries(10) > ENTRIES_MAX {
            costs[1].is_linear(costs[0], &format!("HEADLESS_SEED={seed} {parts:?}"));
        }
    }
}

/// Reads the slices of a shape, applies them, changes and asks for their names.
fn cost(shape: Shape, slices: usize, size: usize) -> Cost {
    let texts: Vec<_> = (0..slices).map(|n| shape(n, size).to_string()).collect();
    cost_of(&texts, &shape(0, size - size / 10).to_string())
}

/// Reads slices and a changed version of the first one, applies them, and asks for their names.
fn cost_of(texts: &[String], changed: &str) -> Cost {
    let mut index = index();
    let (allocated, used, work) = (ALLOCATED.load(Relaxed), USED.load(Relaxed), index.work());
    PEAK.store(used, Relaxed);
    for text in texts.iter().map(String::as_str).chain([changed]) {
        let object: ReadSlice = serde_json::from_str(text).unwrap();
        let slice = endpoint_slice(&object, &Keep::default(), &mut Problems::default()).unwrap();
        index.apply(Event::Apply(Object::EndpointSlice(slice)));
        index.take_pointers();
    }
    for qtype in [1, 28, 33, 5] {
        ask(&index, "web.default.svc.cluster.local.", qtype);
        ask(&index, "same.web.default.svc.cluster.local.", qtype);
        ask(&index, "_._tcp.web.default.svc.cluster.local.", qtype);
    }
    ask(&index, "1.1.1.10.in-addr.arpa.", 12);
    Cost {
        size: texts.iter().map(String::len).sum(),
        allocated: ALLOCATED.load(Relaxed) - allocated,
        peak: PEAK.load(Relaxed) - used,
        work: index.work() - work,
    }
}

/// Bytes of all allocations while the text is read, most bytes in use, and what was read.
fn read<K: DeserializeOwned>(text: &str) -> (usize, usize, K) {
    let (allocated, used) = (ALLOCATED.load(Relaxed), USED.load(Relaxed));
    PEAK.store(used, Relaxed);
    let object = serde_json::from_str(text).unwrap();
    let peak = PEAK.load(Relaxed).saturating_sub(used);
    (ALLOCATED.load(Relaxed) - allocated, peak, object)
}

/// Most bytes that a name, an address and the like take.
const FEW: usize = 4096;

/// Fields that a tenant can fill and that change no answer cost no memory.
fn other_kinds_cost_little() {
    let many = |count: usize, entry: &str| [entry; 1].repeat(count).join(",");
    let volumes = many(90_000, r#"{"name":"a0123"}"#);
    let text = format!(
        r#"{{"metadata":{{"name":"a","namespace":"b"}},"spec":{{"volumes":[{volumes}]}},"status":{{"podIP":"10.0.0.1"}}}}"#
    );
    assert!(text.len() > 1_500_000);
    let (allocated, peak, pod) = read::<ReadPod>(&text);
    assert_eq!(pod.status.pod_ip.as_deref(), Some("10.0.0.1"));
    assert!(allocated < FEW, "{allocated} bytes for volumes");
    assert!(peak < FEW, "{peak} bytes for volumes");
    let entries: Vec<_> = (0..90_000).map(|i| format!(r#""a{i}":"""#)).collect();
    let entries = entries.join(",");
    let text = format!(
        r#"{{"metadata":{{"name":"a","labels":{{{entries}}}}},"spec":{{"selector":{{{entries}}}}}}}"#
    );
    let (allocated, peak, service) = read::<ReadService>(&text);
    assert!(service.spec.selector);
    // Each key is read and forgotten.
    assert!(allocated < text.len(), "{allocated} bytes for labels");
    assert!(peak < FEW, "{peak} bytes for labels");
}

/// One test, because all threads of the process count.
#[test]
fn objects_cost_in_proportion_to_their_size() {
    other_kinds_cost_little();
    for (name, shape, slices, size) in SHAPES {
        let small = cost(*shape, *slices, *size);
        let large = cost(*shape, *slices, 2 * *size);
        println!("{name}: {small:?}, {large:?}");
        large.is_linear(small, name);
        assert!(
            large.peak < 16 * large.size + (8 << 20),
            "{name}: {large:?}"
        );
    }
    random_slices_cost_in_proportion();
    oversized_services_have_a_bound();
}

/// A tenant may make any number of slices of 100,000 addresses.
fn oversized_services_have_a_bound() {
    const SLICES: u32 = 300;
    let mut index = index();
    let slice = |n: u32, service: &str, first: u32, count: u32| {
        let endpoint = |i: u32| Endpoint {
            address: Ipv4Addr::from(first + i).into(),
            name: None,
        };
        EndpointSlice {
            namespace: "default".into(),
            name: format!("{service}-{n}").into(),
            service: service.into(),
            ports: Box::default(),
            endpoints: (0..count).map(endpoint).collect(),
            aliases: Box::default(),
            partial: false,
            selected: true,
        }
    };
    let put = |index: &mut Index, slice| {
        index.apply(Event::Apply(Object::EndpointSlice(slice)));
        index.take_pointers();
    };
    let is_answered = |index: &Index| {
        let question = Question {
            name: "1.2.0.192.in-addr.arpa.".parse().unwrap(),
            qtype: 12,
            qclass: 1,
        };
        matches!(resolve(index, &question), Resolution::Answer(_))
    };
    put(&mut index, slice(0, "web", 0xc000_0201, 1));
    assert!(is_answered(&index));
    let used = USED.load(Relaxed);
    PEAK.store(used, Relaxed);
    // Slices without room may have the same addresses: copies take less time.
    let mut last = SliceEndpoints::default();
    for n in 0..SLICES {
        let first = 0x0a00_0000 + n * 100_000;
        let mut slice = slice(n, "evil", first, if n < 30 { 100_000 } else { 0 });
        if n < 30 {
            last = slice.endpoints.clone();
        } else {
            slice.endpoints = last.clone();
        }
        put(&mut index, slice);
    }
    let peak = PEAK.load(Relaxed) - used;
    println!("oversized: {peak} bytes");
    assert!(peak < 128 << 20, "{peak}");
    assert!(!is_answered(&index));
    for n in 0..SLICES {
        index.apply(Event::Delete(ObjectRef {
            kind: Kind::EndpointSlice,
            namespace: "default".into(),
            name: format!("evil-{n}").into(),
        }));
        index.take_pointers();
    }
    assert!(is_answered(&index));
}
