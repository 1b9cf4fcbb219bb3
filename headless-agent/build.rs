//! Embeds the BPF object that `cargo xtask ebpf` built. Without one an empty
//! file stands in, which the agent refuses to load: so `cargo build`, `clippy`
//! and `test` need no BPF toolchain.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fs, io};

/// Names another object, embedded as it is.
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
            // Cargo runs a script each time while a file it watches is missing.
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
                 left out: run `cargo xtask ebpf` for an agent that can answer in the kernel"
            );
        }
        Vec::new()
    };
    fs::write(embedded, bytes)?;
    Ok(())
}

/// Puts an empty object, older than any source, where the built one belongs.
/// Failing at it (a read-only checkout) costs only needless runs.
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

/// When the newest file below the folder was written.
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
