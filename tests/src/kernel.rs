//! The programs in the kernel. `BPF_PROG_TEST_RUN` runs them on single frames.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::programs::tc::{TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, Program, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, TestRun as _, TestRunOptions};
use headless_agent::datapath::object::{self, KernelLog};
use headless_agent::maps::capacity::Capacities;
use headless_agent::maps::kernel::{KernelCounters, KernelInterfaces, KernelSink};
use headless_ebpf::abi::{Counter, InterfaceRecord, PassReason, Path};
use headless_ebpf::respond::Verdict;
use nix::net::if_::if_nametoindex;

use crate::host::Hook;
use crate::maps;
use crate::node::Node;

/// Name of a tc program that is not headless's. It has as many bytes as `headless_tc`.
const FOREIGN_TC: &str = "somebody_tc";

/// Index of the interface on which the packet of a test run comes in: the loopback, in
/// every network namespace (Linux, `bpf_prog_test_run_skb`).
const LOOPBACK: u32 = 1;

/// The shortest frame in bytes that a test run accepts (Linux, `bpf_test_init`).
pub const FRAME_MIN: usize = 14;

/// The longest frame in bytes that the suites use. A test run's frame must fit into a page.
pub const FRAME_MAX: usize = 3000;

/// The loaded programs and their maps.
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

/// The programs' return values (Linux, `include/uapi/linux/bpf.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_PASS` or `TC_ACT_UNSPEC`: the frame goes on.
    Pass,
    /// `XDP_TX` or `TC_ACT_REDIRECT`: the frame goes back as a reply.
    Tx,
}

impl Action {
    /// The action that belongs to a verdict.
    pub fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Answer(..) => Self::Tx,
            Verdict::Pass(_) => Self::Pass,
            Verdict::Lost => panic!("a packet was lost"),
        }
    }
}

impl Hook {
    /// Name of the hook's program in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Xdp => "headless_xdp",
            Self::Tc(_) | Self::Observed(_) => "headless_tc",
        }
    }
}

/// Path of a built object in the folder that `HEADLESS_BPF_DIR` names.
pub fn object(name: &str) -> PathBuf {
    let folder = std::env::var_os("HEADLESS_BPF_DIR")
        .expect("HEADLESS_BPF_DIR names the folder of the BPF objects: use `cargo xtask test`");
    PathBuf::from(folder).join(name)
}

impl Kernel {
    /// Loads the programs with empty maps.
    pub fn load() -> Self {
        Self::with_capacities(&maps::CAPACITIES)
    }

    /// Loads the programs with empty maps of these capacities.
    pub fn with_capacities(capacities: &Capacities) -> Self {
        let path = object("headless-xdp.o");
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        Self::load_object(&bytes, capacities)
    }

    /// Loads the programs with `FOREIGN_TC` as the tc program's name. They stand for
    /// programs of others: without served addresses they pass every packet.
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
        Self::load_object(&bytes, &maps::CAPACITIES)
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

    /// A second handle to the maps.
    pub fn another_sink(&self) -> KernelSink {
        KernelSink::open(&self.ebpf).unwrap()
    }

    /// Attaches the tc program of [`Self::foreign`] to an interface of a node.
    pub fn attach_tc(&mut self, node: &Node, interface: &str, options: TcAttachOptions) {
        let program = self.ebpf.program_mut(FOREIGN_TC).unwrap();
        let program: &mut SchedClassifier = program.try_into().unwrap();
        node.run(|| {
            program.attach_with_options(interface, TcAttachType::Ingress, options)?;
            Ok(())
        })
        .unwrap();
    }

    /// Attaches the XDP program to an interface of a node.
    pub fn attach_xdp(&mut self, node: &Node, interface: &str) {
        let program = self.ebpf.program_mut("headless_xdp").unwrap();
        let program: &mut Xdp = program.try_into().unwrap();
        node.run(|| {
            program.attach(interface, XdpMode::Skb)?;
            Ok(())
        })
        .unwrap();
    }

    /// Attaches the programs to an interface of a node as the agent does: tc, and XDP too
    /// with `by_xdp`.
    pub fn attach(&mut self, node: &Node, interface: &str, by_xdp: bool) {
        let program = self.ebpf.program_mut("headless_tc").unwrap();
        let program: &mut SchedClassifier = program.try_into().unwrap();
        let ingress = TcAttachType::Ingress;
        node.run(|| {
            let tcx = TcAttachOptions::TcxOrder(LinkOrder::first());
            // Kernels before 6.6 have no tcx, so the program needs the clsact qdisc.
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

    /// Writes the MTU of a veth's end for the tc program.
    pub fn put_interface(&self, node: &Node, interface: &str, mtu: u32) {
        let index = node.run(|| Ok(if_nametoindex(interface)?)).unwrap();
        let interface = InterfaceRecord::new(mtu, true);
        self.interfaces().put(index, interface).unwrap();
    }

    /// Deletes the entry that tells the tc program of an interface.
    pub fn delete_interface(&self, node: &Node, interface: &str) {
        let index = node.run(|| Ok(if_nametoindex(interface)?)).unwrap();
        self.interfaces().delete(index).unwrap();
    }

    fn interfaces(&self) -> MutexGuard<'_, KernelInterfaces> {
        let interfaces = self.interfaces.lock();
        interfaces.unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of DNS queries that a program of [`Self::foreign`] has seen.
    pub fn seen(&self, path: Path) -> u64 {
        self.passed(path, PassReason::NotServed)
    }

    /// Number of packets that a program has passed for this reason.
    pub fn passed(&self, path: Path, reason: PassReason) -> u64 {
        let Counter(index) = Counter::pass(path, reason);
        self.counters.read().unwrap()[index as usize]
    }

    /// Runs the XDP program. Returns the action, and the frame afterwards.
    pub fn run(&self, frame: &[u8]) -> (Action, Vec<u8>) {
        self.run_in(Hook::Xdp, frame)
    }

    /// Runs the program of this hook. Returns the action, and the frame afterwards.
    pub fn run_in(&self, hook: Hook, frame: &[u8]) -> (Action, Vec<u8>) {
        let mut out = vec![0; 8192];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = match (hook, self.ebpf.program(hook.program())) {
            (Hook::Xdp, Some(Program::Xdp(xdp))) => xdp.test_run(options),
            (Hook::Tc(mtu) | Hook::Observed(mtu), Some(Program::SchedClassifier(tc))) => {
                let mut interface = InterfaceRecord::new(mtu, true);
                if matches!(hook, Hook::Observed(_)) {
                    interface = interface.observed();
                }
                self.interfaces().put(LOOPBACK, interface).unwrap();
                tc.test_run(options)
            }
            (_, other) => panic!("no program for {hook:?}: {other:?}"),
        };
        let result = result.unwrap_or_else(|error| panic!("{} bytes: {error}", frame.len()));
        out.truncate(result.data_size_out as usize);
        let action = match (hook, result.return_value.cast_signed()) {
            (Hook::Xdp, 2) | (Hook::Tc(_) | Hook::Observed(_), -1) => Action::Pass,
            (Hook::Xdp, 3) | (Hook::Tc(_) | Hook::Observed(_), 7) => Action::Tx,
            (_, other) => panic!("action {other} of {hook:?}"),
        };
        (action, out)
    }

    /// How long a program has run, and how often, since `bpf_stats` counts.
    pub fn run_time(&self, hook: Hook) -> (Duration, u64) {
        let info = self.ebpf.program(hook.program()).unwrap().info().unwrap();
        (info.run_time(), info.run_count())
    }

    /// Runs a frame; besides, which counters it moved.
    pub fn counted(&self, hook: Hook, frame: &[u8]) -> (Action, Vec<u8>, Vec<(Counter, u64)>) {
        let before = self.counters();
        let (action, out) = self.run_in(hook, frame);
        (action, out, self.moved_since(&before))
    }

    /// Every counter, by index.
    pub fn counters(&self) -> Vec<u64> {
        self.counters.read().unwrap()
    }

    /// The counters that have grown since `before` was read, with their growth.
    pub fn moved_since(&self, before: &[u64]) -> Vec<(Counter, u64)> {
        (0..)
            .zip(before.iter().zip(self.counters()))
            .filter(|(_, (before, after))| *before != after)
            .map(|(index, (before, after))| (Counter(index), after - before))
            .collect()
    }
}
