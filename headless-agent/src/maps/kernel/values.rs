//! Array maps that take a system call for each access.

use std::marker::PhantomData;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};
use bytemuck::{AnyBitPattern, NoUninit};

use super::open::{failed, open};
use crate::maps::store::SinkError;

/// An array map with values of type `T`. aya copies them as words `W` of the same size,
/// because it knows no types of other crates.
pub(super) struct Values<T, W: aya::Pod> {
    name: &'static str,
    map: Array<MapData, W>,
    value: PhantomData<T>,
}

impl<T, W> Values<T, W>
where
    T: NoUninit + AnyBitPattern,
    W: aya::Pod + NoUninit + AnyBitPattern,
{
    /// Opens the map with this name.
    pub(super) fn open(ebpf: &Ebpf, name: &'static str) -> anyhow::Result<Self> {
        const { assert!(size_of::<T>() == size_of::<W>()) };
        let map = open(ebpf, name, Map::Array)?;
        Ok(Self {
            name,
            map,
            value: PhantomData,
        })
    }

    /// Reads the value at `index`.
    pub(super) fn get(&self, index: u32) -> Result<T, SinkError> {
        self.map
            .get(&index, 0)
            .map(bytemuck::cast)
            .map_err(|error| failed(self.name, "read", error))
    }

    /// Replaces the value at `index`.
    pub(super) fn set(&mut self, index: u32, value: T) -> Result<(), SinkError> {
        let words: W = bytemuck::cast(value);
        self.map
            .set(index, words, 0)
            .map_err(|error| failed(self.name, "write", error))
    }
}
