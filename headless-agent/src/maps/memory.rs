//! The maps in memory, for tests and for the engine on the host.

use std::collections::HashMap;

use bytemuck::Zeroable as _;
use headless_ebpf::abi::{
    Address, Config, EndpointEntry, KeyClass, KeyedHash, NameRecord, SERVED_MAX, SERVED_PROBES,
    SERVED_SLOTS, ServedPlace, ServedSlot, State, TableHint, TablePlace,
};
use headless_ebpf::maps::{Lookup, RecordWords};
use headless_ebpf::wire::{ChunkBytes, KeyBytes};

use super::encode::MapKey;
use super::heartbeat;
use super::store::{Arrays, Capacities, MapKind, RecordSink, SinkError};

/// Maps in memory. They have the capacities of the kernel's maps.
#[derive(Debug)]
pub struct MemorySink {
    arrays: Arrays,
    /// The records of the three hash maps of names.
    names: HashMap<MapKey, NameRecord>,
    /// Number of records in each of the three hash maps.
    lens: [usize; KeyClass::ALL.len()],
    served: Vec<ServedSlot>,
    /// The settings of the programs, with the arrays' numbers of buckets.
    pub config: Option<Config>,
    /// Deadline, serial, completeness and generation.
    pub state: State,
    /// The most served addresses.
    pub served_max: u32,
    capacities: Capacities,
}

impl MemorySink {
    /// Maps of these capacities with settings, and without names.
    pub fn new(mut config: Config, capacities: Capacities) -> Self {
        let arrays = Arrays::zeroed(&capacities);
        arrays.describe(&mut config);
        Self {
            arrays,
            names: HashMap::new(),
            lens: [0; KeyClass::ALL.len()],
            served: vec![ServedSlot::default(); SERVED_SLOTS],
            config: Some(config),
            state: State::default(),
            served_max: SERVED_MAX,
            capacities,
        }
    }

    /// Number of records in the hash map of this class.
    pub fn len(&self, class: KeyClass) -> usize {
        self.lens[class as usize]
    }

    /// Changes the capacity of the hash map of this class.
    pub fn set_capacity(&mut self, class: KeyClass, records: u32) {
        match class {
            KeyClass::Short => self.capacities.names_short = records,
            KeyClass::Medium => self.capacities.names_medium = records,
            KeyClass::Long => self.capacities.names_long = records,
        }
    }
}

impl RecordSink for MemorySink {
    fn arrays(&self) -> &Arrays {
        &self.arrays
    }

    fn capacity(&self, class: KeyClass) -> u32 {
        let map = MapKind::of_class(class);
        u32::try_from(self.capacities.entries(map)).unwrap_or(u32::MAX)
    }

    fn config(&self) -> Result<Config, SinkError> {
        Ok(self.config.unwrap_or_else(Config::zeroed))
    }

    fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        let mut config = *config;
        self.arrays.describe(&mut config);
        self.config = Some(config);
        Ok(())
    }

    fn state(&self) -> Result<State, SinkError> {
        Ok(self.state)
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.state = state;
        Ok(())
    }

    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError> {
        Ok(self.served.get(at as usize).copied().unwrap_or_default())
    }

    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        let used = self.served.iter().filter(|slot| slot.number != 0).count();
        let Some(place) = self.served.get_mut(at as usize) else {
            return Ok(());
        };
        if place.number == 0 && slot.number != 0 && used >= self.served_max as usize {
            let map = MapKind::Served;
            return Err(SinkError::Full { map });
        }
        *place = slot;
        Ok(())
    }

    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
        Ok(self.names.get(key).copied())
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        let map = MapKind::of_class(key.class());
        let is_full = self.len(key.class()) >= self.capacities.entries(map) as usize;
        if is_full && !self.names.contains_key(key) {
            return Err(SinkError::Full { map });
        }
        let is_new = self.names.insert(*key, record).is_none();
        self.lens[key.class() as usize] += usize::from(is_new);
        Ok(is_new)
    }

    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError> {
        let existed = self.names.remove(key).is_some();
        self.lens[key.class() as usize] -= usize::from(existed);
        Ok(existed)
    }

    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError> {
        let names = self.names.iter();
        names
            .filter(|(key, _)| key.class() == class)
            .for_each(|(key, record)| visit(*key, *record));
        Ok(())
    }
}

impl MemorySink {
    /// Looks up a record as the programs do, by one hint with the tag in each bucket.
    fn record(&self, config: &Config, key: &MapKey, hash: KeyedHash) -> Option<NameRecord> {
        if key.class() == KeyClass::Short {
            let place = TablePlace::of(hash, config.table_buckets);
            for bucket in place.buckets {
                let slot = TableHint::choose(self.arrays.hints(bucket), place);
                let slot = slot.checked_sub(1).map(|slot| self.arrays.slot(slot));
                if let Some(slot) = slot.filter(|slot| slot.key == key.words()) {
                    return Some(slot.record);
                }
            }
        }
        let has_names = config.has_names(key.class());
        has_names.then(|| self.names.get(key).copied()).flatten()
    }
}

/// The engine's view of the maps, as the programs have it of the kernel's maps.
impl Lookup for MemorySink {
    fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    fn state(&self) -> Option<State> {
        Some(self.state)
    }

    fn serves(&self, config: &Config, address: &Address) -> bool {
        let place = ServedPlace::of(&config.hash_key, *address);
        (0..SERVED_PROBES).any(|probe| {
            let slot = self.served[place.slot(probe) as usize];
            slot.address == *address && slot.number != 0
        })
    }

    fn name(
        &self,
        config: &Config,
        class: KeyClass,
        key: &KeyBytes,
        hash: KeyedHash,
        record: &mut RecordWords,
    ) -> bool {
        let found = self.record(config, &MapKey::from_key_bytes(class, key), hash);
        if let Some(found) = found {
            *record = bytemuck::cast(found);
        }
        found.is_some()
    }

    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64> {
        if index >= self.arrays.chunks() {
            return None;
        }
        let chunk = self.arrays.chunk(index);
        for (i, word) in chunk.words.iter().enumerate() {
            content.put_u64(i * 8, *word);
        }
        Some(chunk.seal)
    }

    fn endpoint(&self, entry: EndpointEntry, buckets: [u32; 2]) -> bool {
        let mut entries = buckets.into_iter().flat_map(|at| self.arrays.endpoints(at));
        entries.any(|found| found == entry)
    }

    fn reverse(&self, bucket: u32, slots: &mut ChunkBytes) -> bool {
        if bucket >= self.arrays.reverse_buckets() {
            return false;
        }
        for (i, slot) in self.arrays.reverse(bucket).iter().enumerate() {
            slots.put_u64(i * 8, slot.0);
        }
        true
    }

    fn now_ns(&self) -> u64 {
        heartbeat::monotonic_ns()
    }

    fn random(&self) -> u32 {
        fastrand::u32(..)
    }
}
