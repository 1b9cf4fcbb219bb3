//! Handles of a loaded object's maps, and the errors of system calls on maps.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};

use crate::maps::store::SinkError;

/// The file descriptor of a map of the object.
pub(super) fn descriptor<'a>(ebpf: &'a Ebpf, name: &str) -> anyhow::Result<BorrowedFd<'a>> {
    let map = ebpf
        .map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    match map {
        Map::HashMap(data) | Map::Array(data) | Map::PerCpuArray(data) => Ok(data.fd().as_fd()),
        _ => anyhow::bail!("map {name} of the BPF object has an unexpected type"),
    }
}

/// Asks the kernel for the capacity of a map of the object.
pub(super) fn capacity(ebpf: &Ebpf, name: &str) -> anyhow::Result<u32> {
    let map = duplicate(ebpf, name)?;
    let info = map
        .info()
        .with_context(|| format!("cannot read the capacity of map {name}"))?;
    Ok(info.max_entries())
}

/// Opens a map of the object under a handle of its own. The handle is a copy of the file
/// descriptor, because opening a map by its id needs `CAP_SYS_ADMIN`.
fn duplicate(ebpf: &Ebpf, name: &str) -> anyhow::Result<MapData> {
    descriptor(ebpf, name)?
        .try_clone_to_owned()
        .map_err(anyhow::Error::from)
        .and_then(|fd| Ok(MapData::from_fd(fd)?))
        .with_context(|| format!("cannot open map {name}"))
}

/// Opens a map of the object under a handle of its own, as a map of type `T`. aya checks the
/// sizes of key and value.
pub(super) fn open<T>(ebpf: &Ebpf, name: &str, kind: fn(MapData) -> Map) -> anyhow::Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let data = duplicate(ebpf, name)?;
    T::try_from(kind(data))
        .with_context(|| format!("map {name} of the BPF object has an unexpected layout"))
}

/// The error of an operation that the kernel refused.
pub(super) fn failed(map: &'static str, operation: &'static str, error: MapError) -> SinkError {
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

/// The error number of an operation that the kernel refused.
pub(super) fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        MapError::KeyNotFound | MapError::ElementNotFound => Some(libc::ENOENT),
        _ => None,
    }
}
