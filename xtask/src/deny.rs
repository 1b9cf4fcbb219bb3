//! cargo-deny: the licences, sources, bans and advisories of all dependencies.

use crate::cache::Entry;
use crate::{exec, pins};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Runs checks of `cargo deny check`, as deny.toml has them.
///
/// # Errors
/// Where cargo-deny cannot be installed, or a check fails.
pub(crate) fn check(checks: &[&str]) -> Result<()> {
    let mut command = exec::isolated(tool()?);
    // Warnings are about crates in two versions. They are so many that errors would be missed.
    command.args(["--log-level", "error", "check"]).args(checks);
    exec::run(&mut command)
}

/// The pinned cargo-deny from the caches, else built.
fn tool() -> Result<PathBuf> {
    let krate = pins::CARGO_DENY;
    let runs = |tool: &Path| exec::output(Command::new(tool).arg("--version")).is_ok();
    Entry::new(krate.name, &krate.key()).get(runs, |folder| {
        let what = format!("{} {}", krate.name, krate.version);
        exec::progress("deny", &format!("building {what} (once; minutes)"));
        let start = Instant::now();
        krate.install(folder, |command| {
            command.arg("--no-default-features");
        })?;
        let elapsed = exec::elapsed(start.elapsed());
        exec::progress("deny", &format!("{what} built in {elapsed}"));
        Ok(())
    })
}
