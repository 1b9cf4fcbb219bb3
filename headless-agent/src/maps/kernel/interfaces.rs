//! Facts about network interfaces that the tc program cannot ask the kernel for.

use std::fmt;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use headless_ebpf::abi::{InterfaceRecord, map};

use super::open::{errno, failed, open};
use crate::maps::store::SinkError;

/// The facts by the interface's index (`ifindex`).
pub struct KernelInterfaces(HashMap<MapData, u32, u64>);

impl fmt::Debug for KernelInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelInterfaces").finish_non_exhaustive()
    }
}

impl KernelInterfaces {
    /// Opens the map of a loaded object.
    ///
    /// # Errors
    /// When the object has no such map.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        open(ebpf, map::INTERFACES, Map::HashMap).map(Self)
    }

    /// Writes the facts about an interface.
    ///
    /// # Errors
    /// When the kernel refuses to write the map.
    pub fn put(&mut self, ifindex: u32, interface: InterfaceRecord) -> Result<(), SinkError> {
        self.0
            .insert(ifindex, bytemuck::cast::<_, u64>(interface), 0)
            .map_err(|error| failed(map::INTERFACES, "write", error))
    }

    /// Deletes the facts about an interface, if there are any.
    ///
    /// # Errors
    /// When the kernel refuses to write the map.
    pub fn delete(&mut self, ifindex: u32) -> Result<(), SinkError> {
        match self.0.remove(&ifindex) {
            Err(error) if errno(&error) != Some(libc::ENOENT) => {
                Err(failed(map::INTERFACES, "delete from", error))
            }
            _ => Ok(()),
        }
    }
}
