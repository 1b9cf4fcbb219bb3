//! The engine in the kernel, through `BPF_PROG_TEST_RUN`.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::programs::tc::{TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, Program, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, TestRun as _, TestRunOptions};
use headless_agent::datapath::object::{self, Capacities, KernelLog};
use headless_agent::maps::kernel::{KernelCounters, KernelInterfaces, KernelSink};
use headless_ebpf::abi::{Counter, Interface, PassReason, Path};
use headless_ebpf::respond::Verdict;
use nix::net::if_::if_nametoindex;

use crate::host::Home;
use crate::maps;
use crate::node::Node;

/// Name of a tc program that is not ours, as long as ours.
const FOREIGN_TC: &str = "somebody_tc";

/// The interface on which a test run's packet comes: the loopback, in every
/// namespace (`bpf_prog_test_run_skb`).
const LOOPBACK: u32 = 1;

/// Fewer bytes are no Ethernet frame to the kernel (`bpf_test_init`).
pub const FRAME_MIN: usize = 14;

/// More bytes do not fit the page of a test run.
pub const FRAME_MAX: usize = 3000;

/// Room for what a test puts into the maps.
pub const CAPACITIES: Capacities = Capacities {
    // Little, so that there are short names in both.
    names_table: 16,
    names_short: 10_000,
    names_medium: 10_000,
    names_long: 10_000,
    chunks: 10_000,
    reverse: maps::ADDRESSES,
};

/// Names of the maps and the loaded program.
pub struct Kernel {
    ebpf: Ebpf,
    /// The maps.
    pub maps: KernelSink,
    counters: KernelCounters,
    interfaces: Mutex<KernelInterfaces>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// What the programs return (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_PASS`, or `TC_ACT_UNSPEC`: what comes next sees it.
    Pass,
    /// `XDP_TX`, or `TC_ACT_REDIRECT`.
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

impl Home {
    /// Name of the program in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Xdp => "headless_xdp",
            Self::Tc(_) => "headless_tc",
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
        Self::with_table(CAPACITIES.names_table)
    }

    /// The same with this many slots in the table of short names.
    pub fn with_table(names_table: u32) -> Self {
        let path = object("headless-xdp.o");
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let capacities = Capacities {
            names_table,
            ..CAPACITIES
        };
        Self::load_object(&bytes, &capacities)
    }

    /// Loads it with the tc program under the name `FOREIGN_TC`, as somebody
    /// else's: without names it passes whatever it sees.
    pub fn foreign() -> Self {
        const OWN: &[u8] = b"headless_tc";
        let mut bytes = std::fs::read(object("headless-xdp.o")).unwrap();
        let places: Vec<usize> = bytes
            .windows(OWN.len())
            .enumerate()
            .filter_map(|(at, window)| (window == OWN).then_some(at))
            .collect();
        for at in places {
            bytes[at..][..OWN.len()].copy_from_slice(FOREIGN_TC.as_bytes());
        }
        Self::load_object(&bytes, &CAPACITIES)
    }

    fn load_object(bytes: &[u8], capacities: &Capacities) -> Self {
        let ebpf = object::load_object(bytes, capacities, KernelLog::Off)
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            maps: KernelSink::open(&ebpf).unwrap(),
            counters: KernelCounters::open(&ebpf).unwrap(),
            interfaces: Mutex::new(KernelInterfaces::open(&ebpf).unwrap()),
            ebpf,
        }
    }

    /// The maps under another handle.
    pub fn another_sink(&self) -> KernelSink {
        KernelSink::open(&self.ebpf).unwrap()
    }

    /// Puts the tc program of [`Self::foreign`] on an interface of a node.
    pub fn attach_tc(&mut self, node: &Node, interface: &str, options: TcAttachOptions) {
        let program = self.ebpf.program_mut(FOREIGN_TC).unwrap();
        let program: &mut SchedClassifier = program.try_into().unwrap();
        node.run(|| {
            program.attach_with_options(interface, TcAttachType::Ingress, options)?;
            Ok(())
        })
        .unwrap();
    }

    /// The same with the XDP program.
    pub fn attach_xdp(&mut self, node: &Node, interface: &str) {
        let program = self.ebpf.program_mut("headless_xdp").unwrap();
        let program: &mut Xdp = program.try_into().unwrap();
        node.run(|| {
            program.attach(interface, XdpMode::Skb)?;
            Ok(())
        })
        .unwrap();
    }

    /// Puts the programs on an interface of a node as the agent does: tc, and where it
    /// is asked for XDP before it.
    pub fn attach(&mut self, node: &Node, interface: &str, by_xdp: bool) {
        let program = self.ebpf.program_mut("headless_tc").unwrap();
        let program: &mut SchedClassifier = program.try_into().unwrap();
        let ingress = TcAttachType::Ingress;
        node.run(|| {
            let tcx = TcAttachOptions::TcxOrder(LinkOrder::first());
            // Kernels before 6.6 have no tcx.
            if program
                .attach_with_options(interface, ingress, tcx)
                .is_err()
            {
                qdisc_add_clsact(interface)?;
                program.attach(interface, ingress)?;
            }
            Ok(())
        })
        .unwrap();
        if by_xdp {
            self.attach_xdp(node, interface);
        }
    }

    /// Tells the tc program the MTU of an interface that is one end of a veth.
    pub fn put_interface(&self, node: &Node, interface: &str, mtu: u32) {
        let index = node.run(|| Ok(if_nametoindex(interface)?)).unwrap();
        let interface = Interface::new(mtu, true);
        self.interfaces().put(index, interface).unwrap();
    }

    /// Has the tc program know nothing of an interface.
    pub fn delete_interface(&self, node: &Node, interface: &str) {
        let index = node.run(|| Ok(if_nametoindex(interface)?)).unwrap();
        self.interfaces().delete(index).unwrap();
    }

    fn interfaces(&self) -> MutexGuard<'_, KernelInterfaces> {
        let interfaces = self.interfaces.lock();
        interfaces.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many DNS queries a program without names has seen.
    pub fn seen(&self, path: Path) -> u64 {
        self.passed(path, PassReason::NotServed)
    }

    /// How many packets a program has passed for this reason.
    pub fn passed(&self, path: Path, reason: PassReason) -> u64 {
        let Counter(index) = Counter::pass(path, reason);
        self.counters.read().unwrap()[index as usize]
    }

    /// What becomes of a frame in XDP, and the frame afterwards.
    pub fn run(&self, frame: &[u8]) -> (Action, Vec<u8>) {
        self.run_in(Home::Xdp, frame)
    }

    /// The same in any program.
    pub fn run_in(&self, home: Home, frame: &[u8]) -> (Action, Vec<u8>) {
        let mut out = vec![0; 8192];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = match (home, self.ebpf.program(home.program())) {
            (Home::Xdp, Some(Program::Xdp(xdp))) => xdp.test_run(options),
            (Home::Tc(mtu), Some(Program::SchedClassifier(tc))) => {
                let interface = Interface::new(mtu, true);
                self.interfaces().put(LOOPBACK, interface).unwrap();
                tc.test_run(options)
            }
            (_, other) => panic!("no program for {home:?}: {other:?}"),
        };
        let result = result.unwrap_or_else(|error| panic!("{} bytes: {error}", frame.len()));
        out.truncate(result.data_size_out as usize);
        let action = match (home, result.return_value.cast_signed()) {
            (Home::Xdp, 2) | (Home::Tc(_), -1) => Action::Pass,
            (Home::Xdp, 3) | (Home::Tc(_), 7) => Action::Tx,
            (_, other) => panic!("action {other} of {home:?}"),
        };
        (action, out)
    }

    /// How long a program has run, and how often, since `bpf_stats` counts.
    pub fn run_time(&self, home: Home) -> (Duration, u64) {
        let info = self.ebpf.program(home.program()).unwrap().info().unwrap();
        (info.run_time(), info.run_count())
    }

    /// Runs a frame; besides, which counters it moved.
    pub fn counted(&self, home: Home, frame: &[u8]) -> (Action, Vec<u8>, Vec<(Counter, u64)>) {
        let before = self.counters();
        let (action, out) = self.run_in(home, frame);
        (action, out, self.moved_since(&before))
    }

    /// Every counter, by index.
    pub fn counters(&self) -> Vec<u64> {
        self.counters.read().unwrap()
    }

    /// Which counters have moved since they were read, and by how much.
    pub fn moved_since(&self, before: &[u64]) -> Vec<(Counter, u64)> {
        (0..)
            .zip(before.iter().zip(self.counters()))
            .filter(|(_, (before, after))| *before != after)
            .map(|(index, (before, after))| (Counter(index), after - before))
            .collect()
    }
}
