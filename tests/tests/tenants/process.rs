//! Figures of the agent's process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::maps::{Array, Map, MapData, MapInfo};
use headless_agent::maps::heartbeat::monotonic_ns;
use headless_ebpf::abi::map::STATE;
use headless_tests::agent::Agent;

/// The lease of an agent with default options, in nanoseconds.
const LEASE: u64 = 30_000_000_000;

/// The most memory that the agent's process has had, in bytes: `VmHWM` of `/proc/PID/status`. It
/// includes the arrays that the agent maps, but not the kernel's hash maps and programs.
pub(crate) fn peak_memory(agent: &Agent<'_>) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// Watches the heartbeats that the agent writes to the map `STATE`.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Heartbeats {
    pub(crate) fn watch(agent: &Agent<'_>) -> Self {
        let state = state(agent.pid());
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopping.load(Ordering::Relaxed) {
                let [deadline, _] = state.get(&0, 0).unwrap();
                let age = monotonic_ns().saturating_sub(deadline - LEASE);
                longest = longest.max(Duration::from_nanos(age));
                thread::sleep(Duration::from_millis(5));
            }
            longest
        });
        Self { stop, thread }
    }

    /// The longest time that the last heartbeat was ago.
    pub(crate) fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The map `STATE` of a process, as words.
fn state(pid: u32) -> Array<MapData, [u64; 2]> {
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let info = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("map_id:"));
        let Some(id) = id.map(|id| id.trim().parse().unwrap()) else {
            continue;
        };
        if MapInfo::from_id(id).unwrap().name_as_str() == Some(STATE) {
            let map = Map::Array(MapData::from_id(id).unwrap());
            return map.try_into().unwrap();
        }
    }
    panic!("process {pid} has no map {STATE}");
}
