//! The BPF maps: writing them as a [`RecordSink`], reading them for `dump`,
//! metrics and `status`.

mod values;

use std::os::fd::AsFd as _;
use std::{fmt, io};

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use headless_ebpf::abi::{
    COUNTERS, Chunk, ChunkKey, Config, Counter, Interface, KEY_WORDS_MAX, KeyClass, NameRecord,
    Path, REVERSE_SLOTS, ReverseBucket, SERVER_PROBES, SERVER_SLOTS, ServerAddress, ServerSlot,
    State, TABLE_HINTS, TableBucket, TableSlot, map,
};

use self::values::Values;
use super::table::{Arrays, Stored, Table};
use super::{MapKind, MapName, RecordSink, SinkError};

const SHORT: usize = KeyClass::Short.words();
const MEDIUM: usize = KeyClass::Medium.words();

/// A record and a chunk as the words that aya copies.
type RecordWords = [u64; NameRecord::WORDS];
type ChunkWords = [u64; size_of::<Chunk>() / 8];
type ConfigWords = [u64; size_of::<Config>() / 8];
type SlotWords = [u32; size_of::<ServerSlot>() / 4];
type BucketWords = [u64; REVERSE_SLOTS];
type TableWords = [u64; size_of::<TableSlot>() / 8];
type StateWords = [u64; size_of::<State>() / 8];

/// Flags of `bpf_map_update_elem` (include/uapi/linux/bpf.h).
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// All maps but the counters.
pub struct KernelSink {
    table: Table<KernelArrays>,
    /// Whether there are names in `short`.
    spilled: bool,
    short: HashMap<MapData, [u64; SHORT], RecordWords>,
    medium: HashMap<MapData, [u64; MEDIUM], RecordWords>,
    long: HashMap<MapData, [u64; KEY_WORDS_MAX], RecordWords>,
    chunks: HashMap<MapData, u64, ChunkWords>,
    servers: Values<ServerSlot, SlotWords>,
    reverse: Values<ReverseBucket, BucketWords>,
    config: Values<Config, ConfigWords>,
    state: Values<State, StateWords>,
}

impl fmt::Debug for KernelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSink").finish_non_exhaustive()
    }
}

impl KernelSink {
    /// Opens the maps of a loaded object, through handles of their own: the
    /// object keeps its.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let config: Values<Config, ConfigWords> = Values::open(ebpf, map::CONFIG)?;
        let written = config.get(0)?;
        let arrays = KernelArrays {
            buckets: Values::open(ebpf, map::TABLE_BUCKETS)?,
            slots: Values::open(ebpf, map::TABLE_SLOTS)?,
        };
        Ok(Self {
            table: Table::open(arrays, written.seal_seed)?,
            spilled: written.spilled != 0,
            short: open(ebpf, map::NAMES_SHORT, Map::HashMap)?,
            medium: open(ebpf, map::NAMES_MEDIUM, Map::HashMap)?,
            long: open(ebpf, map::NAMES_LONG, Map::HashMap)?,
            chunks: open(ebpf, map::CHUNKS, Map::HashMap)?,
            servers: Values::open(ebpf, map::SERVERS)?,
            reverse: Values::open(ebpf, map::REVERSE)?,
            config,
            state: Values::open(ebpf, map::STATE)?,
        })
    }

    /// Writes the operator's choices, and how large the tables are.
    pub fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        let mut config = *config;
        config.reverse_buckets = self.reverse_buckets();
        (config.table_buckets, _) = self.table.arrays.sizes();
        config.spilled = self.spilled.into();
        self.table.seed = config.seal_seed;
        self.config.set(0, config)
    }
}

impl KernelSink {
    /// Says that there are names in the map of short ones.
    fn spill(&mut self) -> Result<(), SinkError> {
        if self.spilled {
            return Ok(());
        }
        let config = self.config.get(0)?;
        self.spilled = true;
        let written = self.put_config(&config);
        written.inspect_err(|_| self.spilled = false)
    }

    /// Stores a short name where it is, in the table, or where that has no room, in
    /// the map.
    fn put_short(
        &mut self,
        name: &MapName,
        record: NameRecord,
    ) -> Result<Option<MapKind>, SinkError> {
        let (kind, key) = (MapKind::NamesShort, words(name));
        let is_in_map = self.spilled && get(kind, &self.short, &key)?.is_some();
        if !is_in_map {
            match self.table.put(name, record)? {
                Stored::New => return Ok(Some(MapKind::Table)),
                Stored::Replaced => return Ok(None),
                Stored::NoRoom => self.spill()?,
            }
        }
        let record: RecordWords = bytemuck::cast(record);
        let is_new = put(kind, &mut self.short, &key, record)?;
        Ok(is_new.then_some(kind))
    }

    /// The slots in which `address` can be, with their numbers.
    fn server_slots(&self, address: ServerAddress) -> Result<Vec<(usize, ServerSlot)>, SinkError> {
        (0..SERVER_PROBES)
            .map(|probe| address.probe(probe))
            .map(|at| Ok((at, self.servers.get(at as u32)?)))
            .collect()
    }
}

/// A map of the object under a handle of its own, with the key and value sizes
/// of `T`.
fn open<T>(ebpf: &Ebpf, name: &str, kind: fn(MapData) -> Map) -> anyhow::Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf
        .map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    let fd = match map {
        Map::HashMap(data) | Map::Array(data) | Map::PerCpuArray(data) => data.fd().as_fd(),
        _ => anyhow::bail!("map {name} of the BPF object has an unexpected type"),
    };
    // A copy of the descriptor: opening a map by its id takes CAP_SYS_ADMIN.
    let data = fd
        .try_clone_to_owned()
        .map_err(anyhow::Error::from)
        .and_then(|fd| Ok(MapData::from_fd(fd)?))
        .with_context(|| format!("cannot open map {name}"))?;
    T::try_from(kind(data)).with_context(|| format!("map {name} has another layout"))
}

/// What the kernel said about an operation.
fn failed(map: &'static str, operation: &'static str, error: MapError) -> SinkError {
    let source = match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    };
    SinkError::Failed {
        map,
        operation,
        source,
    }
}

/// The error number of a failed operation.
fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        MapError::KeyNotFound | MapError::ElementNotFound => Some(libc::ENOENT),
        _ => None,
    }
}

/// Stores a value, whether the key is new or not, and says which.
fn put<K: aya::Pod, V: aya::Pod>(
    kind: MapKind,
    map: &mut HashMap<MapData, K, V>,
    key: &K,
    value: V,
) -> Result<bool, SinkError> {
    let explain = |error: MapError| match errno(&error) {
        Some(libc::E2BIG) => SinkError::Full { map: kind },
        _ => failed(kind.name(), "write", error),
    };
    match map.insert(key, value, BPF_NOEXIST) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(libc::EEXIST) => {
            map.insert(key, value, BPF_ANY).map_err(explain)?;
            Ok(false)
        }
        Err(error) => Err(explain(error)),
    }
}

/// Removes a key and says whether it was there.
fn delete<K: aya::Pod, V: aya::Pod>(
    kind: MapKind,
    map: &mut HashMap<MapData, K, V>,
    key: &K,
) -> Result<bool, SinkError> {
    match map.remove(key) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(failed(kind.name(), "delete from", error)),
    }
}

fn get<K: aya::Pod, V: aya::Pod>(
    kind: MapKind,
    map: &HashMap<MapData, K, V>,
    key: &K,
) -> Result<Option<V>, SinkError> {
    match map.get(key, 0) {
        Ok(value) => Ok(Some(value)),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(failed(kind.name(), "read", error)),
    }
}

fn for_each<const N: usize>(
    class: KeyClass,
    map: &HashMap<MapData, [u64; N], RecordWords>,
    visit: &mut dyn FnMut(MapName, NameRecord),
) -> Result<(), SinkError> {
    for entry in map {
        let (key, record) =
            entry.map_err(|error| failed(MapKind::of_class(class).name(), "read", error))?;
        visit(MapName::from_words(class, &key), bytemuck::cast(record));
    }
    Ok(())
}

/// The first `N` words of a key; a class has at most as many as the longest.
fn words<const N: usize>(name: &MapName) -> [u64; N] {
    let mut words = [0; N];
    words
        .iter_mut()
        .zip(name.key().words)
        .for_each(|(to, from)| *to = from);
    words
}

impl RecordSink for KernelSink {
    fn put_name(
        &mut self,
        name: &MapName,
        record: NameRecord,
    ) -> Result<Option<MapKind>, SinkError> {
        let value: RecordWords = bytemuck::cast(record);
        let kind = MapKind::of_class(name.class());
        let is_new = match name.class() {
            KeyClass::Short => return self.put_short(name, record),
            KeyClass::Medium => put(kind, &mut self.medium, &words(name), value),
            KeyClass::Long => put(kind, &mut self.long, &words(name), value),
        };
        Ok(is_new?.then_some(kind))
    }

    fn delete_name(&mut self, name: &MapName) -> Result<Option<MapKind>, SinkError> {
        let kind = MapKind::of_class(name.class());
        let existed = match name.class() {
            KeyClass::Short if self.table.delete(name)? => return Ok(Some(MapKind::Table)),
            KeyClass::Short if !self.spilled => return Ok(None),
            KeyClass::Short => delete(kind, &mut self.short, &words(name)),
            KeyClass::Medium => delete(kind, &mut self.medium, &words(name)),
            KeyClass::Long => delete(kind, &mut self.long, &words(name)),
        };
        Ok(existed?.then_some(kind))
    }

    fn table_len(&self) -> u64 {
        self.table.used()
    }

    fn name(&self, name: &MapName) -> Result<Option<NameRecord>, SinkError> {
        let kind = MapKind::of_class(name.class());
        let record = match name.class() {
            KeyClass::Short => {
                if let Some(record) = self.table.get(name)? {
                    return Ok(Some(record));
                }
                // Another handle may have written there.
                get(kind, &self.short, &words(name))
            }
            KeyClass::Medium => get(kind, &self.medium, &words(name)),
            KeyClass::Long => get(kind, &self.long, &words(name)),
        };
        Ok(record?.map(bytemuck::cast))
    }

    fn for_each_name(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapName, NameRecord),
    ) -> Result<(), SinkError> {
        match class {
            KeyClass::Short => {
                self.table.for_each(visit)?;
                for_each(class, &self.short, visit)
            }
            KeyClass::Medium => for_each(class, &self.medium, visit),
            KeyClass::Long => for_each(class, &self.long, visit),
        }
    }

    fn put_chunk(&mut self, key: ChunkKey, chunk: Chunk) -> Result<bool, SinkError> {
        let (key, chunk): (u64, ChunkWords) = (bytemuck::cast(key), bytemuck::cast(chunk));
        put(MapKind::Chunks, &mut self.chunks, &key, chunk)
    }

    fn delete_chunk(&mut self, key: ChunkKey) -> Result<bool, SinkError> {
        let key: u64 = bytemuck::cast(key);
        delete(MapKind::Chunks, &mut self.chunks, &key)
    }

    fn chunk(&self, key: ChunkKey) -> Result<Option<Chunk>, SinkError> {
        let key: u64 = bytemuck::cast(key);
        Ok(get(MapKind::Chunks, &self.chunks, &key)?.map(bytemuck::cast))
    }

    fn chunk_keys(&self) -> Result<Vec<ChunkKey>, SinkError> {
        self.chunks
            .keys()
            .map(|key| key.map(bytemuck::cast))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(map::CHUNKS, "read", error))
    }

    fn put_server(&mut self, address: ServerAddress, index: u32) -> Result<bool, SinkError> {
        let slots = self.server_slots(address)?;
        let own = slots
            .iter()
            .find(|(_, slot)| slot.number != 0 && slot.address == address);
        let (at, _) = own
            .or_else(|| slots.iter().find(|(_, slot)| slot.number == 0))
            .ok_or(SinkError::Full {
                map: MapKind::Servers,
            })?;
        let slot = ServerSlot {
            address,
            number: index + 1,
        };
        self.servers.set(*at as u32, slot)?;
        Ok(own.is_none())
    }

    fn delete_server(&mut self, address: ServerAddress) -> Result<bool, SinkError> {
        let slots = self.server_slots(address)?;
        let own = slots
            .iter()
            .find(|(_, slot)| slot.number != 0 && slot.address == address);
        if let Some((at, _)) = own {
            self.servers.set(*at as u32, ServerSlot::default())?;
        }
        Ok(own.is_some())
    }

    fn servers(&self) -> Result<Vec<(ServerAddress, u32)>, SinkError> {
        let mut servers = Vec::new();
        for at in 0..SERVER_SLOTS {
            let slot = self.servers.get(at as u32)?;
            if let Some(index) = slot.number.checked_sub(1) {
                servers.push((slot.address, index));
            }
        }
        Ok(servers)
    }

    fn reverse_buckets(&self) -> u32 {
        self.reverse.len()
    }

    fn reverse_bucket(&self, index: u32) -> Result<ReverseBucket, SinkError> {
        self.reverse.get(index)
    }

    fn put_reverse_bucket(&mut self, index: u32, bucket: ReverseBucket) -> Result<(), SinkError> {
        self.reverse.set(index, bucket)
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.state.set(0, state)
    }
}

/// The arrays of the table of short names.
struct KernelArrays {
    buckets: Values<TableBucket, [u64; TABLE_HINTS]>,
    slots: Values<TableSlot, TableWords>,
}

impl Arrays for KernelArrays {
    fn sizes(&self) -> (u32, u32) {
        (self.buckets.len(), self.slots.len())
    }

    fn bucket(&self, index: u32) -> Result<TableBucket, SinkError> {
        self.buckets.get(index)
    }

    fn put_bucket(&mut self, index: u32, bucket: TableBucket) -> Result<(), SinkError> {
        self.buckets.set(index, bucket)
    }

    fn slot(&self, index: u32) -> Result<TableSlot, SinkError> {
        self.slots.get(index)
    }

    fn put_slot(&mut self, index: u32, slot: TableSlot) -> Result<(), SinkError> {
        self.slots.set(index, slot)
    }
}

/// What the tc program knows of interfaces.
pub struct KernelInterfaces(HashMap<MapData, u32, u64>);

impl fmt::Debug for KernelInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelInterfaces").finish_non_exhaustive()
    }
}

impl KernelInterfaces {
    /// Opens the map of a loaded object.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        open(ebpf, map::INTERFACES, Map::HashMap).map(Self)
    }

    /// Writes what is known of the interface of this index.
    pub fn put(&mut self, ifindex: u32, interface: Interface) -> Result<(), SinkError> {
        self.0
            .insert(ifindex, bytemuck::cast::<_, u64>(interface), BPF_ANY)
            .map_err(|error| failed(map::INTERFACES, "write", error))
    }

    /// Removes it.
    pub fn delete(&mut self, ifindex: u32) -> Result<(), SinkError> {
        match self.0.remove(&ifindex) {
            Err(error) if errno(&error) != Some(libc::ENOENT) => {
                Err(failed(map::INTERFACES, "delete from", error))
            }
            _ => Ok(()),
        }
    }
}

/// The counters of the programs.
pub struct KernelCounters(PerCpuArray<MapData, u64>);

impl fmt::Debug for KernelCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelCounters").finish_non_exhaustive()
    }
}

impl KernelCounters {
    /// Opens the map of a loaded object.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        open(ebpf, map::COUNTERS, Map::PerCpuArray).map(Self)
    }

    /// How many queries the programs have answered.
    pub fn answers(&self) -> Result<u64, SinkError> {
        let answers = Path::ALL.into_iter().flat_map(Counter::answers);
        answers.map(|index| self.sum(index)).sum()
    }

    /// Every counter, summed over the CPUs, by index.
    pub fn read(&self) -> Result<Vec<u64>, SinkError> {
        (0..COUNTERS).map(|index| self.sum(index)).collect()
    }

    /// One of them, summed over the CPUs.
    fn sum(&self, index: u32) -> Result<u64, SinkError> {
        let values = self.0.get(&index, 0);
        let values = values.map_err(|error| failed(map::COUNTERS, "read", error))?;
        Ok(values.iter().sum())
    }
}
