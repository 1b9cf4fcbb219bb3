//! Run time of the programs per question, by the kernel's `bpf_stats`.
//!
//! `bpf_stats` counts units of the kernel's clock. These are nanoseconds, or x86
//! instructions in the virtual machine of `cargo xtask test --kernels --suite executed
//! --icount`, whose clock advances by one per instruction. `--nocapture` shows the figures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::sys::{Stats, enable_stats};
use headless_agent::maps::RecordSink as _;
use headless_agent::maps::capacity::Capacities;
use headless_agent::records::{NameData, RelativeName};
use headless_ebpf::abi::NameFlags;
use headless_tests::frame::{Query, SERVER, qtype};
use headless_tests::host::Hook;
use headless_tests::kernel::{Action, Kernel};
use headless_tests::maps;

/// Runs of each program on each frame. Only the first ones miss the processor's caches.
const RUNS: u32 = 1000;

/// A name of 45 bytes with three IPv4 addresses.
const NAME: &str = "nginx-headless-07.team-00.svc.cluster.local";

/// A name of 45 bytes with eight IPv6 addresses.
const NAME_V6: &str = "nginx-headless-v6.team-00.svc.cluster.local";

fn data(ipv4: Vec<Ipv4Addr>, ipv6: Vec<Ipv6Addr>) -> NameData {
    NameData {
        flags: NameFlags::empty(),
        ipv4,
        ipv6,
        details: None,
    }
}

/// Offset of the protocol number in a frame with an IPv4 packet.
const PROTOCOL_AT: usize = 23;
const TCP: u8 = 6;

/// Runs a program [`RUNS`] times on a frame and prints its mean run time.
fn measure(kernel: &Kernel, hook: Hook, label: &str, frame: &[u8], expected: Action) {
    let (time_before, runs_before) = kernel.run_time(hook);
    for _ in 0..RUNS {
        assert_eq!(kernel.run_in(hook, frame).0, expected, "{label}");
    }
    let (time, runs) = kernel.run_time(hook);
    let (time, runs) = (time.as_nanos() - time_before.as_nanos(), runs - runs_before);
    assert_eq!(runs, u64::from(RUNS), "{label}");
    assert!(time > 0, "{label}");
    let mean = time / u128::from(runs);
    println!("executed: {}/{label} {mean}", hook.program());
}

#[test]
fn questions_are_answered_and_their_run_time_is_measured() {
    let mut kernel = Kernel::with_capacities(&Capacities {
        table_slots: 1024,
        ..maps::CAPACITIES
    });
    let sink = &mut kernel.maps;
    sink.put_config(&maps::config("cluster.local", 30)).unwrap();
    sink.put_state(maps::state()).unwrap();
    maps::serve(sink, [IpAddr::V4(SERVER)]);
    let ipv4 = (1..=3).map(|host| Ipv4Addr::new(10, 0, 0, host));
    let ipv6 = (1..=8).map(|host| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host));
    let names = [
        ("nginx-headless-07", data(ipv4.collect(), Vec::new())),
        ("nginx-headless-v6", data(Vec::new(), ipv6.collect())),
    ];
    let names = names.map(|(service, data)| {
        (
            RelativeName::from_labels([service, "team-00"]).unwrap(),
            data,
        )
    });
    maps::install(sink, names.iter().map(|(name, data)| (name, data)));

    let questions = BTreeMap::from([
        ("a-3", Query::new(NAME, qtype::A)),
        ("aaaa-8-opt", Query::new(NAME_V6, qtype::AAAA).edns(1232)),
        ("nodata", Query::new(NAME, qtype::AAAA)),
        (
            "nxdomain",
            Query::new("absent-service-07.team-00.svc.cluster.local", qtype::A),
        ),
    ]);
    let _counting = enable_stats(Stats::RunTime).unwrap();
    for hook in [Hook::Xdp, Hook::Tc(1500)] {
        for (label, query) in &questions {
            let frame = query.frame();
            measure(&kernel, hook, label, &frame, Action::Tx);
        }
        // A TCP packet passes at the first comparisons: nearly all of its run time is that
        // of the kernel's own measurement.
        let mut frame = Query::new(NAME, qtype::A).frame();
        frame[PROTOCOL_AT] = TCP;
        measure(&kernel, hook, "tcp", &frame, Action::Pass);
    }
}
