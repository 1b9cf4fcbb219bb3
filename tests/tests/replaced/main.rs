//! Names and what belongs to them are replaced while the programs read them, so
//! that elements are handed on under a reader: an answer is always one that was there,
//! whole, or none.
//!
//! In a hash map, an update links a new element before it frees the old one, and the
//! next update on the same CPU gets that one (kernel commit `fba1a1c6c912`). So with two
//! names that are written in turns, the element in which a reader has just found the one
//! is filled with the other. Slots and chunks of our own arrays are given away anew in
//! the same way. A reader takes nanoseconds between finding and reading, a write takes
//! longer: it is interrupts on the reader's CPU that lend it the time, as they do on a
//! node.
//!
//! The agent's writer takes too long for that. So it writes to maps in memory first, and
//! what each of its changes has stored ([`store::Store`]) is stored in the kernel's maps again and
//! again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod store;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use headless_agent::maps::RecordSink as _;
use headless_agent::maps::capacity::Capacities;
use headless_agent::records::{
    Counted, Details, NameChange, NameData, RelativeName, Target, TargetSet, Targets,
};
use headless_agent::watch::{Port, Protocol};
use headless_ebpf::abi::{NameFlags, PassReason, Path};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::kernel::{Action, Kernel};
use headless_tests::{decode, maps};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::unistd::Pid;

use self::store::{record, write_all};

/// How many names each writer has. They take turns with the elements.
const NAMES: usize = 2;

/// How many versions a name has before the first comes back.
const VERSIONS: u32 = 8;

/// For how long readers ask at least.
const LEAST: Duration = Duration::from_secs(3);

/// For how long they go on until a name has changed under them.
const MOST: Duration = Duration::from_secs(90);

/// For how long a CPU is left to its reader between interrupts.
const QUIET: Duration = Duration::from_micros(10);

/// One after the other: each has all CPUs for itself.
static ALONE: Mutex<()> = Mutex::new(());

/// Where the names are.
#[derive(Clone, Copy)]
enum Place {
    /// In the hash map.
    Map,
    /// In the table, with a slot to spare: a reader may be led to one that is another
    /// name's by now.
    Table,
    /// In the table, in whose slots they are replaced.
    FullTable,
}

impl Place {
    /// The maps: as small as they can be, so that what is freed is soon used again.
    fn capacities(self) -> Capacities {
        let (table_slots, endpoint_buckets) = match self {
            Self::Map => (1, 1),
            Self::Table => (NAMES as u32 + 1, 1),
            Self::FullTable => (NAMES as u32, 1),
        };
        Capacities {
            table_slots,
            endpoint_buckets,
            // Two sets of each name, one more, and the chunk that is never used.
            chunks: 8 * (NAMES as u32 + 1) + 1,
            ..maps::CAPACITIES
        }
    }

    /// Names that leave no room in the table.
    fn others(self) -> &'static [&'static str] {
        match self {
            Self::Map => &["first", "second"],
            Self::Table | Self::FullTable => &[],
        }
    }
}

/// What is stored under a name; it says whose and which it is.
type Version = fn(name: u32, version: u32) -> NameData;

/// A name in all its versions.
struct Name {
    number: u32,
    relative: RelativeName,
    versions: Vec<NameData>,
}

impl Name {
    fn new(number: u32, version: Version) -> Self {
        Self {
            number,
            relative: RelativeName::from_labels([&*format!("s{number}"), "default"]).unwrap(),
            versions: (0..VERSIONS).map(|it| version(number, it)).collect(),
        }
    }

    fn change(&self, version: Option<u32>) -> NameChange {
        NameChange {
            name: self.relative.clone(),
            data: version.map(|version| self.versions[version as usize].clone()),
        }
    }
}

/// What is done to a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A new record takes the place of the old one.
    Replace,
    /// The old one is gone before the new one is there.
    DeleteFirst,
    /// As [`Self::Replace`], and the programs are told.
    Marked,
}

/// Tells the others to stop, also when this one fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Stays on one CPU: what it frees is what it is given next.
fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// How often readers had each answer: by name and version, `None` for NXDOMAIN.
type Answers = HashMap<(u32, Option<u32>), u64>;

/// Asks for the names until it is told to stop.
fn read(kernel: &Kernel, names: &[Name], kind: u16, stop: &AtomicBool) -> Answers {
    let _stop = Stop(stop);
    let mut answers = Answers::new();
    // A reply that came before is not looked at again.
    let mut known: HashMap<Vec<u8>, Option<u32>> = HashMap::new();
    let frames: Vec<_> = names
        .iter()
        .map(|it| Query::new(&format!("s{}.default.svc.cluster.local", it.number), kind).frame())
        .collect();
    while !stop.load(Ordering::Relaxed) {
        for (name, frame) in names.iter().zip(&frames) {
            let (action, reply) = kernel.run(frame);
            if action == Action::Pass {
                assert_eq!(&reply, frame, "passed as it came");
                continue;
            }
            let version = *known
                .entry(reply)
                .or_insert_with_key(|reply| version_of(name, &decode::reply(frame, reply)));
            *answers.entry((name.number, version)).or_default() += 1;
        }
    }
    answers
}

/// The version that the reply has, all of it and nothing else.
fn version_of(name: &Name, reply: &Message) -> Option<u32> {
    if reply.metadata.response_code == ResponseCode::NXDomain {
        return None;
    }
    let records = sorted(&reply.answers);
    let glue = sorted(&reply.additionals);
    let is_whole = |data: &NameData| {
        let (answers, additionals) = match &data.details {
            Some(details) => servers(name.number, data, details.endpoints.as_ref().unwrap()),
            None => (
                data.ipv4.iter().map(ToString::to_string).collect(),
                Vec::new(),
            ),
        };
        (in_order(answers), in_order(additionals)) == (records.clone(), glue.clone())
    };
    let version = name.versions.iter().position(is_whole);
    let version = version.unwrap_or_else(|| panic!("no version of s{}: {reply}", name.number));
    Some(version as u32)
}

fn in_order(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}

/// The data of records as text, in an order of its own.
fn sorted(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| match &record.data {
        RData::A(address) => address.to_string(),
        RData::SRV(srv) => format!("{} {}", srv.port, srv.target),
        other => panic!("{other:?}"),
    };
    in_order(records.iter().map(text).collect())
}

/// The SRV records of targets with one port, and the addresses.
fn servers(name: u32, data: &NameData, targets: &Targets) -> (Vec<String>, Vec<String>) {
    let port = targets.ports[0].port.as_ref().unwrap().number.unwrap();
    let target = |label: &str, address: String| {
        let owner = format!("{label}.s{name}.default.svc.cluster.local.");
        (format!("{port} {owner}"), address)
    };
    match &targets.targets {
        TargetSet::Each(each) => each
            .iter()
            .map(|at| target(at.label.as_deref().unwrap(), at.addresses[0].to_string()))
            .unzip(),
        TargetSet::Addresses => data
            .ipv4
            .iter()
            .map(|at| target(&at.to_string().replace('.', "-"), at.to_string()))
            .unzip(),
    }
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap());
    cpus.collect()
}

/// Lets a writer and readers have at one another, until readers have often enough
/// been told that a name had changed. What else they were told.
fn race(place: Place, turn: Turn, version: Version, kind: u16, at_least: u64) -> Answers {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernel = Kernel::with_capacities(&place.capacities());
    let cpus = cpus();
    let (own, readers) = cpus.split_at(1);
    let (readers, at_least) = match readers {
        // Nothing changes under a program that has the only CPU.
        [] => (own, 0),
        readers => (readers, at_least),
    };
    let names: Vec<_> = (0..NAMES as u32)
        .map(|number| Name::new(number, version))
        .collect();
    let (first, changes) = record(place, &names, turn);
    maps::copy(&first, &mut kernel.maps);
    kernel.maps.put_state(maps::state()).unwrap();
    maps::serve(&mut kernel.maps, [SERVER.into()]);
    let mut sink = kernel.another_sink();
    let names = &*names;
    let (stop, kernel) = (AtomicBool::new(false), &kernel);
    let passed = || kernel.passed(Path::Xdp, PassReason::Changed);
    let answers: Answers = scope(|scope| {
        let stop = &stop;
        let _stop = Stop(stop);
        scope.spawn(move || {
            stay_on(own[0]);
            write_all(&mut sink, &changes, turn, stop);
        });
        let readers: Vec<_> = readers
            .iter()
            .map(|&cpu| {
                scope.spawn(move || {
                    stay_on(cpu);
                    set_timerslack(1).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        sleep(QUIET);
                    }
                });
                scope.spawn(move || {
                    stay_on(cpu);
                    read(kernel, names, kind, stop)
                })
            })
            .collect();
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let (found, elapsed) = (passed(), start.elapsed());
            if found >= at_least && elapsed >= LEAST {
                break;
            }
            assert!(elapsed < MOST, "{found} changes under readers");
            sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        let mut all = Answers::new();
        for reader in readers {
            for (answer, times) in reader.join().unwrap() {
                *all.entry(answer).or_default() += times;
            }
        }
        all
    });
    eprintln!("{} changed, {answers:?}", passed());
    answers
}

/// Every version was told of every name that was asked for.
fn all_versions(answers: &Answers) {
    for number in 0..NAMES as u32 {
        for version in 0..VERSIONS {
            let times = answers.get(&(number, Some(version)));
            assert!(times.is_some(), "s{number} {version}: {answers:?}");
        }
    }
}

/// An address that says whose and which it is.
fn address(name: u32, version: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + (name << 16) + (version << 8) + number)
}

fn addresses(name: u32, version: u32, count: u32) -> NameData {
    NameData {
        flags: NameFlags::empty(),
        ipv4: (0..count).map(|i| address(name, version, i)).collect(),
        ipv6: Vec::new(),
        details: None,
    }
}

/// As many as a record holds.
fn few(name: u32, version: u32) -> NameData {
    addresses(name, version, 5)
}

/// As many as a chunk holds.
fn many(name: u32, version: u32) -> NameData {
    addresses(name, version, 28)
}

/// Endpoints that follow from the addresses, all by a port that says which version it
/// is.
fn implied(name: u32, version: u32) -> NameData {
    // As many as do not fit into the record, and as a reply of 512 bytes has room for.
    let data = addresses(name, version, 6);
    let found = Targets {
        ports: vec![port(name, version, data.ipv4.len())],
        endpoints: data.ipv4.len(),
        targets: TargetSet::Addresses,
    };
    with_endpoints(data, found)
}

fn port(name: u32, version: u32, endpoints: usize) -> Counted {
    let port = Port {
        name: "http".into(),
        number: Some((1000 * (name + 1) + version) as u16),
        protocol: Protocol::Tcp,
    };
    Counted {
        port: Some(port),
        endpoints,
    }
}

fn with_endpoints(data: NameData, endpoints: Targets) -> NameData {
    NameData {
        details: Some(Box::new(Details {
            own: None,
            endpoints: Some(endpoints),
        })),
        ..data
    }
}

/// Endpoints in several chunks, all by a port that says which version it is.
fn endpoints(name: u32, version: u32) -> NameData {
    let targets: Vec<_> = (0..6)
        .map(|number| Target {
            label: Some(format!("e{name}-{version}-{number}").into()),
            addresses: vec![IpAddr::from(address(name, version, number))],
            ports: [0].into(),
        })
        .collect();
    let found = Targets {
        ports: vec![port(name, version, targets.len())],
        endpoints: targets.len(),
        targets: TargetSet::Each(targets),
    };
    with_endpoints(few(name, version), found)
}

/// Names are never gone, so that only a seal that does not fit makes one changed.
#[test]
fn records() {
    all_versions(&race(Place::Map, Turn::Replace, few, qtype::A, 1));
}

#[test]
fn records_that_are_deleted_first() {
    all_versions(&race(Place::Map, Turn::DeleteFirst, few, qtype::A, 0));
}

/// The set of a record that is a moment old is gone, or its chunk another's.
#[test]
fn sets() {
    all_versions(&race(Place::Map, Turn::Replace, many, qtype::A, 20));
}

#[test]
fn endpoints_of_srv_records() {
    all_versions(&race(Place::Map, Turn::Replace, endpoints, qtype::SRV, 20));
}

/// The targets follow from the addresses, which are in chunks of the same set.
#[test]
fn implied_endpoints_of_srv_records() {
    all_versions(&race(Place::Table, Turn::Replace, implied, qtype::SRV, 20));
}

/// A reader that has found a name's element loses it when the element is filled with
/// another name before it has compared the keys, and does not see the new one before
/// it: `lookup_nulls_elem_raw` notices only when the element is in another bucket
/// already. So what is not found is denied only if nothing was written meanwhile
/// (`State::denies_since`); without, some ten in a million are.
#[test]
fn a_name_that_is_replaced_is_not_denied() {
    not_denied(&race(Place::Map, Turn::Marked, few, qtype::A, 3));
}

fn not_denied(answers: &Answers) {
    let denied: u64 = answers
        .iter()
        .filter_map(|((_, version), times)| version.is_none().then_some(times))
        .sum();
    assert_eq!(denied, 0, "{answers:?}");
    all_versions(answers);
}

/// The slot that a reader is led to has been given to another name.
#[test]
fn a_name_in_the_table_is_not_denied() {
    not_denied(&race(Place::Table, Turn::Marked, few, qtype::A, 3));
}

/// A slot is written while it is read.
#[test]
fn records_in_a_table_without_room() {
    all_versions(&race(Place::FullTable, Turn::Replace, few, qtype::A, 20));
}

#[test]
fn sets_of_names_in_the_table() {
    all_versions(&race(Place::Table, Turn::Replace, many, qtype::A, 20));
}
