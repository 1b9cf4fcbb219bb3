//! The programs in the kernel, by `BPF_PROG_TEST_RUN`. Each output frame equals the
//! engine's on the host byte for byte, for some start of the RRset.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use headless_agent::maps::memory::MemorySink;
use headless_agent::maps::writer::Writer;
use headless_agent::maps::{RecordSink as _, read};
use headless_ebpf::abi::{KeyClass, Outcome, PassReason};
use headless_ebpf::respond::Verdict;
use headless_tests::cluster::{Cluster, cluster, query};
use headless_tests::frame::{SERVER, SERVER_V6, tagged};
use headless_tests::golden;
use headless_tests::host::{Hook, Host};
use headless_tests::kernel::{Action, FRAME_MAX, FRAME_MIN, Kernel};
use headless_tests::{decode, hex, maps};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Whether the reply starts with an address or a target that the program chooses at random.
const fn is_rotated(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Answer(_, Outcome::Data | Outcome::Truncated)
    )
}

/// Whether `BPF_PROG_TEST_RUN` accepts the frame. For tc the kernel reads the IP header
/// first (`bpf_prog_test_run_skb`), so the frame must be long enough to have one.
fn is_runnable(hook: Hook, frame: &[u8]) -> bool {
    hook == Hook::Xdp || frame.len() >= FRAME_MIN + 40
}

/// Runs one frame in the kernel and on the host, and compares action, bytes and counters.
/// `total` is at least the number of addresses in its RRset.
fn compare(kernel: &Kernel, hook: Hook, maps: &MemorySink, frame: &[u8], total: u32) -> Verdict {
    let host = Host {
        now_ns: 1,
        ..Host::new(maps)
    };
    let (verdict, expected) = host.respond_in(hook, frame);
    let (action, got, moved) = kernel.counted(hook, frame);
    let counter = verdict.counter(hook.path()).map(|counter| (counter, 1));
    assert_eq!(
        moved,
        Vec::from_iter(counter),
        "counters moved by {verdict:?}"
    );
    assert_eq!(action, Action::of(verdict), "{verdict:?}");
    if !is_rotated(verdict) {
        assert_eq!(got, expected, "{verdict:?}: {}", hex::annotate(&got));
        return verdict;
    }
    let answers = decode::reply(frame, &got).answers;
    let mut hosts = host.every_start(total);
    let same = hosts.any(|host| host.respond_in(hook, frame).1 == got);
    assert!(same, "{answers:#?}\n{}", hex::annotate(&got));
    verdict
}

#[test]
fn golden_frames_come_out_as_on_the_host() {
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
        for hook in case.hooks() {
            if !is_runnable(hook, &frame) {
                continue;
            }
            let verdict = compare(&kernel, hook, &memory, &frame, case.addresses_max());
            assert_eq!(verdict, case.expected(hook), "{}", case.name());
            if !is_rotated(verdict) {
                let (_, output) = kernel.run_in(hook, &frame);
                assert_eq!(output, case.output(hook), "{}", case.name());
            }
        }
    }
}

#[test]
fn observed_frames_come_out_as_they_went_in() {
    let mut kernel = Kernel::load();
    let mut observed = 0;
    for case in golden::cases() {
        maps::clear(&mut kernel.maps);
        kernel.maps.put_config(&case.config()).unwrap();
        case.fill(&mut kernel.maps);
        let frame = case.input();
        let memory = case.memory();
        for hook in case.hooks() {
            let Hook::Tc(mtu) = hook else { continue };
            let hook = Hook::Observed(mtu);
            if !is_runnable(hook, &frame) {
                continue;
            }
            let verdict = compare(&kernel, hook, &memory, &frame, case.addresses_max());
            observed += u32::from(verdict == Verdict::Pass(PassReason::Observed));
        }
    }
    assert!(observed > 100, "{observed} cases have an answer");
}

#[test]
fn replies_start_with_every_address_of_an_rrset() {
    let mut kernel = Kernel::load();
    for case in [
        "a_headless",
        "a_inline_most",
        "a_chunk_full",
        "a_two_chunks",
        "tc_a_hundred",
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
        // In `total * 60` runs the probability that one address is never the first is
        // below e^-60.
        for _ in 0..total * 60 {
            let (_, reply) = kernel.run_in(Hook::Tc(case.mtu), &frame);
            firsts.insert(decode::addresses(&decode::reply(&frame, &reply).answers)[0]);
        }
        assert_eq!(firsts.len(), total, "{}", case.name());
    }
}

/// The loaded programs, shared by all cases of a property because loading takes seconds.
fn shared() -> std::sync::MutexGuard<'static, Option<Kernel>> {
    static KERNEL: Mutex<Option<Kernel>> = Mutex::new(None);
    let mut kernel = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
    kernel.get_or_insert_with(Kernel::load);
    kernel
}

/// Fills the host's and the kernel's maps with the same records of a cluster; returns the
/// host's.
fn mirror(kernel: &mut Kernel, cluster: &Cluster) -> Writer<MemorySink> {
    let mut config = maps::config(cluster.zone, 30);
    config.any_class = 1;
    let mut sink = maps::memory(config, maps::state(), SERVER);
    maps::serve(&mut sink, [SERVER.into(), SERVER_V6.into()]);
    let mut writer = maps::writer(sink);
    let mut index = cluster.empty_index();
    for event in cluster.events.iter().cloned().chain(Cluster::synced()) {
        let changes = index.apply(event);
        writer.write(&changes, &index);
        let pointers = index.take_pointers();
        writer.point(&pointers, &index);
    }
    maps::live(&mut writer, true);
    maps::copy(writer.sink(), &mut kernel.maps);
    writer
}

/// A cluster and frames with questions about it, a quarter of them damaged.
fn frames() -> impl Strategy<Value = (Cluster, Vec<Vec<u8>>)> {
    cluster().prop_flat_map(|cluster| {
        let damage = vec((any::<Index>(), any::<u8>()), 0..3);
        let damage = prop_oneof![3 => Just(Vec::new()), 1 => damage];
        let tag = prop::option::weighted(0.2, any::<u16>());
        let frame = (query(&cluster), any::<bool>(), tag, damage, 0..80usize);
        let frame = frame.prop_map(|(query, is_ipv6, tag, damage, padding)| {
            let mut frame = if is_ipv6 {
                query.frame_v6()
            } else {
                query.frame()
            };
            if let Some(tag) = tag {
                frame = tagged(&frame, tag);
            }
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
    fn random_clusters_are_answered_as_on_the_host((cluster, frames) in frames()) {
        let mut kernel = shared();
        let kernel = kernel.as_mut().expect("loaded");
        let writer = mirror(kernel, &cluster);
        let mut records = Vec::new();
        for class in KeyClass::ALL {
            let mut visit = |_, record| records.push(record);
            read::for_each_record(writer.sink(), class, &mut visit).unwrap();
        }
        let totals: BTreeSet<u32> = records
            .iter()
            .flat_map(|record| [record.ipv4, record.ipv6])
            .filter(|total| *total > 0)
            .map(u32::from)
            // A pod's name has one address, which no record holds.
            .chain([1])
            .collect();
        for frame in frames {
            let host = Host { now_ns: 1, ..Host::new(writer.sink()) };
            for hook in [Hook::Xdp, Hook::Tc(1500)] {
                if !is_runnable(hook, &frame) {
                    continue;
                }
                let (verdict, expected) = host.respond_in(hook, &frame);
                let (action, got) = kernel.run_in(hook, &frame);
                // Where a reply takes too many steps from one target on, it passes. It may take
                // fewer from another.
                if is_rotated(verdict) || verdict == Verdict::Pass(PassReason::TooLarge) {
                    let mut hosts = totals.iter().flat_map(|&total| host.every_start(total));
                    let same = hosts.any(|host| {
                        let (verdict, expected) = host.respond_in(hook, &frame);
                        (Action::of(verdict), expected) == (action, got.clone())
                    });
                    prop_assert!(same, "{action:?} {}", hex::annotate(&got));
                } else {
                    prop_assert_eq!(action, Action::of(verdict), "{:?}", verdict);
                    prop_assert_eq!(got, expected);
                }
            }
        }
    }

    #[test]
    fn random_bytes_pass_unchanged(frame in vec(any::<u8>(), FRAME_MIN..FRAME_MAX)) {
        let kernel = shared();
        let kernel = kernel.as_ref().expect("loaded");
        for hook in [Hook::Xdp, Hook::Tc(1500)] {
            if is_runnable(hook, &frame) {
                let (action, got) = kernel.run_in(hook, &frame);
                prop_assert_eq!(action, Action::Pass);
                prop_assert_eq!(&got, &frame);
            }
        }
    }
}
