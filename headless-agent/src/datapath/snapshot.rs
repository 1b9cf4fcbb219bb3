//! The state of the data path as plain values. The task that owns the programs publishes
//! a new [`Snapshot`] after every comparison; readers take no lock of that task.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::policy::{Cause, Mode};

/// State of one program on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum ProgramState {
    /// The interface carries the program.
    Attached,
    /// The interface carries the program, which counts the questions that it would answer.
    Observing,
    /// Questions of this pod are left to the node's stack.
    Off,
    /// The program was taken off while the pod sends much.
    Lifted,
    /// The operator does not want this program.
    Unused,
    /// The interface carries a default route: it leads out of the node, not to a pod.
    Uplink,
    /// The interface carries another program of this kind, which is left alone.
    Foreign,
    /// The interface does not get the program in this mode.
    Refused(String),
    /// The kernel did not attach the program.
    Failed(String),
}

impl ProgramState {
    /// Labels of the states in metrics.
    pub const LABELS: [&str; 9] = [
        "attached",
        "observing",
        "off",
        "lifted",
        "unused",
        "uplink",
        "foreign",
        "refused",
        "failed",
    ];

    /// Label in metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Observing => "observing",
            Self::Off => "off",
            Self::Lifted => "lifted",
            Self::Unused => "unused",
            Self::Uplink => "uplink",
            Self::Foreign => "foreign",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// An interface that could get the programs, and the state of each program on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the interface.
    pub name: String,
    /// Index of the interface.
    pub ifindex: u32,
    /// Largest reply in bytes, from the IP header on.
    pub mtu: u32,
    /// Whether the pod's questions are answered.
    pub mode: Mode,
    /// Why the interface has this mode.
    pub cause: Cause,
    /// The pod, `NAMESPACE/NAME`, where it is known. It is looked for only while the modes of
    /// the node's pods differ.
    pub pod: Option<String>,
    /// State of the XDP program.
    pub xdp: ProgramState,
    /// State of the tc program.
    pub tc: ProgramState,
}

/// A loaded program, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Id of the program.
    pub id: u32,
    /// Time spent in the program in nanoseconds; 0 unless `kernel.bpf_stats_enabled`.
    pub run_time_ns: u64,
    /// Number of runs; 0 unless `kernel.bpf_stats_enabled`.
    pub run_count: u64,
    /// Instructions that the verifier looked at; from kernel 5.16.
    pub verified_instructions: Option<u32>,
    /// Size of the machine code in bytes.
    pub jited_bytes: u32,
}

/// The data path at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether the interfaces have been compared once: each pod that was there at the
    /// start has its programs.
    pub compared: bool,
    /// By index of the interface.
    pub attachments: BTreeMap<u32, Attachment>,
    /// The programs by path: `xdp`, `tc`.
    pub programs: BTreeMap<&'static str, Program>,
    /// How often a program was found removed by somebody else and was attached again, by
    /// path.
    pub restored: BTreeMap<&'static str, u64>,
    /// Pods whose mode does not hold, because their interface is not known.
    pub untold: Vec<String>,
}

/// The latest snapshot, for any number of readers.
pub type Snapshots = watch::Receiver<Arc<Snapshot>>;
