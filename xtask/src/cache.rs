//! Two caches for tools that take minutes to build: `target/tools`, and a folder that all
//! checkouts share, so that a second clone does not build them again. A tool's path in both
//! is `NAME-KEY/bin/NAME`. The key names everything that the tool depends on, so an entry
//! never goes stale. Entries may be deleted at any time.

use crate::exec;
use anyhow::{Context as _, Result};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A tool of one exact version for this machine's architecture.
#[derive(Debug)]
pub(crate) struct Entry {
    name: String,
    folder: String,
}

impl Entry {
    /// `key` must differ for builds that differ. The architecture is added to it.
    pub(crate) fn new(name: &str, key: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: format!("{name}-{key}-{}", env::consts::ARCH),
        }
    }

    /// The tool's path. If neither cache has a tool that `usable` accepts, `build` is
    /// called with a folder and has to put the tool into the folder's `bin`. When several
    /// processes ask at once, one builds and the others wait.
    pub(crate) fn get(
        &self,
        usable: impl Fn(&Path) -> bool,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let local = exec::target().join("tools");
        if let Some(tool) = self.find(&local, &usable) {
            return Ok(tool);
        }
        let lock = lock(&local, &self.folder)?;
        if let Some(tool) = self.find(&local, &usable) {
            return Ok(tool);
        }
        let staging = local.join(format!(".{}", self.folder));
        remove(&staging)?;
        fs::create_dir_all(staging.join("bin"))
            .with_context(|| format!("cannot create {}", staging.display()))?;
        build(&staging)?;
        let folder = local.join(&self.folder);
        remove(&folder)?;
        fs::rename(&staging, &folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let tool = self.tool(&local);
        if let Some(shared) = shared() {
            // The shared copy only saves time, so its failure is no error.
            if let Err(error) = self.share(&tool, &shared) {
                exec::progress("cache", &format!("not shared: {error:#}"));
            }
        }
        drop(lock);
        Ok(tool)
    }

    fn find(&self, local: &Path, usable: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        [Some(local.to_owned()), shared()]
            .into_iter()
            .flatten()
            .map(|cache| self.tool(&cache))
            .find(|tool| tool.is_file() && usable(tool))
    }

    fn tool(&self, cache: &Path) -> PathBuf {
        cache.join(&self.folder).join("bin").join(&self.name)
    }

    fn share(&self, tool: &Path, cache: &Path) -> Result<()> {
        let destination = self.tool(cache);
        let folder = destination.parent().unwrap_or(cache);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let partial = folder.join(format!(".{}.{}", self.name, std::process::id()));
        fs::copy(tool, &partial)
            .and_then(|_| fs::rename(&partial, &destination))
            .with_context(|| format!("cannot write {}", destination.display()))
    }
}

/// The shared folder: `HEADLESS_CACHE_DIR`, or else `headless` in the user's cache folder.
/// `None` when neither is known, or when the variable is empty, which turns sharing off.
fn shared() -> Option<PathBuf> {
    if let Some(folder) = env::var_os("HEADLESS_CACHE_DIR") {
        return (!folder.is_empty()).then(|| PathBuf::from(folder));
    }
    env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
        .map(|folder| folder.join("headless"))
}

/// Locks `name` until the returned file is dropped.
pub(crate) fn lock(local: &Path, name: &str) -> Result<File> {
    fs::create_dir_all(local).with_context(|| format!("cannot create {}", local.display()))?;
    let path = local.join(format!(".{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        exec::progress("cache", &format!("waiting for another build of {name}"));
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// Deletes a folder, if it exists.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A short digest (64-bit FNV-1a) of the files that a build depends on.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hash = parts
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn digest_is_fnv_1a() {
        // Test vectors of draft-eastlake-fnv, appendix C.
        assert_eq!(digest([]), "cbf29ce484222325");
        assert_eq!(digest([&b"a"[..]]), "af63dc4c8601ec8c");
        assert_eq!(digest([&b"foo"[..], b"bar"]), "85944171f73967e8");
    }
}
