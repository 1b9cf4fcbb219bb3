//! Names and what belongs to them are replaced while the program reads them, so
//! that the kernel hands elements on under a reader: an answer is always one that
//! was there, whole, or none.
//!
//! An update links a new element before it frees the old one, and the next update
//! on the same CPU gets that one (kernel commit `fba1a1c6c912`). So with two names
//! that are written in turns, the element in which a reader has just found the one
//! is filled with the other. A reader takes nanoseconds between finding and reading,
//! an update takes most of a microsecond: it is interrupts on the reader's CPU that
//! lend it the time, as they do on a node.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use headless_agent::maps::encode::{Encoded, encode};
use headless_agent::maps::kernel::KernelSink;
use headless_agent::maps::{MapName, RecordSink as _};
use headless_agent::records::{Counted, Details, NameData, RelativeName, Target, Targets};
use headless_agent::watch::{Port, Protocol};
use headless_ebpf::abi::{NameFlags, NameRecord, PassReason, Path, State};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::kernel::{Action, Kernel};
use headless_tests::{decode, maps};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::unistd::Pid;

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
    /// Slots of the table.
    fn slots(self) -> u32 {
        match self {
            Self::Map => 1,
            Self::Table => NAMES as u32 + 1,
            Self::FullTable => NAMES as u32,
        }
    }

    /// Leaves no room in the table.
    fn fill(self, sink: &mut KernelSink) {
        let others: &[&[u8]] = match self {
            Self::Map => &[b"\x05first", b"\x06second"],
            Self::Table | Self::FullTable => &[],
        };
        for wire in others {
            let name = MapName::from_wire(wire).unwrap();
            sink.put_name(&name, NameRecord::default()).unwrap();
        }
    }
}

/// What is stored under a name; it says whose and which it is.
type Version = fn(name: u32, version: u32) -> NameData;

/// A name in all its versions.
struct Name {
    number: u32,
    key: MapName,
    versions: Vec<NameData>,
    /// The same as they are written. Each has a number of its own for its set, and
    /// the same every time, so that no number ever means two things.
    encoded: Vec<Encoded>,
}

impl Name {
    fn new(number: u32, version: Version) -> Self {
        let relative = RelativeName::from_labels([&*format!("s{number}"), "default"]).unwrap();
        let key = MapName::from_wire(relative.as_bytes()).unwrap();
        let versions: Vec<_> = (0..VERSIONS).map(|it| version(number, it)).collect();
        let encoded = (1 + number * VERSIONS..)
            .zip(&versions)
            .map(|(set, data)| encode(&key, maps::SEED, data, set))
            .collect();
        Self {
            number,
            key,
            versions,
            encoded,
        }
    }
}

/// What is done to a name.
#[derive(Clone, Copy)]
enum Turn {
    /// A new record takes the place of the old one, as by the agent's writer.
    Replace,
    /// The old one is gone before the new one is there.
    DeleteFirst,
    /// The same, and the programs are told.
    Marked,
}

/// Writes the version of a name in the place of the one before.
fn write(sink: &mut KernelSink, name: &Name, version: u32, turn: Turn) {
    let before = &name.encoded[(version + VERSIONS - 1) as usize % VERSIONS as usize];
    let Encoded { record, chunks } = &name.encoded[version as usize];
    if let Turn::DeleteFirst = turn {
        sink.delete_name(&name.key).unwrap();
        for (key, _) in &before.chunks {
            sink.delete_chunk(*key).unwrap();
        }
    }
    for (key, chunk) in chunks {
        sink.put_chunk(*key, *chunk).unwrap();
    }
    sink.put_name(&name.key, *record).unwrap();
    if let Turn::Replace = turn {
        for (key, _) in &before.chunks {
            sink.delete_chunk(*key).unwrap();
        }
    }
}

/// The generation that the programs have been told.
static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Tells the programs that names are written while `write` runs, as the agent's writer
/// does.
fn marked(sink: &mut KernelSink, write: impl FnOnce(&mut KernelSink)) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = |sink: &mut KernelSink| {
        let next = state.unwrap_or_else(maps::state).next_generation();
        sink.put_state(next).unwrap();
        *state = Some(next);
    };
    next(sink);
    write(sink);
    next(sink);
}

/// Writes names in turns until it is told to stop.
fn write_all(mut sink: KernelSink, names: &[Name], turn: Turn, stop: &AtomicBool) {
    for version in (1..VERSIONS).chain([0]).cycle() {
        for name in names {
            match turn {
                Turn::Marked => marked(&mut sink, |sink| {
                    write(sink, name, version, Turn::Replace);
                }),
                Turn::Replace | Turn::DeleteFirst => write(&mut sink, name, version, turn),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
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
            Some(details) => servers(name.number, details.endpoints.as_ref().unwrap()),
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
fn servers(name: u32, targets: &Targets) -> (Vec<String>, Vec<String>) {
    let port = targets.ports[0].port.as_ref().unwrap().number.unwrap();
    let mut records = (Vec::new(), Vec::new());
    for target in &targets.targets {
        let label = target.label.as_deref().unwrap();
        let owner = format!("{label}.s{name}.default.svc.cluster.local.");
        records.0.push(format!("{port} {owner}"));
        records.1.push(target.addresses[0].to_string());
    }
    records
}

/// The CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap());
    cpus.collect()
}

/// Lets writers and readers have at one another, until readers have often enough
/// been told that a name had changed. What else they were told.
fn race(place: Place, turn: Turn, version: Version, kind: u16, at_least: u64) -> Answers {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernel = Kernel::with_table(place.slots());
    let config = maps::config("cluster.local", 30);
    kernel.maps.put_config(&config).unwrap();
    kernel.maps.put_state(maps::state()).unwrap();
    *STATE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    kernel.maps.put_server(maps::address(SERVER), 0).unwrap();
    place.fill(&mut kernel.maps);
    let cpus = cpus();
    let (writers, readers) = cpus.split_at(cpus.len() / 2);
    let (writers, at_least) = match writers {
        // Nothing changes under a program that has the only CPU.
        [] => (readers, 0),
        writers => (writers, at_least),
    };
    let writers = match place {
        Place::Map => writers,
        // Which slots are free one writer alone knows.
        Place::Table | Place::FullTable => &writers[..1],
    };
    let names: Vec<_> = (0..(writers.len() * NAMES) as u32)
        .map(|number| Name::new(number, version))
        .collect();
    let names: Vec<_> = names.chunks(NAMES).collect();
    let (stop, kernel) = (AtomicBool::new(false), &kernel);
    let changed = || kernel.passed(Path::Xdp, PassReason::Changed);
    let answers: Answers = scope(|scope| {
        let stop = &stop;
        let _stop = Stop(stop);
        for (&cpu, &names) in writers.iter().zip(&names) {
            let mut sink = kernel.another_sink();
            for name in names {
                write(&mut sink, name, 0, turn);
            }
            scope.spawn(move || {
                stay_on(cpu);
                write_all(sink, names, turn, stop);
            });
        }
        let readers: Vec<_> = readers
            .iter()
            .zip(names.iter().cycle())
            .map(|(&cpu, &names)| {
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
            let (found, elapsed) = (changed(), start.elapsed());
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
    eprintln!("{} changed, {answers:?}", changed());
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

/// Endpoints in several chunks, all by a port that says which version it is.
fn endpoints(name: u32, version: u32) -> NameData {
    let targets: Vec<_> = (0..6)
        .map(|number| Target {
            label: Some(format!("e{name}-{version}-{number}").into()),
            addresses: vec![IpAddr::from(address(name, version, number))],
            ports: [0].into(),
        })
        .collect();
    let port = Port {
        name: "http".into(),
        number: Some((1000 * (name + 1) + version) as u16),
        protocol: Protocol::Tcp,
    };
    let found = Targets {
        ports: vec![Counted {
            port: Some(port),
            endpoints: targets.len(),
        }],
        endpoints: targets.len(),
        targets,
    };
    NameData {
        details: Some(Box::new(Details {
            own: None,
            endpoints: Some(found),
        })),
        ..few(name, version)
    }
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
    all_versions(&race(Place::Table, Turn::Marked, many, qtype::A, 20));
}
