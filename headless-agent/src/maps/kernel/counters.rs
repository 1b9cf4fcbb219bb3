//! The counters of the programs.

use std::fmt;

use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray};
use headless_ebpf::abi::{COUNTERS, Counter, Path, map};

use super::open::{failed, open};
use crate::maps::store::SinkError;

/// The counters of the programs, which the kernel keeps for each CPU.
pub struct KernelCounters(PerCpuArray<MapData, u64>);

impl fmt::Debug for KernelCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelCounters").finish_non_exhaustive()
    }
}

impl KernelCounters {
    /// Opens the counters of a loaded object.
    ///
    /// # Errors
    /// When the object has no such map.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        open(ebpf, map::COUNTERS, Map::PerCpuArray).map(Self)
    }

    /// Number of queries that the programs have answered, on all CPUs.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn answers(&self) -> Result<u64, SinkError> {
        let answers = Path::ALL.into_iter().flat_map(Counter::answers);
        answers.map(|index| self.sum(index)).sum()
    }

    /// All counters by index, each summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn read(&self) -> Result<Vec<u64>, SinkError> {
        (0..COUNTERS).map(|index| self.sum(index)).collect()
    }

    /// One counter, summed over the CPUs.
    fn sum(&self, index: u32) -> Result<u64, SinkError> {
        let values = self.0.get(&index, 0);
        let values = values.map_err(|error| failed(map::COUNTERS, "read", error))?;
        Ok(values.iter().sum())
    }
}
