//! Debian's clients. The packages are extracted and not installed: some of them start a server,
//! or change the machine's own resolver, when they are installed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::folder::folder;
use crate::{apt, cache};

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

/// The folder with Debian's clients, as they would be in `/`.
pub(super) fn clients() -> Result<PathBuf> {
    let release = fs::read("/etc/os-release").context("cannot read /etc/os-release")?;
    let names = PACKAGES.join(" ");
    let key = cache::digest([names.as_bytes(), &release]);
    folder("debian", &key, |folder| apt::extract(&PACKAGES, folder))
}
