//! Reads and writes of the hash maps of names.

use aya::maps::{HashMap, MapData, MapError};
use headless_ebpf::abi::{KeyClass, NameRecord};

use super::open::{errno, failed};
use crate::maps::encode::MapKey;
use crate::maps::store::{MapKind, SinkError};

/// A record as the words that aya copies.
pub(super) type RecordWords = [u64; NameRecord::WORDS];

/// A hash map with keys of `N` words.
pub(super) type Names<const N: usize> = HashMap<MapData, [u64; N], RecordWords>;

/// Flags of `bpf_map_update_elem` (include/uapi/linux/bpf.h).
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// Reads the record of a key.
pub(super) fn get<const N: usize>(
    map: &Names<N>,
    key: &MapKey,
) -> Result<Option<RecordWords>, SinkError> {
    match map.get(&key.first_words(), 0) {
        Ok(value) => Ok(Some(value)),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
        Err(error) => {
            let map = MapKind::of_class(key.class()).name();
            Err(failed(map, "read", error))
        }
    }
}

/// Writes the record of a key. Returns whether the key is new.
pub(super) fn put<const N: usize>(
    map: &mut Names<N>,
    key: &MapKey,
    value: RecordWords,
) -> Result<bool, SinkError> {
    let kind = MapKind::of_class(key.class());
    let words = key.first_words();
    let explain = |error: MapError| match errno(&error) {
        Some(libc::E2BIG) => SinkError::Full { map: kind },
        _ => failed(kind.name(), "write", error),
    };
    match map.insert(words, value, BPF_NOEXIST) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(libc::EEXIST) => {
            map.insert(words, value, BPF_ANY).map_err(explain)?;
            Ok(false)
        }
        Err(error) => Err(explain(error)),
    }
}

/// Deletes the record of a key. Returns whether the record was there.
pub(super) fn delete<const N: usize>(map: &mut Names<N>, key: &MapKey) -> Result<bool, SinkError> {
    match map.remove(&key.first_words()) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
        Err(error) => {
            let map = MapKind::of_class(key.class()).name();
            Err(failed(map, "delete from", error))
        }
    }
}

/// Visits all records of the hash map of a class.
pub(super) fn for_each<const N: usize>(
    class: KeyClass,
    map: &Names<N>,
    visit: &mut dyn FnMut(MapKey, NameRecord),
) -> Result<(), SinkError> {
    for entry in map {
        let (key, record) =
            entry.map_err(|error| failed(MapKind::of_class(class).name(), "read", error))?;
        visit(MapKey::from_words(class, &key), bytemuck::cast(record));
    }
    Ok(())
}
