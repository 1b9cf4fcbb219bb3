//! The maps in memory: for tests, and to see what would be written.

use std::collections::HashMap;

use headless_ebpf::abi::{
    Chunk, ChunkKey, Config, KeyClass, NameRecord, ReverseBucket, Seal, ServerAddress, State,
};
use headless_ebpf::lookup::{Lookup, RecordWords};
use headless_ebpf::wire::{AddressBytes, KeyBytes};

use super::{MapKind, MapName, RecordSink, SinkError, heartbeat};

/// The maps' content, with the kernel's limits on the number of entries.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// Content of the three name maps.
    pub names: HashMap<MapName, NameRecord>,
    /// Content of the map of chunks.
    pub chunks: HashMap<ChunkKey, Chunk>,
    /// Content of the map of served addresses.
    pub servers: HashMap<ServerAddress, u32>,
    /// Content of the table of addresses.
    pub reverse: Vec<ReverseBucket>,
    /// The operator's choices.
    pub config: Option<Config>,
    /// The liveness entry.
    pub state: State,
    /// Most entries of a map; unlimited where there is none.
    pub capacity: HashMap<MapKind, usize>,
}

impl MemorySink {
    /// Nothing but the operator's choices, with room for so many addresses that have
    /// reverse names.
    pub fn new(mut config: Config, addresses: u32) -> Self {
        config.reverse_buckets = super::buckets(addresses);
        Self {
            reverse: vec![ReverseBucket::default(); config.reverse_buckets as usize],
            config: Some(config),
            ..Self::default()
        }
    }

    fn room(&self, map: MapKind, used: usize) -> Result<(), SinkError> {
        match self.capacity.get(&map) {
            Some(&capacity) if used >= capacity => Err(SinkError::Full { map }),
            _ => Ok(()),
        }
    }
}

impl RecordSink for MemorySink {
    fn put_name(
        &mut self,
        name: &MapName,
        record: NameRecord,
    ) -> Result<Option<MapKind>, SinkError> {
        let kind = MapKind::of_class(name.class());
        if !self.names.contains_key(name) {
            let class = name.class();
            let used = self.names.keys().filter(|n| n.class() == class).count();
            self.room(kind, used)?;
        }
        let is_new = self.names.insert(*name, record).is_none();
        Ok(is_new.then_some(kind))
    }

    fn delete_name(&mut self, name: &MapName) -> Result<Option<MapKind>, SinkError> {
        let existed = self.names.remove(name).is_some();
        Ok(existed.then_some(MapKind::of_class(name.class())))
    }

    fn table_len(&self) -> u64 {
        0
    }

    fn name(&self, name: &MapName) -> Result<Option<NameRecord>, SinkError> {
        Ok(self.names.get(name).copied())
    }

    fn for_each_name(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapName, NameRecord),
    ) -> Result<(), SinkError> {
        self.names
            .iter()
            .filter(|(name, _)| name.class() == class)
            .for_each(|(name, record)| visit(*name, *record));
        Ok(())
    }

    fn put_chunk(&mut self, key: ChunkKey, chunk: Chunk) -> Result<bool, SinkError> {
        if !self.chunks.contains_key(&key) {
            self.room(MapKind::Chunks, self.chunks.len())?;
        }
        Ok(self.chunks.insert(key, chunk).is_none())
    }

    fn delete_chunk(&mut self, key: ChunkKey) -> Result<bool, SinkError> {
        Ok(self.chunks.remove(&key).is_some())
    }

    fn chunk(&self, key: ChunkKey) -> Result<Option<Chunk>, SinkError> {
        Ok(self.chunks.get(&key).copied())
    }

    fn chunk_keys(&self) -> Result<Vec<ChunkKey>, SinkError> {
        Ok(self.chunks.keys().copied().collect())
    }

    fn put_server(&mut self, address: ServerAddress, index: u32) -> Result<bool, SinkError> {
        if !self.servers.contains_key(&address) {
            self.room(MapKind::Servers, self.servers.len())?;
        }
        Ok(self.servers.insert(address, index).is_none())
    }

    fn delete_server(&mut self, address: ServerAddress) -> Result<bool, SinkError> {
        Ok(self.servers.remove(&address).is_some())
    }

    fn servers(&self) -> Result<Vec<(ServerAddress, u32)>, SinkError> {
        Ok(self.servers.iter().map(|(a, i)| (*a, *i)).collect())
    }

    fn reverse_buckets(&self) -> u32 {
        self.reverse.len() as u32
    }

    fn reverse_bucket(&self, index: u32) -> Result<ReverseBucket, SinkError> {
        Ok(self
            .reverse
            .get(index as usize)
            .copied()
            .unwrap_or_default())
    }

    fn put_reverse_bucket(&mut self, index: u32, bucket: ReverseBucket) -> Result<(), SinkError> {
        if let Some(found) = self.reverse.get_mut(index as usize) {
            *found = bucket;
        }
        Ok(())
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.state = state;
        Ok(())
    }
}

/// What the programs would find, were these the kernel's maps.
impl Lookup for MemorySink {
    fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    fn state(&self) -> Option<State> {
        Some(self.state)
    }

    fn serves(&self, address: &ServerAddress) -> bool {
        self.servers.contains_key(address)
    }

    fn name(&self, class: KeyClass, key: &KeyBytes, _seal: Seal) -> Option<RecordWords> {
        let name = MapName::from_key_bytes(class, key);
        self.names.get(&name).map(|record| bytemuck::cast(*record))
    }

    fn chunk(&self, key: ChunkKey, words: &mut AddressBytes) -> Option<u64> {
        let chunk = self.chunks.get(&key)?;
        for (i, word) in chunk.words.iter().enumerate() {
            words.put_u64(i * 8, *word);
        }
        Some(chunk.seal)
    }

    fn reverse(&self, bucket: u32, slots: &mut AddressBytes) -> bool {
        let Some(bucket) = self.reverse.get(bucket as usize) else {
            return false;
        };
        for (i, slot) in bucket.iter().enumerate() {
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
