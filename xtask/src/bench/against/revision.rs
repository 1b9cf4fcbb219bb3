//! The agent of another revision, with that revision's BPF object inside.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::Entry;
use crate::{ebpf, exec};

/// Builds the agent of a revision, or finds it in a cache: a revision never changes.
/// Returns the revision's full name and the path of the agent.
///
/// The sources are unpacked below `target`, so neither the checkout nor git's list of
/// worktrees changes. Dependencies are built once for both revisions.
///
/// # Errors
/// When git does not know the revision, or the revision does not build.
pub(super) fn build(name: &str) -> Result<(String, PathBuf)> {
    let commit = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
    let commit = exec::output(
        exec::isolated("git")
            .args(commit)
            .arg(format!("{name}^{{commit}}")),
    )
    .with_context(|| format!("git does not know the revision {name}"))?;
    let commit = commit.trim().to_owned();
    let entry = Entry::new("headless-agent", &commit);
    let agent = entry.get(Path::is_file, |folder| {
        let sources = folder.join("sources");
        unpack(&commit, &sources)?;
        ebpf::build_in(&sources)?;
        let target = exec::target();
        let mut cargo = exec::isolated(exec::cargo().get_program());
        cargo
            .args(["build", "--release", "--package", "headless-agent"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(&sources);
        exec::run(&mut cargo).with_context(|| format!("cannot build the agent of {name}"))?;
        let built = target.join("release/headless-agent");
        fs::copy(&built, folder.join("bin/headless-agent"))
            .with_context(|| format!("cannot copy {}", built.display()))?;
        fs::remove_dir_all(&sources).with_context(|| format!("cannot remove {}", sources.display()))
    })?;
    Ok((commit, agent))
}

/// Unpacks the files of a commit into a new folder.
fn unpack(commit: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let archive = folder.with_extension("tar");
    exec::run(
        exec::isolated("git")
            .args(["archive", "--output"])
            .arg(&archive)
            .arg(commit),
    )?;
    exec::run(
        exec::isolated("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(folder),
    )?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}
