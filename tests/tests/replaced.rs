//! Names and addresses are replaced while the program reads them, so that the
//! kernel hands elements on under a reader: an answer is always one that was
//! there, whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use headless_agent::maps::encode::{Encoded, encode};
use headless_agent::maps::kernel::KernelSink;
use headless_agent::maps::{MapName, RecordSink as _};
use headless_agent::records::{NameData, RelativeName};
use headless_ebpf::abi::{ChunkKey, NameFlags};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::kernel::{Action, Kernel};
use headless_tests::{decode, maps};

/// How many names take turns with the elements.
const NAMES: u32 = 8;

/// How many versions a name has before the first comes back.
const VERSIONS: u32 = 200;

/// Few addresses, in the record, and many, in a chunk.
const COUNTS: [u32; 2] = [3, 20];

/// How often is asked.
const ROUNDS: u32 = 60_000;

/// An address that says whose and which it is.
fn address(name: u32, version: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + (name << 16) + (version << 8) + number)
}

fn data(name: u32, version: u32) -> NameData {
    let count = COUNTS[(version + name) as usize % COUNTS.len()];
    NameData {
        flags: NameFlags::empty(),
        ipv4: (0..count).map(|i| address(name, version, i)).collect(),
        ipv6: Vec::new(),
        details: None,
    }
}

/// Writes without the care that the agent's writer takes: what is deleted first
/// is free for whatever is written next.
struct Careless {
    sink: KernelSink,
    next_set: u32,
    chunks: HashMap<u32, Vec<ChunkKey>>,
}

impl Careless {
    fn replace(&mut self, name: u32, version: u32) {
        let data = data(name, version);
        let relative = RelativeName::from_labels([&*format!("s{name}"), "default"]).unwrap();
        let key = MapName::from_wire(relative.as_bytes()).unwrap();
        self.sink.delete_name(&key).unwrap();
        for chunk in self.chunks.remove(&name).unwrap_or_default() {
            self.sink.delete_chunk(chunk).unwrap();
        }
        let Encoded { record, chunks } = encode(&key, maps::SEED, &data, self.next_set);
        self.next_set += 1;
        for (key, chunk) in chunks {
            self.sink.put_chunk(key, chunk).unwrap();
            self.chunks.entry(name).or_default().push(key);
        }
        self.sink.put_name(&key, record).unwrap();
    }

    fn run(mut self, stop: &AtomicBool) {
        for version in (0..VERSIONS).cycle() {
            for name in 0..NAMES {
                self.replace(name, version);
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Stops the writer, also when the reader fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for a name. How many addresses it was answered with.
fn ask(kernel: &Kernel, name: u32) -> usize {
    let frame = Query::new(&format!("s{name}.default.svc.cluster.local"), qtype::A).frame();
    let (action, reply) = kernel.run(&frame);
    if action == Action::Pass {
        assert_eq!(reply, frame);
        return 0;
    }
    let answers = decode::addresses(&decode::reply(&frame, &reply).answers);
    let Some(IpAddr::V4(first)) = answers.first() else {
        // It was not there at this moment.
        return 0;
    };
    let version = (first.to_bits() >> 8) & 0xff;
    let whole = data(name, version).ipv4.into_iter().map(IpAddr::V4);
    let distinct: BTreeSet<_> = answers.iter().copied().collect();
    assert_eq!(distinct, whole.collect(), "one version of s{name}, whole");
    answers.len()
}

#[test]
fn under_readers() {
    let mut kernel = Kernel::load();
    let config = maps::config("cluster.local", 30);
    kernel.maps.put_config(&config).unwrap();
    kernel.maps.put_state(maps::state()).unwrap();
    kernel.maps.put_server(maps::address(SERVER), 0).unwrap();
    let stop = AtomicBool::new(false);
    let writer = Careless {
        sink: kernel.another_sink(),
        next_set: 1,
        chunks: HashMap::new(),
    };
    let mut answered = HashMap::new();
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| writer.run(&stop));
        for round in 0..ROUNDS {
            *answered.entry(ask(&kernel, round % NAMES)).or_insert(0) += 1;
        }
    });
    for count in COUNTS {
        let times = answered.get(&(count as usize)).copied();
        assert!(times.unwrap_or(0) > 100, "{count} addresses: {answered:?}");
    }
}
