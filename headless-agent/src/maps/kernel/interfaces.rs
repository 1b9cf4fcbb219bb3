//! What the tc program keeps for each network interface: facts that it cannot ask the kernel for,
//! and its count of TCP connections.

use std::collections::BTreeMap;
use std::fmt;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use headless_ebpf::abi::{InterfaceRecord, map};

use super::open::{errno, failed, open};
use crate::maps::store::SinkError;

/// Flag of `bpf(BPF_MAP_UPDATE_ELEM)`: the key must be new (include/uapi/linux/bpf.h).
const BPF_NOEXIST: u64 = 1;

/// Facts and counts by the interface's index (`ifindex`).
pub struct KernelInterfaces {
    facts: HashMap<MapData, u32, u64>,
    connections: HashMap<MapData, u32, u64>,
}

impl fmt::Debug for KernelInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelInterfaces").finish_non_exhaustive()
    }
}

impl KernelInterfaces {
    /// Opens the maps of a loaded object.
    ///
    /// # Errors
    /// When the object has no such maps.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            facts: open(ebpf, map::INTERFACES, Map::HashMap)?,
            connections: open(ebpf, map::CONNECTIONS, Map::HashMap)?,
        })
    }

    /// Writes the facts about an interface. An interface that has no count yet begins at 0.
    ///
    /// # Errors
    /// When the kernel refuses to write a map.
    pub fn put(&mut self, ifindex: u32, interface: InterfaceRecord) -> Result<(), SinkError> {
        match self.connections.insert(ifindex, 0, BPF_NOEXIST) {
            Err(error) if errno(&error) != Some(libc::EEXIST) => {
                return Err(failed(map::CONNECTIONS, "write", error));
            }
            _ => {}
        }
        self.facts
            .insert(ifindex, bytemuck::cast::<_, u64>(interface), 0)
            .map_err(|error| failed(map::INTERFACES, "write", error))
    }

    /// Deletes the facts about an interface and its count, if there are any.
    ///
    /// # Errors
    /// When the kernel refuses to write a map.
    pub fn delete(&mut self, ifindex: u32) -> Result<(), SinkError> {
        let done = |map, result: Result<(), MapError>| match result {
            Err(error) if errno(&error) != Some(libc::ENOENT) => {
                Err(failed(map, "delete from", error))
            }
            _ => Ok(()),
        };
        let counted = done(map::CONNECTIONS, self.connections.remove(&ifindex));
        done(map::INTERFACES, self.facts.remove(&ifindex)).and(counted)
    }
}

/// The tc program's counts of TCP connections to served addresses, for reading.
pub struct KernelConnections(HashMap<MapData, u32, u64>);

impl fmt::Debug for KernelConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelConnections").finish_non_exhaustive()
    }
}

impl KernelConnections {
    /// Opens the map of a loaded object.
    ///
    /// # Errors
    /// When the object has no such map.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        open(ebpf, map::CONNECTIONS, Map::HashMap).map(Self)
    }

    /// The counts by the interface's index.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn read(&self) -> Result<BTreeMap<u32, u64>, SinkError> {
        let counts = self.0.iter().collect::<Result<_, _>>();
        counts.map_err(|error| failed(map::CONNECTIONS, "read", error))
    }
}
