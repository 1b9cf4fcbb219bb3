//! The compilers and the crates whose programs build or check headless, by version and digest.
//! Cargo.lock pins the libraries, `xtask/peers/*/go.sum` the Go modules. Debian's packages are
//! signed, and move within a release; their compiler is pinned here.

use crate::exec;
use anyhow::{Context as _, Result, bail, ensure};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable that, if it is not empty, accepts compilers that are not pinned, and a
/// bpf-linker on `PATH`.
const UNPINNED: &str = "HEADLESS_UNPINNED";

/// The compilers by release and commit, which says more than the release: nightlies have one
/// release for six weeks. 1.95.0 compiles the agent, 1.96.0 (Debian's rustc-web) the BPF
/// programs.
const COMPILERS: [(&str, &str); 2] = [
    ("1.95.0", "59807616e1fa2540724bfbac14d7976d7e4a3860"),
    ("1.96.0", "ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96"),
];

/// A crate with a program. The lock file in the crate pins what it depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramCrate {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// SHA-256 of the `.crate` file.
    pub(crate) sha256: &'static str,
}

/// Links BPF objects.
pub(crate) const BPF_LINKER: ProgramCrate = ProgramCrate {
    name: "bpf-linker",
    version: "0.13.0",
    sha256: "998bea250d009a4719ed16ab6d772d519b77b031a0261e69223a35013972594b",
};

/// Checks the dependencies' licences, sources and advisories.
pub(crate) const CARGO_DENY: ProgramCrate = ProgramCrate {
    name: "cargo-deny",
    version: "0.20.2",
    sha256: "e528dfcbe739af7ce37a77d3d6df1b29dd6887b1c701d888820c0f16b864f737",
};

/// Whether the operator accepts tools that are not pinned.
pub(crate) fn are_lifted() -> bool {
    env::var_os(UNPINNED).is_some_and(|value| !value.is_empty())
}

/// Checks that a compiler is pinned, or that the operator accepts others.
///
/// # Errors
/// Where the compiler is neither. The message names the compiler and the variable.
pub(crate) fn check_compiler(rustc: &mut Command) -> Result<()> {
    let version = exec::output(rustc.args(["--version", "--verbose"]))?;
    if are_lifted() || is_pinned(&version) {
        return Ok(());
    }
    let name = version.lines().next().unwrap_or_default();
    let pinned = COMPILERS.map(|(release, _)| release).join(" and ");
    bail!(
        "{name} is not a pinned compiler: the pinned ones are {pinned}, by their commits in \
         xtask/src/pins.rs; {UNPINNED}=1 accepts others"
    )
}

/// Whether the output of `rustc --version --verbose` is that of a pinned compiler.
fn is_pinned(version: &str) -> bool {
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    COMPILERS.iter().any(|(release, commit)| {
        field("release: ") == Some(release) && field("commit-hash: ") == Some(commit)
    })
}

impl ProgramCrate {
    /// A key for the cache of tools.
    pub(crate) fn key(&self) -> String {
        let digest = self.sha256.get(..16).unwrap_or(self.sha256);
        format!("{}-{digest}", self.version)
    }

    /// Builds the program into `folder/bin`. `configure` adds to `cargo install`.
    ///
    /// # Errors
    /// Where the registry's crate has another digest, or the build fails.
    pub(crate) fn install(
        &self,
        folder: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<()> {
        let Self { name, version, .. } = *self;
        // Downloads the crate and builds nothing, so that nothing runs before the check.
        let mut info = exec::isolated(exec::cargo().get_program());
        info.args(["info", "--quiet", &format!("{name}@{version}")]);
        exec::output(&mut info).with_context(|| format!("cannot download {name} {version}"))?;
        self.check_downloads()?;
        let build = folder.join("build");
        let mut command = exec::isolated(exec::cargo().get_program());
        command
            .args(["install", name, "--version", version, "--locked", "--quiet"])
            .arg("--target-dir")
            .arg(&build)
            .arg("--root")
            .arg(folder);
        configure(&mut command);
        exec::run(&mut command).with_context(|| format!("cannot build {name} {version}"))?;
        fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
    }

    /// Checks the digest of every downloaded file of the crate: there is one for each registry.
    fn check_downloads(&self) -> Result<()> {
        let registries = cargo_home()?.join("registry/cache");
        let file = format!("{}-{}.crate", self.name, self.version);
        let mut found = 0;
        for registry in fs::read_dir(&registries)
            .with_context(|| format!("cannot read {}", registries.display()))?
        {
            let path = registry?.path().join(&file);
            if path.is_file() {
                self.check(&path)?;
                found += 1;
            }
        }
        ensure!(found > 0, "no {file} below {}", registries.display());
        Ok(())
    }

    fn check(&self, file: &Path) -> Result<()> {
        let output = exec::output(Command::new("sha256sum").arg("--").arg(file))?;
        let digest = output.split_whitespace().next().unwrap_or_default();
        ensure!(
            digest == self.sha256,
            "{} has the digest {digest}, pinned is {}",
            file.display(),
            self.sha256
        );
        Ok(())
    }
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("CARGO_HOME").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let home = env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_compiler_is_known_by_release_and_commit() {
        let version = |release: &str, commit: &str| {
            format!(
                "rustc {release} (x)\nbinary: rustc\ncommit-hash: {commit}\nrelease: {release}\n"
            )
        };
        let [(release, commit), other] = COMPILERS;
        assert!(is_pinned(&version(release, commit)));
        assert!(is_pinned(&version(other.0, other.1)));
        assert!(!is_pinned(&version(release, other.1)));
        assert!(!is_pinned(&version("1.97.0-nightly", commit)));
        assert!(!is_pinned(""));
    }

    #[test]
    fn a_crate_with_another_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.crate");
        fs::write(&file, "").unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let with = |sha256| ProgramCrate {
            sha256,
            ..BPF_LINKER
        };
        with(empty).check(&file).unwrap();
        let error = with(CARGO_DENY.sha256)
            .check(&file)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(empty) && error.contains(CARGO_DENY.sha256),
            "{error}"
        );
    }
}
