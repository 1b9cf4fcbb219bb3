//! The maps of a loaded BPF object.

mod counters;
mod hash_map;
mod interfaces;
mod open;
mod values;

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::Map;
use headless_ebpf::abi::{Config, KeyClass, NameRecord, ServedSlot, State, map};

pub use self::counters::KernelCounters;
use self::hash_map::{Names, RecordWords};
pub use self::interfaces::{KernelConnections, KernelInterfaces};
use self::open::{capacity, descriptor, open};
use self::values::Values;
use super::encode::MapKey;
use super::store::{Arrays, Capacities, RecordSink, SinkError, Words};

type ConfigWords = [u64; size_of::<Config>() / 8];
type ServedWords = [u64; size_of::<ServedSlot>() / 8];
type StateWords = [u64; size_of::<State>() / 8];

/// The maps that the writer fills, in the kernel.
pub struct KernelSink {
    arrays: Arc<Arrays>,
    /// The most records in each of the three hash maps.
    capacities: [u32; KeyClass::ALL.len()],
    short: Names<{ KeyClass::Short.words() }>,
    medium: Names<{ KeyClass::Medium.words() }>,
    long: Names<{ KeyClass::Long.words() }>,
    served: Values<ServedSlot, ServedWords>,
    config: Values<Config, ConfigWords>,
    state: Values<State, StateWords>,
}

impl fmt::Debug for KernelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSink").finish_non_exhaustive()
    }
}

impl KernelSink {
    /// Opens the maps of a loaded object under handles of their own, and maps the arrays into
    /// memory.
    ///
    /// # Errors
    /// When the object lacks a map, a map has an unexpected layout, or mmap(2) fails.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let capacity = |name| capacity(ebpf, name);
        let capacities = Capacities {
            table_slots: capacity(map::TABLE_SLOTS)?,
            chunks: capacity(map::CHUNKS)?,
            endpoint_buckets: capacity(map::ENDPOINTS)?,
            // The kernel has no map without elements, so one bucket stands for none.
            reverse_buckets: match capacity(map::REVERSE)? {
                1 => 0,
                buckets => buckets,
            },
            ..Capacities::default()
        };
        let arrays = Arrays::new(&capacities, |name, words| {
            let map = Words::map(descriptor(ebpf, name)?, words);
            map.with_context(|| format!("cannot map {name} into memory"))
        })?;
        Self::with_arrays(ebpf, Arc::new(arrays))
    }

    /// Opens the same maps once more, for readers on other threads. They share the mapped
    /// arrays, because the kernel counts each mapping as memory of the process.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn again(&self, ebpf: &Ebpf) -> anyhow::Result<Self> {
        Self::with_arrays(ebpf, Arc::clone(&self.arrays))
    }

    fn with_arrays(ebpf: &Ebpf, arrays: Arc<Arrays>) -> anyhow::Result<Self> {
        Ok(Self {
            arrays,
            capacities: [
                capacity(ebpf, map::NAMES_SHORT)?,
                capacity(ebpf, map::NAMES_MEDIUM)?,
                capacity(ebpf, map::NAMES_LONG)?,
            ],
            short: open(ebpf, map::NAMES_SHORT, Map::HashMap)?,
            medium: open(ebpf, map::NAMES_MEDIUM, Map::HashMap)?,
            long: open(ebpf, map::NAMES_LONG, Map::HashMap)?,
            served: Values::open(ebpf, map::SERVED)?,
            config: Values::open(ebpf, map::CONFIG)?,
            state: Values::open(ebpf, map::STATE)?,
        })
    }
}

impl RecordSink for KernelSink {
    fn arrays(&self) -> &Arrays {
        &self.arrays
    }

    fn capacity(&self, class: KeyClass) -> u32 {
        self.capacities[class as usize]
    }

    fn config(&self) -> Result<Config, SinkError> {
        self.config.get(0)
    }

    fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        let mut config = *config;
        self.arrays.describe(&mut config);
        self.config.set(0, config)
    }

    fn state(&self) -> Result<State, SinkError> {
        self.state.get(0)
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.state.set(0, state)
    }

    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError> {
        self.served.get(at)
    }

    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        self.served.set(at, slot)
    }

    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
        let record = match key.class() {
            KeyClass::Short => hash_map::get(&self.short, key),
            KeyClass::Medium => hash_map::get(&self.medium, key),
            KeyClass::Long => hash_map::get(&self.long, key),
        };
        Ok(record?.map(bytemuck::cast))
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        let value: RecordWords = bytemuck::cast(record);
        match key.class() {
            KeyClass::Short => hash_map::put(&mut self.short, key, value),
            KeyClass::Medium => hash_map::put(&mut self.medium, key, value),
            KeyClass::Long => hash_map::put(&mut self.long, key, value),
        }
    }

    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError> {
        match key.class() {
            KeyClass::Short => hash_map::delete(&mut self.short, key),
            KeyClass::Medium => hash_map::delete(&mut self.medium, key),
            KeyClass::Long => hash_map::delete(&mut self.long, key),
        }
    }

    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError> {
        match class {
            KeyClass::Short => hash_map::for_each(class, &self.short, visit),
            KeyClass::Medium => hash_map::for_each(class, &self.medium, visit),
            KeyClass::Long => hash_map::for_each(class, &self.long, visit),
        }
    }
}
