//! Images for containerd, made with umoci of files of this machine. Nothing is pulled.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::place;
use crate::cache::{self, Entry};
use crate::exec;

/// Debian's static busybox.
pub(super) const BUSYBOX: &str = "/bin/busybox";

const MIRROR: &str = "http://deb.debian.org/debian";

/// Debian's release of the images that need a userland.
const SUITE: &str = "bookworm";

/// What Kubernetes's suite runs in its pods, beside agnhost.
const SUITE_PACKAGES: &str = "dnsutils,curl,iproute2,socat";

/// An image, as containerd imports it.
#[derive(Debug)]
pub(super) struct Image {
    /// Name and tag: `localhost/pause:1`.
    pub(super) name: String,
    /// A root as a tar file, below the other files.
    pub(super) base: Option<PathBuf>,
    /// Files of this machine, and their paths in the image.
    pub(super) files: Vec<(PathBuf, String)>,
    /// Whether busybox's applets have links, and `/tmp` and `/www` exist.
    pub(super) shell: bool,
    pub(super) entrypoint: Vec<&'static str>,
    pub(super) arguments: Vec<&'static str>,
}

impl Image {
    /// An image of one program.
    pub(super) fn of(name: &str, program: &Path, at: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            base: None,
            files: vec![(program.to_owned(), at.to_owned())],
            shell: false,
            entrypoint: vec![at],
            arguments: Vec::new(),
        }
    }

    /// The image as a tar file of an OCI layout, built unless it is there.
    ///
    /// # Errors
    /// Names the command that failed.
    pub(super) fn build(&self) -> Result<PathBuf> {
        let folder = place::root().join("images");
        let (title, tag) = self.title();
        let versions = format!("{title}-{tag}-");
        let file = folder.join(format!("{versions}{}.tar", self.key()?));
        if file.is_file() {
            return Ok(file);
        }
        exec::progress("cluster", &format!("making the image {}", self.name));
        let staging = folder.join(format!(".{title}"));
        remove(&staging)?;
        let tree = staging.join("tree");
        self.lay_out(&tree)?;
        let layer = staging.join("layer.tar");
        pack(&tree, &layer)?;
        let layout = staging.join("layout");
        exec::output(umoci(&["init"]).arg("--layout").arg(&layout))?;
        let mut image = layout.clone().into_os_string();
        image.push(format!(":{tag}"));
        exec::output(umoci(&["new", "--image"]).arg(&image))?;
        for layer in self.base.iter().chain([&layer]) {
            exec::output(
                umoci(&["raw", "add-layer", "--image"])
                    .arg(&image)
                    .arg(layer),
            )?;
        }
        let mut config = umoci(&["config", "--image"]);
        config.arg(&image);
        for word in &self.entrypoint {
            config.args(["--config.entrypoint", word]);
        }
        for word in &self.arguments {
            config.args(["--config.cmd", word]);
        }
        exec::output(&mut config)?;
        let partial = staging.join("image.tar");
        pack(&layout, &partial)?;
        remove_files(&folder, &versions)?;
        fs::rename(&partial, &file).with_context(|| format!("cannot make {}", file.display()))?;
        remove(&staging)?;
        Ok(file)
    }

    /// Name without registry, and tag.
    fn title(&self) -> (&str, &str) {
        let title = self.name.rsplit('/').next().unwrap_or(&self.name);
        title.split_once(':').unwrap_or((title, "latest"))
    }

    /// A digest of what the image is made of. Files count by path, size and time, since some
    /// have a hundred megabytes.
    fn key(&self) -> Result<String> {
        let mut parts = vec![
            format!(
                "{:?}",
                (&self.name, self.shell, &self.entrypoint, &self.arguments)
            ),
            format!(
                "{:?}",
                self.files.iter().map(|(_, at)| at).collect::<Vec<_>>()
            ),
        ];
        for source in self
            .base
            .iter()
            .chain(self.files.iter().map(|(source, _)| source))
        {
            let data = fs::metadata(source)
                .with_context(|| format!("cannot read {}", source.display()))?;
            parts.push(format!(
                "{} {} {:?}",
                source.display(),
                data.len(),
                data.modified()?
            ));
        }
        Ok(cache::digest(parts.iter().map(String::as_bytes)))
    }

    fn lay_out(&self, tree: &Path) -> Result<()> {
        fs::create_dir_all(tree).with_context(|| format!("cannot make {}", tree.display()))?;
        for (source, at) in &self.files {
            let file = tree.join(at.trim_start_matches('/'));
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(source, &file).with_context(|| format!("cannot copy {}", source.display()))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        if self.shell {
            let busybox = tree.join("bin/busybox");
            let applets = exec::output(Command::new(&busybox).arg("--list"))?;
            for applet in applets.lines().filter(|applet| *applet != "busybox") {
                symlink("busybox", tree.join("bin").join(applet))?;
            }
            for folder in ["tmp", "www"] {
                fs::create_dir_all(tree.join(folder))?;
            }
        }
        Ok(())
    }
}

/// The image of the process that holds a pod's namespaces.
pub(super) fn pause(busybox: &Path) -> Image {
    let mut image = Image::of(super::config::PAUSE, busybox, "/bin/busybox");
    image.arguments = vec!["sleep", "2147483647"];
    image
}

/// A shell with busybox's tools, for clients and web servers.
pub(super) fn busybox(busybox: &Path) -> Image {
    Image {
        shell: true,
        ..Image::of("localhost/busybox:1", busybox, "/bin/busybox")
    }
}

/// A root of Debian with `dig`, `curl` and the like, as a tar file.
///
/// # Errors
/// When debootstrap fails.
pub(super) fn debian() -> Result<PathBuf> {
    let key = format!("{SUITE}-{}", cache::digest([SUITE_PACKAGES.as_bytes()]));
    Entry::new("debian-root.tar", &key).get(Path::is_file, |folder| {
        exec::progress("cluster", "installing Debian for the suite's images (once)");
        let root = folder.join("root");
        let mut command = exec::isolated("debootstrap");
        command
            .args(["--variant=minbase", "--include", SUITE_PACKAGES, SUITE])
            .arg(&root)
            .arg(MIRROR);
        exec::output(&mut command)?;
        // Half of the root, and of no use in a pod.
        for unused in [
            "var/cache/apt",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
        ] {
            remove(&root.join(unused))?;
        }
        pack(&root, &folder.join("bin/debian-root.tar"))?;
        remove(&root)
    })
}

fn umoci(arguments: &[&str]) -> Command {
    let mut command = Command::new("umoci");
    command.args(arguments);
    command
}

fn pack(folder: &Path, file: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "-C"]).arg(folder);
    exec::output(command.arg("-cf").arg(file).arg(".")).map(drop)
}

/// Removes the files of a folder whose names begin so: older versions of an image.
fn remove_files(folder: &Path, begin: &str) -> Result<()> {
    let listing =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in listing {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(begin) {
            fs::remove_file(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_changed_file_makes_another_image() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let image = Image::of("localhost/a:2", file.path(), "/a");
        let before = image.key().unwrap();
        assert_eq!(image.key().unwrap(), before);
        fs::write(file.path(), "more").unwrap();
        assert_ne!(image.key().unwrap(), before);
    }

    #[test]
    fn older_versions_of_one_tag_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["busybox-1-aa.tar", "busybox-1.37.0-2-bb.tar"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_files(folder.path(), "busybox-1-").unwrap();
        let left = fs::read_dir(folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["busybox-1.37.0-2-bb.tar"]);
    }

    #[test]
    fn names_have_a_title_and_a_tag() {
        let image = |name| Image::of(name, Path::new("/a"), "/a");
        assert_eq!(image("localhost/a:2").title(), ("a", "2"));
        assert_eq!(image("r.example/b/a").title(), ("a", "latest"));
    }
}
