//! Installs missing Debian packages.

use crate::exec;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The packages of the BPF toolchain, for when rustup has no fitting nightly: a Rust with
/// the sources of `core`, and the LLVM of the same major version for bpf-linker.
pub(crate) const BPF_TOOLCHAIN: [&str; 6] = [
    "libpolly-22-dev",
    "libzstd-dev",
    "llvm-22-dev",
    "rust-web-src",
    "rustc-web",
    "zlib1g-dev",
];

/// Installs the packages that are missing.
///
/// # Errors
/// When packages are missing and cannot be installed (not Debian, not root). The message
/// names them and the command that installs them.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    if exec::on_path("apt-get").is_none() {
        bail!(
            "this system has no apt-get: install what corresponds to Debian's {}",
            missing.join(" ")
        );
    }
    if !exec::is_root() {
        bail!(
            "missing packages: as root run `apt-get install {}`",
            missing.join(" ")
        );
    }
    exec::progress("apt", &format!("installing {}", missing.join(" ")));
    let start = Instant::now();
    exec::output(apt_get().arg("update")).context("cannot refresh the package lists")?;
    exec::output(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing),
    )
    .with_context(|| format!("cannot install {}", missing.join(" ")))?;
    exec::progress(
        "apt",
        &format!("installed in {}", exec::elapsed(start.elapsed())),
    );
    Ok(())
}

/// Extracts packages, and the packages that they need and that are not installed, into `folder`.
/// Nothing of them runs.
///
/// # Errors
/// When a package cannot be downloaded or extracted.
pub(crate) fn extract(packages: &[&str], folder: &Path) -> Result<()> {
    exec::progress("apt", &format!("extracting {}", packages.join(" ")));
    let archives = folder.join("archives");
    fs::create_dir_all(archives.join("partial"))
        .with_context(|| format!("cannot create {}", archives.display()))?;
    exec::output(apt_get().arg("update")).context("cannot refresh the package lists")?;
    // `install` downloads nothing for a package that is installed.
    let download = ["-o", "APT::Sandbox::User=root", "download"];
    exec::output(
        apt_get()
            .current_dir(&archives)
            .args(download)
            .args(packages),
    )?;
    let mut needed = apt_get();
    needed
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}", archives.display()));
    needed.args([
        "install",
        "--yes",
        "--download-only",
        "--no-install-recommends",
    ]);
    exec::output(needed.args(packages))?;
    for entry in fs::read_dir(&archives).context("cannot list the packages")? {
        let path = entry.context("cannot list the packages")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            exec::output(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .args([&path, folder]),
            )?;
        }
    }
    fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
}

/// Whether packages can be installed from here.
pub(crate) fn is_usable() -> bool {
    exec::is_root() && exec::on_path("apt-get").is_some()
}

/// The packages that are not installed. On a system without dpkg, all packages.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    if exec::on_path("dpkg-query").is_none() {
        return Ok(packages.to_vec());
    }
    // One query for all: dpkg-query exits with 1 when it does not know a package, and still
    // prints the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${Status}\n"])
        .args(packages)
        .output()
        .context("cannot run dpkg-query")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    Ok(packages
        .iter()
        .filter(|package| !installed(&listing, package))
        .copied()
        .collect())
}

fn installed(listing: &str, package: &str) -> bool {
    listing.lines().any(|line| {
        line.split_once(' ')
            .is_some_and(|(name, status)| name == package && status.ends_with(" installed"))
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "--quiet",
        "-o",
        "DPkg::Lock::Timeout=600",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::installed;

    #[test]
    fn removed_and_unknown_packages_are_missing() {
        let listing = "iproute2 install ok installed\nknot deinstall ok config-files\n";
        assert!(installed(listing, "iproute2"));
        assert!(!installed(listing, "knot"));
        assert!(!installed(listing, "iproute"));
        assert!(!installed(listing, "ethtool"));
    }
}
