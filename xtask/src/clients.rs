//! DNS clients that the suite `clients` runs in pods.
//!
//! Debian's packages are extracted below `target` and not installed: some of them start a
//! server, or change the machine's own resolver, when they are installed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{apt, cache, exec};

/// Debian's packages of clients: tools, caches, and proxies.
const PACKAGES: [&str; 10] = [
    "bind9",
    "bind9-dnsutils",
    "bind9-host",
    "dnsmasq-base",
    "haproxy",
    "knot-dnsutils",
    "ldnsutils",
    "nginx",
    "systemd-resolved",
    "unbound",
];

/// The suite's environment: a variable for each group of clients that this machine has. The suite
/// names the clients that it skips.
///
/// # Errors
/// When packages cannot be downloaded or extracted.
pub(crate) fn environment() -> Result<Vec<(String, PathBuf)>> {
    if !apt::is_usable() {
        exec::progress(
            "clients",
            "Debian's are left out: they need apt-get and root",
        );
        return Ok(Vec::new());
    }
    Ok(vec![("HEADLESS_CLIENTS_DEBIAN".to_owned(), debian()?)])
}

/// The folder with Debian's clients, as they would be in `/`.
fn debian() -> Result<PathBuf> {
    let release = fs::read("/etc/os-release").context("cannot read /etc/os-release")?;
    let names = PACKAGES.join(" ");
    let key = cache::digest([names.as_bytes(), &release]);
    let clients = exec::target().join("clients");
    let folder = clients.join(format!("debian-{key}"));
    let _lock = cache::lock(&clients, "debian")?;
    if !folder.is_dir() {
        let staging = clients.join(".debian");
        cache::remove(&staging)?;
        apt::extract(&PACKAGES, &staging).context("cannot extract Debian's clients")?;
        fs::rename(&staging, &folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Ok(folder)
}
