//! The BPF maps: writing them as a [`RecordSink`], reading them for `dump`,
//! metrics and `status`.

mod values;

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::{fmt, io};

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use headless_ebpf::abi::{
    COUNTERS, Config, Counter, InterfaceRecord, KEY_WORDS_MAX, KeyClass, NameRecord, Path,
    ServedSlot, State, map,
};

use self::values::Values;
use super::arrays::Arrays;
use super::capacities::Capacities;
use super::key::MapKey;
use super::kind::{MapKind, SinkError};
use super::sink::RecordSink;
use super::words::Words;

const SHORT: usize = KeyClass::Short.words();
const MEDIUM: usize = KeyClass::Medium.words();

/// Values as the words that aya copies.
type RecordWords = [u64; NameRecord::WORDS];
type ConfigWords = [u64; size_of::<Config>() / 8];
type ServedWords = [u64; size_of::<ServedSlot>() / 8];
type StateWords = [u64; size_of::<State>() / 8];

/// Flags of `bpf_map_update_elem` (include/uapi/linux/bpf.h).
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// All maps but the counters.
pub struct KernelSink {
    arrays: Arc<Arrays>,
    short: HashMap<MapData, [u64; SHORT], RecordWords>,
    medium: HashMap<MapData, [u64; MEDIUM], RecordWords>,
    long: HashMap<MapData, [u64; KEY_WORDS_MAX], RecordWords>,
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
    /// Opens the maps of a loaded object, through handles of their own: the
    /// object keeps its.
    pub fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let entries = |name| entries(ebpf, name);
        let sizes = Capacities {
            table_slots: entries(map::TABLE_SLOTS)?,
            chunks: entries(map::CHUNKS)?,
            endpoint_buckets: entries(map::ENDPOINTS)?,
            // One bucket stands for none, since a map has at least one entry.
            reverse_buckets: match entries(map::REVERSE)? {
                1 => 0,
                buckets => buckets,
            },
            ..Capacities::default()
        };
        let arrays = Arrays::new(&sizes, |name, words| {
            let map = Words::map(descriptor(ebpf, name)?, words);
            map.with_context(|| format!("cannot map {name} into memory"))
        })?;
        Self::with_arrays(ebpf, Arc::new(arrays))
    }

    /// The same maps once more, for reading. The arrays are shared: they count as memory
    /// of the process as often as they are mapped.
    pub fn again(&self, ebpf: &Ebpf) -> anyhow::Result<Self> {
        Self::with_arrays(ebpf, Arc::clone(&self.arrays))
    }

    fn with_arrays(ebpf: &Ebpf, arrays: Arc<Arrays>) -> anyhow::Result<Self> {
        Ok(Self {
            arrays,
            short: open(ebpf, map::NAMES_SHORT, Map::HashMap)?,
            medium: open(ebpf, map::NAMES_MEDIUM, Map::HashMap)?,
            long: open(ebpf, map::NAMES_LONG, Map::HashMap)?,
            served: Values::open(ebpf, map::SERVED)?,
            config: Values::open(ebpf, map::CONFIG)?,
            state: Values::open(ebpf, map::STATE)?,
        })
    }
}

/// The descriptor of a map of the object.
fn descriptor<'a>(ebpf: &'a Ebpf, name: &str) -> anyhow::Result<BorrowedFd<'a>> {
    let map = ebpf
        .map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    match map {
        Map::HashMap(data) | Map::Array(data) | Map::PerCpuArray(data) => Ok(data.fd().as_fd()),
        _ => anyhow::bail!("map {name} of the BPF object has an unexpected type"),
    }
}

/// How many entries a map of the object has.
fn entries(ebpf: &Ebpf, name: &str) -> anyhow::Result<u32> {
    let map = duplicate(ebpf, name)?;
    let info = map
        .info()
        .with_context(|| format!("cannot ask for map {name}"))?;
    Ok(info.max_entries())
}

/// A map of the object under a handle of its own: a copy of the descriptor, since
/// opening a map by its id takes `CAP_SYS_ADMIN`.
fn duplicate(ebpf: &Ebpf, name: &str) -> anyhow::Result<MapData> {
    descriptor(ebpf, name)?
        .try_clone_to_owned()
        .map_err(anyhow::Error::from)
        .and_then(|fd| Ok(MapData::from_fd(fd)?))
        .with_context(|| format!("cannot open map {name}"))
}

/// A map of the object under a handle of its own, with the key and value sizes
/// of `T`.
fn open<T>(ebpf: &Ebpf, name: &str, kind: fn(MapData) -> Map) -> anyhow::Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let data = duplicate(ebpf, name)?;
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
    visit: &mut dyn FnMut(MapKey, NameRecord),
) -> Result<(), SinkError> {
    for entry in map {
        let (key, record) =
            entry.map_err(|error| failed(MapKind::of_class(class).name(), "read", error))?;
        visit(MapKey::from_words(class, &key), bytemuck::cast(record));
    }
    Ok(())
}

impl RecordSink for KernelSink {
    fn arrays(&self) -> &Arrays {
        &self.arrays
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
        let kind = MapKind::of_class(key.class());
        let record = match key.class() {
            KeyClass::Short => get(kind, &self.short, &key.first_words()),
            KeyClass::Medium => get(kind, &self.medium, &key.first_words()),
            KeyClass::Long => get(kind, &self.long, &key.first_words()),
        };
        Ok(record?.map(bytemuck::cast))
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        let value: RecordWords = bytemuck::cast(record);
        let kind = MapKind::of_class(key.class());
        match key.class() {
            KeyClass::Short => put(kind, &mut self.short, &key.first_words(), value),
            KeyClass::Medium => put(kind, &mut self.medium, &key.first_words(), value),
            KeyClass::Long => put(kind, &mut self.long, &key.first_words(), value),
        }
    }

    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError> {
        let kind = MapKind::of_class(key.class());
        match key.class() {
            KeyClass::Short => delete(kind, &mut self.short, &key.first_words()),
            KeyClass::Medium => delete(kind, &mut self.medium, &key.first_words()),
            KeyClass::Long => delete(kind, &mut self.long, &key.first_words()),
        }
    }

    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError> {
        match class {
            KeyClass::Short => for_each(class, &self.short, visit),
            KeyClass::Medium => for_each(class, &self.medium, visit),
            KeyClass::Long => for_each(class, &self.long, visit),
        }
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
    pub fn put(&mut self, ifindex: u32, interface: InterfaceRecord) -> Result<(), SinkError> {
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
