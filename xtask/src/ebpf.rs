//! `cargo xtask ebpf`: builds the BPF programs. The agent's build script, the tests and the
//! lab find the objects in fixed places.

use crate::exec;
use crate::toolchain::{TARGET, Toolchain};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

/// The binaries of `headless-ebpf`: the answering programs, and a bare reflector for
/// comparison.
const PROGRAMS: [&str; 2] = ["headless-xdp", "headless-reflect"];

/// How often a build is tried when sources change while it runs.
const ATTEMPTS: usize = 3;

/// Options of `cargo xtask ebpf`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Lint the programs for the BPF target instead of building them. Warnings are errors.
    #[arg(long)]
    lint: bool,
}

/// The built objects.
#[derive(Debug)]
pub(crate) struct Objects {
    /// The answering programs.
    pub(crate) xdp: PathBuf,
    /// The bare reflector.
    pub(crate) reflect: PathBuf,
}

/// Builds both objects and prints their paths.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.lint {
        if !lint()? {
            bail!("the compiler for BPF has no clippy");
        }
        return Ok(());
    }
    let objects = build()?;
    for object in [&objects.xdp, &objects.reflect] {
        let length = object.metadata().map_or(0, |data| data.len());
        println!("{} ({length} bytes)", object.display());
    }
    Ok(())
}

/// Builds the objects that are not up to date.
///
/// # Errors
/// When the toolchain is missing and cannot be installed, or the programs do
/// not compile.
pub(crate) fn build() -> Result<Objects> {
    let toolchain = Toolchain::find()?;
    let start = Instant::now();
    for _ in 0..ATTEMPTS {
        let began = SystemTime::now();
        let stale = is_stale()?;
        compile(&toolchain, stale)?;
        let changed = newest_source()?;
        // A source that was saved while the compiler ran may be missing in the object,
        // although the object is newer than the source.
        if changed > began {
            continue;
        }
        let [xdp, reflect] = PROGRAMS.map(|program| install(program, changed));
        let objects = Objects {
            xdp: xdp?,
            reflect: reflect?,
        };
        if stale {
            exec::progress("ebpf", &exec::elapsed(start.elapsed()));
        }
        return Ok(objects);
    }
    bail!("headless-ebpf/src changed during each of {ATTEMPTS} builds");
}

/// Builds the answering programs of another checkout, where that checkout's agent looks
/// for them.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_in(checkout: &Path) -> Result<()> {
    let folder = checkout.join("target/bpf");
    let mut command = cargo(&Toolchain::find()?, "build", &folder);
    command.current_dir(checkout);
    exec::run(&mut command).context("cannot build the BPF programs")?;
    let [program, _] = PROGRAMS;
    let built = folder.join(TARGET).join("release").join(program);
    let object = folder.join(format!("{program}.o"));
    fs::copy(&built, &object).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(())
}

/// Lints the BPF binaries for the BPF target, where warnings are errors. `Ok(false)` when
/// the compiler has no clippy.
pub(crate) fn lint() -> Result<bool> {
    let toolchain = Toolchain::find()?;
    let Some(driver) = toolchain.clippy_driver()? else {
        return Ok(false);
    };
    let mut command = cargo(&toolchain, "check", &folder());
    command
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    exec::run(&mut command)?;
    Ok(true)
}

fn folder() -> PathBuf {
    exec::target().join("bpf")
}

/// Whether an object is missing, or older than a source.
fn is_stale() -> Result<bool> {
    let changed = newest_source()?;
    Ok(PROGRAMS.iter().any(|program| {
        let object = fs::metadata(folder().join(format!("{program}.o")));
        !object
            .and_then(|data| data.modified())
            .is_ok_and(|time| time >= changed)
    }))
}

/// Compiles the programs. `stale` says whether there is something to compile. If not, cargo finds
/// that out, and a build that does nothing prints nothing.
fn compile(toolchain: &Toolchain, stale: bool) -> Result<()> {
    let mut command = cargo(toolchain, "build", &folder());
    if stale {
        toolchain.tell();
    } else {
        command.arg("--quiet");
    }
    exec::run(&mut command).context("cannot build the BPF programs")
}

/// A cargo command for the programs with the target directory `folder`.
fn cargo(toolchain: &Toolchain, subcommand: &str, folder: &Path) -> Command {
    // rustc warns that the target feature is unstable, for each crate. Clippy, which the lint
    // runs, warns of all else.
    let flags: &[&str] = match subcommand {
        "build" => &["-Awarnings"],
        _ => &[],
    };
    let mut command = toolchain.cargo(flags);
    command
        .args([subcommand, "--package", "headless-ebpf", "--bins"])
        .args(["--release", "--target", TARGET, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(folder);
    command
}

/// Copies a program to its fixed place, unless the same bytes are there and not older than
/// the sources. A new modification time would make cargo rebuild the agent.
fn install(program: &str, newest_source: SystemTime) -> Result<PathBuf> {
    let built = folder().join(TARGET).join("release").join(program);
    let object = folder().join(format!("{program}.o"));
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let current = fs::read(&object).is_ok_and(|old| old == bytes)
        && fs::metadata(&object)
            .and_then(|data| data.modified())
            .is_ok_and(|time| time >= newest_source);
    if !current {
        let partial = folder().join(format!(".{program}.{}", std::process::id()));
        fs::write(&partial, &bytes)
            .and_then(|()| fs::rename(&partial, &object))
            .with_context(|| format!("cannot write {}", object.display()))?;
    }
    Ok(object)
}

/// The time of the latest change of a source of the BPF crate.
fn newest_source() -> Result<SystemTime> {
    newest(&exec::workspace().join("headless-ebpf/src"))
}

fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let context = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let metadata = entry.metadata().with_context(context)?;
        newest = newest.max(if metadata.is_dir() {
            self::newest(&entry.path())?
        } else {
            metadata.modified().with_context(context)?
        });
    }
    Ok(newest)
}
