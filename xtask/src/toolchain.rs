//! Finds or installs the tools of the BPF build: a compiler that takes unstable options,
//! the sources of `core`, and bpf-linker with an LLVM that reads this compiler's bitcode.

use crate::cache::Entry;
use crate::{apt, exec, pins};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The target for which all programs are built. It is little-endian, like every
/// architecture on which Kubernetes runs, except s390x.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Without this feature LLVM reads a `u64` of the packet byte by byte.
pub(crate) const MISALIGNED: &str = "allows-misaligned-mem-access";

/// Debian's compiler, by its full path, since rustup's compiler may come first on `PATH`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

/// The LLVM version of Debian's compiler. bpf-linker is built with the same one.
const LLVM: u32 = 22;

/// A compiler and a linker for BPF that exist and fit each other.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    version: String,
    linker: PathBuf,
}

/// Where the compiler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    /// rustup's nightly with the component rust-src.
    Nightly,
    /// Debian's `rustc-web`, a stable release that is told to accept unstable options.
    Debian,
}

impl Toolchain {
    /// Finds the toolchain. Installs missing parts where that is possible.
    ///
    /// # Errors
    /// The message names the missing piece and how to get it.
    pub(crate) fn find() -> Result<Self> {
        let compiler = Compiler::find()?;
        let version = compiler.check()?;
        let linker = linker()?;
        Ok(Self {
            compiler,
            version,
            linker,
        })
    }

    /// Says which toolchain it is.
    pub(crate) fn tell(&self) {
        let linker = self.linker.display();
        exec::progress("toolchain", &format!("{}, linker {linker}", self.version));
    }

    /// A cargo that compiles with this toolchain, the flags for BPF, and `more` flags.
    pub(crate) fn cargo(&self, more: &[&str]) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => {
                let mut command = exec::isolated("rustup");
                command.args(["run", "nightly", "cargo"]);
                command
            }
            Compiler::Debian => {
                let mut command = exec::isolated(exec::cargo().get_program());
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        let mut flags = vec![
            // BTF is derived from debug information.
            "-Cdebuginfo=2".to_owned(),
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
            format!("-Ctarget-feature=+{MISALIGNED}"),
        ];
        flags.extend(more.iter().map(|&flag| flag.to_owned()));
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command
    }

    /// The clippy driver of this compiler's release, if there is one. A driver of another
    /// release cannot read the compiler's metadata.
    pub(crate) fn clippy_driver(&self) -> Result<Option<PathBuf>> {
        let driver = match self.compiler {
            Compiler::Debian => {
                if apt::is_usable() {
                    apt::ensure(&["rust-web-clippy"])?;
                }
                PathBuf::from(DEBIAN_CLIPPY)
            }
            Compiler::Nightly => sysroot(&mut self.compiler.rustc())?.join("bin/clippy-driver"),
        };
        Ok(driver.is_file().then_some(driver))
    }
}

impl Compiler {
    fn find() -> Result<Self> {
        let Some(unfit) = nightly_unfit() else {
            return Ok(Self::Nightly);
        };
        apt::ensure(&apt::BPF_TOOLCHAIN).with_context(|| {
            format!(
                "no compiler for BPF (rustup's nightly is none: {unfit}): either use Debian's \
                 compiler, or give rustup's nightly its sources with `rustup toolchain install \
                 nightly --component rust-src` and accept it with HEADLESS_UNPINNED=1"
            )
        })?;
        Ok(Self::Debian)
    }

    fn rustc(self) -> Command {
        match self {
            Self::Nightly => {
                let mut command = exec::isolated("rustup");
                command.args(["run", "nightly", "rustc"]);
                command
            }
            Self::Debian => {
                let mut command = exec::isolated(DEBIAN_RUSTC);
                command.env("RUSTC_BOOTSTRAP", "1");
                command
            }
        }
    }

    /// Checks the features that the programs rely on. Returns the version line.
    fn check(self) -> Result<String> {
        pins::check_compiler(&mut self.rustc())?;
        let version = exec::output(self.rustc().arg("--version"))?;
        let version = version.trim();
        let features =
            exec::output(
                self.rustc()
                    .args(["--print", "target-features", "--target", TARGET]),
            )?;
        if !has_feature(&features, MISALIGNED) {
            bail!(
                "{version} does not know the target feature {MISALIGNED}, without which packets \
                 are read byte by byte: a rustc with LLVM {LLVM} or later is needed"
            );
        }
        Ok(version.to_owned())
    }
}

/// Whether `rustc --print target-features` lists the feature.
fn has_feature(listing: &str, feature: &str) -> bool {
    listing
        .lines()
        .any(|line| line.split_whitespace().next() == Some(feature))
}

fn sysroot(rustc: &mut Command) -> Result<PathBuf> {
    let output = exec::output(rustc.args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(output.trim()))
}

/// Why rustup's nightly cannot be used, or `None` if it can.
fn nightly_unfit() -> Option<String> {
    if exec::on_path("rustup").is_none() {
        return Some("rustup is not installed".to_owned());
    }
    // The list is asked first: `rustup run` may download a missing toolchain.
    let installed = exec::output(exec::isolated("rustup").args(["toolchain", "list"]));
    if !installed.is_ok_and(|list| list.lines().any(is_nightly)) {
        return Some("it is not installed".to_owned());
    }
    let sysroot = match sysroot(&mut Compiler::Nightly.rustc()) {
        Ok(sysroot) => sysroot,
        Err(error) => return Some(format!("{error:#}")),
    };
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
    {
        return Some("it has no rust-src component".to_owned());
    }
    if let Err(error) = pins::check_compiler(&mut Compiler::Nightly.rustc()) {
        return Some(format!("{error:#}"));
    }
    // A linker on PATH is its owner's choice. The linker that we build has Debian's LLVM,
    // which cannot read the bitcode of a later LLVM.
    if linker_on_path().is_none() {
        let version = match exec::output(Compiler::Nightly.rustc().args(["--version", "--verbose"]))
        {
            Ok(version) => version,
            Err(error) => return Some(format!("{error:#}")),
        };
        match llvm_major(&version) {
            Some(major) if major > LLVM => {
                return Some(format!(
                    "it has LLVM {major}, whose bitcode a bpf-linker built with LLVM {LLVM} \
                     cannot read; a bpf-linker on PATH would be used"
                ));
            }
            _ => {}
        }
    }
    None
}

/// Whether a line of `rustup toolchain list` is the current nightly (`nightly-HOST`), not
/// that of a day (`nightly-2026-05-19-HOST`).
fn is_nightly(line: &str) -> bool {
    line.strip_prefix("nightly-")
        .is_some_and(|host| !host.starts_with(|c: char| c.is_ascii_digit()))
}

/// The major version in `rustc --version --verbose`.
fn llvm_major(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

/// A linker on `PATH`, if tools that are not pinned are accepted.
fn linker_on_path() -> Option<PathBuf> {
    let linker = exec::on_path("bpf-linker").filter(|_| pins::are_lifted());
    linker.filter(|linker| runs(linker))
}

/// Whether the program starts. bpf-linker needs the shared LLVM that it was built with,
/// which may be gone by now.
fn runs(program: &Path) -> bool {
    exec::output(Command::new(program).arg("--version")).is_ok()
}

/// bpf-linker from the caches, else built.
fn linker() -> Result<PathBuf> {
    if let Some(linker) = linker_on_path() {
        return Ok(linker);
    }
    let krate = pins::BPF_LINKER;
    Entry::new(krate.name, &format!("{}-llvm{LLVM}", krate.key())).get(runs, |folder| {
        let prefix = format!("/usr/lib/llvm-{LLVM}");
        apt::ensure(&apt::BPF_TOOLCHAIN).context(
            "bpf-linker cannot be built without Debian's LLVM; HEADLESS_UNPINNED=1 accepts one \
             on PATH (`cargo binstall bpf-linker` fetches a built one)",
        )?;
        exec::progress(
            "toolchain",
            &format!(
                "building {} {} with LLVM {LLVM}, one to four minutes",
                krate.name, krate.version
            ),
        );
        let start = Instant::now();
        krate.install(folder, |command| {
            // Without this variable, the build may take the libraries of another LLVM.
            command.env("LLVM_PREFIX", prefix);
            let feature = format!("llvm-{LLVM}");
            command.args(["--no-default-features", "--features", &feature]);
        })?;
        exec::progress(
            "toolchain",
            &format!("bpf-linker built in {}", exec::elapsed(start.elapsed())),
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_whole_words_of_the_first_column() {
        let listing = "Features supported by rustc for this target:\n    \
                       allows-misaligned-mem-access - Allows misaligned memory access.\n    \
                       alu32 - Enable ALU32 instructions.\n";
        assert!(has_feature(listing, MISALIGNED));
        assert!(has_feature(listing, "alu32"));
        assert!(!has_feature(listing, "alu"));
        assert!(!has_feature(listing, "memory"));
    }

    #[test]
    fn a_dated_nightly_is_not_the_nightly() {
        assert!(is_nightly("nightly-x86_64-unknown-linux-gnu (default)"));
        assert!(!is_nightly("nightly-2026-05-19-x86_64-unknown-linux-gnu"));
        assert!(!is_nightly("stable-x86_64-unknown-linux-gnu"));
    }

    #[test]
    fn llvm_version_is_read_from_rustc() {
        let version = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(version), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }
}
