//! The folder of a group of clients, which is filled once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{cache, exec};

/// A variable of the suite's environment, with the path that it gives.
pub(crate) type Variable = (String, PathBuf);

/// The folder of a group of clients. `make` fills it, unless an earlier run did so. The key names
/// everything that the clients depend on.
pub(super) fn folder(
    name: &str,
    key: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let clients = exec::target().join("clients");
    let folder = clients.join(format!("{name}-{key}"));
    let whole = folder.join("whole");
    let _lock = cache::lock(&clients, name)?;
    if !whole.is_file() {
        exec::progress("clients", &format!("installing {name} (once)"));
        cache::remove(&folder)?;
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        make(&folder).with_context(|| format!("cannot install the clients `{name}`"))?;
        fs::write(&whole, "").with_context(|| format!("cannot write {}", whole.display()))?;
    }
    Ok(folder)
}
