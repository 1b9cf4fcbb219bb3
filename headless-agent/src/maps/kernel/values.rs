//! Array maps of values that aya does not know.

use std::marker::PhantomData;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};
use bytemuck::{AnyBitPattern, NoUninit};

use super::super::kind::SinkError;
use super::{BPF_ANY, failed, open};

/// An array map whose values are `T`, as the words `W` that aya copies: both of one
/// size.
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
    /// Opens the map of this name.
    pub(super) fn open(ebpf: &Ebpf, name: &'static str) -> anyhow::Result<Self> {
        const { assert!(size_of::<T>() == size_of::<W>()) };
        let map = open(ebpf, name, Map::Array)?;
        Ok(Self {
            name,
            map,
            value: PhantomData,
        })
    }

    /// One of them.
    pub(super) fn get(&self, index: u32) -> Result<T, SinkError> {
        self.map
            .get(&index, BPF_ANY)
            .map(bytemuck::cast)
            .map_err(|error| failed(self.name, "read", error))
    }

    /// Replaces one of them.
    pub(super) fn set(&mut self, index: u32, value: T) -> Result<(), SinkError> {
        let words: W = bytemuck::cast(value);
        self.map
            .set(index, words, BPF_ANY)
            .map_err(|error| failed(self.name, "write", error))
    }
}
