//! Embeds the BPF object that `cargo xtask ebpf` built.
//!
//! Without an object, the script embeds an empty file, which the agent refuses to load.
//! `cargo build`, `cargo clippy` and `cargo test` therefore need no BPF toolchain.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

/// Environment variable: path of an object to embed in place of the built one. Its age is
/// not checked.
const OVERRIDE: &str = "HEADLESS_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| env::var_os(name).ok_or_else(|| format!("{name} is not set"));
    let embedded = PathBuf::from(variable("OUT_DIR")?).join("headless-xdp.o");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    if let Some(object) = env::var_os(OVERRIDE).map(PathBuf::from) {
        println!("cargo::rerun-if-changed={}", object.display());
        let bytes = fs::read(&object)
            .map_err(|error| format!("{OVERRIDE}: cannot read {}: {error}", object.display()))?;
        fs::write(embedded, bytes)?;
        return Ok(());
    }

    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let object = workspace.join("target/bpf/headless-xdp.o");
    let sources = workspace.join("headless-ebpf/src");
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rerun-if-changed={}", sources.display());
    let metadata = match fs::metadata(&object) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Cargo runs this script in every build while a file that it watches is
            // missing.
            place_stub(&object);
            fs::write(embedded, [])?;
            return Ok(());
        }
        other => other?,
    };
    let bytes = if metadata.modified()? >= newest(&sources)? {
        fs::read(&object)?
    } else {
        if metadata.len() > 0 {
            println!(
                "cargo::warning=target/bpf/headless-xdp.o is older than headless-ebpf/src and \
                 not embedded: run `cargo xtask ebpf`, or the agent cannot answer in the kernel"
            );
        }
        Vec::new()
    };
    fs::write(embedded, bytes)?;
    Ok(())
}

/// Creates an empty object, older than any source, in the place of the built one. A
/// failure (in a read-only checkout) only makes cargo run this script in every build.
fn place_stub(object: &Path) {
    if let Some(folder) = object.parent()
        && fs::create_dir_all(folder).is_ok()
        && let Ok(file) = fs::File::create_new(object)
        && let Err(error) = file.set_modified(SystemTime::UNIX_EPOCH)
    {
        println!(
            "cargo::warning=cannot set the time of {}: {error}",
            object.display()
        );
    }
}

/// Modification time of the newest file in a folder and its subfolders.
fn newest(folder: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        newest = newest.max(if metadata.is_dir() {
            self::newest(&entry.path())?
        } else {
            metadata.modified()?
        });
    }
    Ok(newest)
}
