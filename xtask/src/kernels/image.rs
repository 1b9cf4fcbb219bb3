//! The root file system of a machine: the test programs, the programs that they run, and a
//! script. It is in memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::debian::Kernel;
use super::script::{MODULES, script};
use crate::exec;

/// Programs that the suites start.
const TOOLS: [&str; 4] = ["ip", "tc", "ethtool", "setpriv"];

/// Folders that the suites read, by the path that they were compiled with.
const READ: [&str; 2] = ["tests/frames", "deploy/demo"];

/// The folder of the suites.
const SUITES: &str = "suites";

/// The programs under test.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Test programs by the names of their suites.
    pub(crate) suites: Vec<(String, PathBuf)>,
    /// The agent.
    pub(crate) agent: PathBuf,
    /// The BPF objects.
    pub(crate) objects: Vec<PathBuf>,
}

/// The root file system without a kernel's modules, as a cpio archive.
#[derive(Debug)]
pub(crate) struct Base {
    folder: PathBuf,
    archive: PathBuf,
}

impl Base {
    /// Builds the archive.
    ///
    /// # Errors
    /// When a program is missing.
    pub(crate) fn new(programs: &Programs) -> Result<Self> {
        let folder = exec::target().join("kernels/image");
        clear(&folder)?;
        let root = folder.join("root");
        for part in ["bin", "sbin", "dev", "etc", "proc", "run", "sys", "tmp"] {
            create(&root.join(part))?;
        }
        for (name, program) in &programs.suites {
            install(program, &root.join(SUITES).join(name), true)?;
        }
        install(&programs.agent, &root.join("agent"), true)?;
        for tool in TOOLS {
            let path = exec::on_path(tool).with_context(|| format!("{tool} is not installed"))?;
            install(&path, &root.join("usr/bin").join(tool), false)?;
        }
        let busybox = exec::on_path("busybox").context("busybox is not installed")?;
        install(&busybox, &root.join("bin/busybox"), false)?;
        symlink("busybox", root.join("bin/sh")).context("cannot link /bin/sh")?;
        libraries(&root)?;
        for object in &programs.objects {
            let name = object.file_name().context("a BPF object has no name")?;
            install(object, &root.join("bpf").join(name), false)?;
        }
        for read in READ {
            let from = exec::workspace().join(read);
            let inside = from.strip_prefix("/").unwrap_or(&from);
            copy(&from, &root.join(inside))?;
        }
        let init = root.join("init");
        let names = programs.suites.iter().map(|(name, _)| name.as_str());
        fs::write(&init, script(names)).context("cannot write the guest's /init")?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
            .context("cannot make /init executable")?;
        let archive = folder.join("base.cpio");
        pack(&root, &archive)?;
        Ok(Self { folder, archive })
    }

    /// The image for a kernel, with its modules appended. Linux unpacks one archive after
    /// the other.
    pub(crate) fn with_modules(&self, kernel: &Kernel) -> Result<PathBuf> {
        let folder = self.folder.join(&kernel.release);
        clear(&folder)?;
        let root = folder.join("root");
        let modules = root.join("modules");
        create(&modules)?;
        for module in MODULES {
            kernel.unpack_module(module, &modules)?;
        }
        let extra = folder.join("modules.cpio");
        pack(&root, &extra)?;
        let image = folder.join("image.cpio");
        let join = || {
            fs::copy(&self.archive, &image)?;
            let mut end = File::options().append(true).open(&image)?;
            io::copy(&mut File::open(&extra)?, &mut end)
        };
        join().with_context(|| format!("cannot write {}", image.display()))?;
        Ok(image)
    }
}

/// An empty folder.
fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => {}
    }
    create(folder)
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Copies a program; without its debug information, which is most of it.
fn install(program: &Path, to: &Path, strip: bool) -> Result<()> {
    if let Some(folder) = to.parent() {
        create(folder)?;
    }
    if strip {
        return exec::run(Command::new("strip").arg("-o").arg(to).arg(program));
    }
    fs::copy(program, to).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(())
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// Copies the shared libraries of all programs in the root file system.
fn libraries(root: &Path) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for folder in [SUITES, "usr/bin", "."] {
        let folder = root.join(folder);
        let context = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.is_file() {
                // `ldd` fails for a static program, which needs no libraries.
                let listing = Command::new("ldd")
                    .arg(&path)
                    .stdin(Stdio::null())
                    .output()
                    .context("cannot run ldd")?;
                let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
                match listed(&listing) {
                    Ok(found) => libraries.extend(found),
                    Err(name) => bail!("{} needs {name}, which is not here", path.display()),
                }
            }
        }
    }
    for library in libraries {
        let inside = library.strip_prefix("/").unwrap_or(&library);
        install(&library, &root.join(inside), false)?;
    }
    Ok(())
}

/// The paths in the output of `ldd`, or the name of a missing library.
fn listed(listing: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for line in listing.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [name, "=>", "not", "found"] => return Err(name.to_owned()),
            [_, "=>", path, _] | [path, _] if path.starts_with('/') => paths.push(path.into()),
            _ => {}
        }
    }
    Ok(paths)
}

/// Packs a folder in the format that Linux unpacks (`newc`, see
/// Documentation/driver-api/early-userspace/buffer-format.rst). All files belong to root.
fn pack(root: &Path, archive: &Path) -> Result<()> {
    let list = archive.with_extension("list");
    let mut names = String::new();
    tree(root, root, &mut names)?;
    fs::write(&list, names).with_context(|| format!("cannot write {}", list.display()))?;
    let open = File::open(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let to =
        File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let status = Command::new("cpio")
        .args(["-o", "-H", "newc", "-R", "0:0", "--quiet"])
        .current_dir(root)
        .stdin(open)
        .stdout(to)
        .status()
        .context("cannot run cpio")?;
    if !status.success() {
        bail!("cpio failed: {status}");
    }
    Ok(())
}

/// The paths below a folder, relative to the root. A folder comes before its files.
fn tree(root: &Path, folder: &Path, names: &mut String) -> Result<()> {
    let context = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path);
        names.push_str(&name.to_string_lossy());
        names.push('\n');
        if entry.file_type().with_context(context)?.is_dir() {
            tree(root, &path, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let listing = "\tlinux-vdso.so.1 (0x00007f2a89218000)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2a8841e000)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f2a8921a000)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(listed(listing).unwrap(), expected.map(PathBuf::from));
        assert!(listed("\tnot a dynamic executable\n").unwrap().is_empty());
        let missing = "\tlibmnl.so.0 => not found\n";
        assert_eq!(listed(missing).unwrap_err(), "libmnl.so.0");
    }
}
