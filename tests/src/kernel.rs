//! The engine in the kernel, through `BPF_PROG_TEST_RUN`.

use std::fmt;
use std::path::PathBuf;

use aya::programs::{Program, Xdp};
use aya::{Ebpf, TestRun as _, TestRunOptions};
use headless_agent::maps::kernel::{KernelCounters, KernelSink};
use headless_agent::xdp::load::{self, Capacities, KernelLog};
use headless_ebpf::abi::Counter;
use headless_ebpf::respond::Verdict;

/// Fewer bytes are no Ethernet frame to the kernel (`bpf_test_init`).
pub const FRAME_MIN: usize = 14;

/// More bytes do not fit the page of a test run.
pub const FRAME_MAX: usize = 3000;

/// Room for what a test puts into the maps.
pub const CAPACITIES: Capacities = Capacities {
    names_short: 10_000,
    names_medium: 10_000,
    names_long: 10_000,
    chunks: 10_000,
};

/// Names of the maps and the loaded program.
pub struct Kernel {
    ebpf: Ebpf,
    /// The maps.
    pub maps: KernelSink,
    counters: KernelCounters,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// What XDP programs return (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_PASS`.
    Pass,
    /// `XDP_TX`.
    Tx,
}

impl Action {
    /// The action that goes with a verdict.
    pub fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Answer(..) => Self::Tx,
            Verdict::Pass(_) => Self::Pass,
            Verdict::Lost => panic!("a packet was lost"),
        }
    }
}

/// The built object of this name, by `HEADLESS_BPF_DIR`.
pub fn object(name: &str) -> PathBuf {
    let folder = std::env::var_os("HEADLESS_BPF_DIR")
        .expect("HEADLESS_BPF_DIR names the folder of the BPF objects: use `cargo xtask test`");
    PathBuf::from(folder).join(name)
}

impl Kernel {
    /// Loads the program with empty maps.
    pub fn load() -> Self {
        let path = object("headless-xdp.o");
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let ebpf = load::load_object(&bytes, &CAPACITIES, KernelLog::Off)
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            maps: KernelSink::open(&ebpf).unwrap(),
            counters: KernelCounters::open(&ebpf).unwrap(),
            ebpf,
        }
    }

    /// The maps under another handle.
    pub fn another_sink(&self) -> KernelSink {
        KernelSink::open(&self.ebpf).unwrap()
    }

    fn program(&self) -> &Xdp {
        match self.ebpf.program("headless_xdp") {
            Some(Program::Xdp(xdp)) => xdp,
            other => panic!("no XDP program: {other:?}"),
        }
    }

    /// What becomes of a frame, and the frame afterwards.
    pub fn run(&self, frame: &[u8]) -> (Action, Vec<u8>) {
        let mut out = vec![0; 4096];
        let result = self
            .program()
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .unwrap_or_else(|error| panic!("a frame of {} bytes: {error}", frame.len()));
        out.truncate(result.data_size_out as usize);
        let action = match result.return_value {
            2 => Action::Pass,
            3 => Action::Tx,
            other => panic!("XDP action {other}"),
        };
        (action, out)
    }

    /// Runs a frame; besides, which counters it moved.
    pub fn counted(&self, frame: &[u8]) -> (Action, Vec<u8>, Vec<(Counter, u64)>) {
        let before = self.counters.read().unwrap();
        let (action, out) = self.run(frame);
        let after = self.counters.read().unwrap();
        let moved = (0..)
            .zip(before.iter().zip(after))
            .filter(|(_, (before, after))| *before != after)
            .map(|(index, (before, after))| (Counter(index), after - before))
            .collect();
        (action, out, moved)
    }
}
