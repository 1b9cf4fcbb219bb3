//! The program in the kernel, by `BPF_PROG_TEST_RUN`: what leaves is, byte for
//! byte, what the engine on the host makes, with whatever start of an RRset.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{RecordSink as _, WriteCounts};
use headless_ebpf::abi::{Outcome, Path};
use headless_ebpf::respond::Verdict;
use headless_tests::cluster::{Cluster, cluster, query};
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::golden;
use headless_tests::host::Host;
use headless_tests::kernel::{Action, FRAME_MAX, FRAME_MIN, Kernel};
use headless_tests::{decode, hex, maps};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Whether the verdict leaves the order of addresses to chance.
const fn is_rotated(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Answer(_, Outcome::Data | Outcome::Truncated)
    )
}

/// Compares one frame; `total` is at least the size of its RRset.
fn compare(kernel: &Kernel, maps: &MemorySink, frame: &[u8], total: u32) -> Verdict {
    let host = Host {
        now_ns: 1,
        ..Host::new(maps)
    };
    let (verdict, expected) = host.respond(frame);
    let (action, got, moved) = kernel.counted(frame);
    let counter = verdict.counter(Path::Xdp).map(|counter| (counter, 1));
    assert_eq!(moved, Vec::from_iter(counter), "counters of {verdict:?}");
    assert_eq!(action, Action::of(verdict), "{verdict:?}");
    if !is_rotated(verdict) {
        assert_eq!(got, expected, "{verdict:?}: {}", hex::annotate(&got));
        return verdict;
    }
    let answers = decode::reply(frame, &got).answers;
    let same = (0..total).any(|start| host.starting(start, total).respond(frame).1 == got);
    assert!(same, "{answers:#?}\n{}", hex::annotate(&got));
    verdict
}

#[test]
fn golden_frames() {
    let mut kernel = Kernel::load();
    for case in golden::cases() {
        maps::clear(&mut kernel.maps);
        kernel.maps.put_config(&case.config()).unwrap();
        case.fill(&mut kernel.maps);
        let frame = case.input();
        if frame.len() < FRAME_MIN {
            continue;
        }
        eprintln!("{}", case.name());
        let memory = case.memory();
        let verdict = compare(&kernel, &memory, &frame, case.addresses_max());
        assert_eq!(verdict, case.expected(), "{}", case.name());
        if !is_rotated(verdict) {
            assert_eq!(kernel.run(&frame).1, case.output(), "{}", case.name());
        }
    }
}

#[test]
fn every_start_comes_up() {
    let mut kernel = Kernel::load();
    for case in [
        "a_headless",
        "a_inline_most",
        "a_chunk_full",
        "a_two_chunks",
    ] {
        let case = golden::cases()
            .into_iter()
            .find(|it| it.name() == case)
            .unwrap();
        maps::clear(&mut kernel.maps);
        kernel.maps.put_config(&case.config()).unwrap();
        case.fill(&mut kernel.maps);
        let frame = case.input();
        let total = case.addresses_max() as usize;
        let mut firsts = BTreeSet::new();
        // Each fails to come up with a probability below 10^-20.
        for _ in 0..total * 60 {
            let (_, reply) = kernel.run(&frame);
            firsts.insert(decode::addresses(&decode::reply(&frame, &reply).answers)[0]);
        }
        assert_eq!(firsts.len(), total, "{}", case.name());
    }
}

/// One kernel for all the cases of a property.
fn shared() -> std::sync::MutexGuard<'static, Option<Kernel>> {
    static KERNEL: Mutex<Option<Kernel>> = Mutex::new(None);
    let mut kernel = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
    kernel.get_or_insert_with(Kernel::load);
    kernel
}

/// The same cluster in both, by the same writes.
fn mirror(kernel: &mut Kernel, cluster: &Cluster) -> Writer<MemorySink> {
    let config = maps::config(cluster.zone, 30);
    let sink = maps::memory(config, maps::state(), SERVER);
    let mut writer = Writer::new(sink, maps::SEED, Arc::<WriteCounts>::default());
    let mut index = cluster.empty_index();
    for event in cluster.events.iter().cloned().chain(Cluster::synced()) {
        writer.apply(&index.apply(event));
    }
    maps::clear(&mut kernel.maps);
    let sink = writer.sink();
    kernel.maps.put_config(&config).unwrap();
    kernel.maps.put_state(sink.state).unwrap();
    kernel.maps.put_server(maps::address(SERVER), 0).unwrap();
    for (name, record) in &sink.names {
        kernel.maps.put_name(name, *record).unwrap();
    }
    for (key, chunk) in &sink.chunks {
        kernel.maps.put_chunk(*key, *chunk).unwrap();
    }
    writer
}

/// The frames of a cluster's questions, some of them damaged.
fn frames() -> impl Strategy<Value = (Cluster, Vec<Vec<u8>>)> {
    cluster().prop_flat_map(|cluster| {
        let damage = vec((any::<Index>(), any::<u8>()), 0..3);
        let damage = prop_oneof![3 => Just(Vec::new()), 1 => damage];
        let frame = (query(&cluster), damage, 0..80usize).prop_map(|(query, damage, padding)| {
            let mut frame = query.frame();
            for (at, byte) in damage {
                *at.get_mut(&mut frame) = byte;
            }
            frame.extend(std::iter::repeat_n(0xaa, padding));
            frame
        });
        (Just(cluster), vec(frame, 20))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_clusters((cluster, frames) in frames()) {
        let mut kernel = shared();
        let kernel = kernel.as_mut().expect("loaded");
        let writer = mirror(kernel, &cluster);
        let records = writer.sink().names.values();
        let totals: BTreeSet<u32> = records
            .flat_map(|record| [record.ipv4, record.ipv6])
            .filter(|total| *total > 0)
            .map(u32::from)
            .collect();
        for frame in frames {
            let host = Host { now_ns: 1, ..Host::new(writer.sink()) };
            let (verdict, expected) = host.respond(&frame);
            let (action, got) = kernel.run(&frame);
            prop_assert_eq!(action, Action::of(verdict), "{:?}", verdict);
            if is_rotated(verdict) {
                let same = totals.iter().any(|&total| {
                    (0..total).any(|start| host.starting(start, total).respond(&frame).1 == got)
                });
                prop_assert!(same, "{}", hex::annotate(&got));
            } else {
                prop_assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn random_bytes(frame in vec(any::<u8>(), FRAME_MIN..FRAME_MAX)) {
        let kernel = shared();
        let kernel = kernel.as_ref().expect("loaded");
        let (action, got) = kernel.run(&frame);
        prop_assert_eq!(action, Action::Pass);
        prop_assert_eq!(got, frame);
    }
}

/// Names and addresses are replaced while the program reads them: an answer is
/// always one of those that were there, whole.
#[test]
fn replaced_under_readers() {
    use headless_agent::maps::encode::{self, MapName};
    use headless_agent::records::{NameData, RelativeName};
    use headless_ebpf::abi::NameFlags;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicBool, Ordering};

    const NAMES: u32 = 8;
    let address = |name: u32, version: u32, i: u32| {
        Ipv4Addr::from_bits(0x0a00_0000 + (name << 16) + (version << 8) + i)
    };
    let mut kernel = Kernel::load();
    kernel
        .maps
        .put_config(&maps::config("cluster.local", 30))
        .unwrap();
    kernel.maps.put_state(maps::state()).unwrap();
    kernel.maps.put_server(maps::address(SERVER), 0).unwrap();
    let relative =
        |name: u32| RelativeName::from_labels([&*format!("s{name}"), "default"]).unwrap();
    let stop = AtomicBool::new(false);
    let mut answered = 0u64;
    let mut changed = 0u64;
    std::thread::scope(|scope| {
        let mut sink = kernel.another_sink();
        let stopped = &stop;
        let writer = scope.spawn(move || {
            let mut set = 1u32;
            let mut old = vec![None; NAMES as usize];
            let mut version = 0u32;
            while !stopped.load(Ordering::Relaxed) {
                version = (version + 1) % 200;
                for name in 0..NAMES {
                    // Few addresses and many take turns.
                    let count = if (version + name) % 2 == 0 { 3 } else { 20 };
                    let data = NameData {
                        flags: NameFlags::empty(),
                        ipv4: (0..count).map(|i| address(name, version, i)).collect(),
                        ipv6: Vec::new(),
                    };
                    let key = MapName::from_wire(relative(name).as_bytes()).unwrap();
                    // Deleted first, so that another name gets the element.
                    sink.delete_name(&key).unwrap();
                    if let Some(keys) = old[name as usize].take() {
                        let keys: Vec<headless_ebpf::abi::ChunkKey> = keys;
                        for key in keys {
                            sink.delete_chunk(key).unwrap();
                        }
                    }
                    let number = encode::needs_set(&data).then_some(set);
                    if let Some(number) = number {
                        set += 1;
                        let mut keys = Vec::new();
                        for (key, chunk) in encode::chunks(maps::SEED, number, &data) {
                            sink.put_chunk(key, chunk).unwrap();
                            keys.push(key);
                        }
                        old[name as usize] = Some(keys);
                    }
                    let record = encode::record(&key, maps::SEED, &data, number);
                    sink.put_name(&key, record).unwrap();
                }
            }
        });
        for round in 0..60_000u32 {
            let name = round % NAMES;
            let frame = Query::new(&format!("s{name}.default.svc.cluster.local"), qtype::A).frame();
            let (action, reply) = kernel.run(&frame);
            if action == Action::Pass {
                assert_eq!(reply, frame);
                changed += 1;
                continue;
            }
            let answers = decode::addresses(&decode::reply(&frame, &reply).answers);
            if answers.is_empty() {
                continue;
            }
            answered += 1;
            let IpAddr::V4(first) = answers[0] else {
                panic!("{answers:?}");
            };
            let version = (first.to_bits() >> 8) & 0xff;
            let expected: BTreeSet<_> = (0..answers.len() as u32)
                .map(|i| IpAddr::V4(address(name, version, i)))
                .collect();
            assert!(answers.len() == 3 || answers.len() == 20, "{answers:?}");
            assert_eq!(
                BTreeSet::from_iter(answers),
                expected,
                "one version of s{name}"
            );
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    eprintln!("{answered} answered, {changed} passed as changed");
    assert!(answered > 1000);
}
