//! `cargo xtask tidy`: rules of the code base that no lint knows.

mod documented;
mod files;
mod modules;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::modules::{Root, Sources};
use crate::{exec, workspace};

/// Folders without sources of ours.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// Checks the workspace; every finding is printed.
pub(crate) fn run() -> Result<()> {
    let root = exec::workspace();
    let mut files = Vec::new();
    sources(root, &mut files)?;
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let relative = file.strip_prefix(root).unwrap_or(file);
        let name = relative.to_string_lossy();
        findings.extend(files::findings(&name, &text));
        names.extend(documented::introduced(&name, &text));
    }
    let architecture = root.join("ARCHITECTURE.md");
    let architecture = fs::read_to_string(&architecture)
        .with_context(|| format!("cannot read {}", architecture.display()))?;
    findings.extend(documented::findings(&names, &architecture));
    let packages = packages(root)?;
    findings.extend(modules::check(root, &packages, &architecture)?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    let (files, names, packages) = (files.len(), names.len(), packages.len());
    println!("{files} files, {names} names documented, modules of {packages} packages in order");
    Ok(())
}

/// The libraries and programs of the workspace's packages.
fn packages(root: &Path) -> Result<Vec<Sources>> {
    let packages = workspace::packages()?.into_iter();
    let packages = packages.map(|package| {
        let targets = package.targets.into_iter();
        let sources = targets.filter(|target| target.kind == "lib" || target.kind == "bin");
        let roots = sources.map(|target| Root {
            library: (target.kind == "lib").then(|| target.name.replace('-', "_")),
            file: target
                .file
                .strip_prefix(root)
                .map_or(target.file.clone(), Path::to_owned),
        });
        Sources {
            roots: roots.collect(),
            name: package.name,
        }
    });
    Ok(packages.collect())
}

/// The Rust files below a folder, hidden and build folders left out.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || SKIPPED.contains(&name.as_ref()) {
            continue;
        }
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
