//! Debian's kernels for cloud machines: the package that a suite has now, and its files.
//! This system's package lists do not change.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::exec;

/// The archive of the packages.
const MIRROR: &str = "http://deb.debian.org/debian";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package that depends on the newest kernel of a suite.
const NEWEST: &str = "linux-image-cloud-amd64";

/// Package lists that are older are fetched again.
const LISTS_AGE: Duration = Duration::from_hours(24);

/// A line of kernels, and the Debian suite that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// The begin of the release. `.x` stands for any rest.
    pub(crate) name: &'static str,
    /// Debian's name of the suite.
    suite: &'static str,
}

/// From the oldest that headless supports to the newest there is.
pub(crate) const SERIES: [Series; 4] = [
    Series::new("5.10", "bullseye"),
    Series::new("6.1", "bookworm"),
    Series::new("6.12", "trixie"),
    Series::new("7.x", "sid"),
];

impl Series {
    const fn new(name: &'static str, suite: &'static str) -> Self {
        Self { name, suite }
    }

    /// The series with this name, which is a version as above or a Debian suite.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let found = SERIES.into_iter().find(|series| {
            name == series.name
                || name == series.suite
                || series.name.strip_suffix(".x") == Some(name)
        });
        found.ok_or_else(|| {
            let names = SERIES.map(|series| series.name);
            format!("not one of {}", names.join(", "))
        })
    }

    /// Whether a kernel release is of this series.
    fn has(self, release: &str) -> bool {
        let prefix = self.name.strip_suffix(".x").unwrap_or(self.name);
        release
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(['.', '-', '+']))
    }
}

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The output of `uname -r`.
    pub(crate) release: String,
    /// The image that boots.
    pub(crate) image: PathBuf,
    folder: PathBuf,
}

impl Kernel {
    /// The newest kernel of the series, downloaded unless it is here.
    ///
    /// # Errors
    /// When Debian's tools are missing, when the archive cannot be reached and there are no
    /// lists yet, or when the suite has moved to another series.
    pub(crate) fn get(series: Series) -> Result<Self> {
        for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
            if exec::on_path(tool).is_none() {
                bail!("kernels are taken from Debian's archive, and {tool} is missing");
            }
        }
        let apt = Apt::new(series)?;
        apt.refresh()?;
        let depends = |package: &str| {
            let listing = exec::output(apt.cache().args(["depends", "--important", package]))?;
            Ok::<_, anyhow::Error>(depends(&listing))
        };
        let image = depends(NEWEST)?
            .into_iter()
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("{} has no {NEWEST}", series.suite))?;
        let release = image.trim_start_matches("linux-image-").to_owned();
        if !series.has(&release) {
            bail!(
                "Debian {} has kernel {release} now, not {}",
                series.suite,
                series.name
            );
        }
        // From 7.x on, the image package is empty and depends on packages with the files.
        let parts = depends(&image)?.into_iter().filter(|name| {
            ["linux-binary-", "linux-modules-"]
                .iter()
                .any(|prefix| name.strip_prefix(prefix) == Some(release.as_str()))
        });
        let packages: Vec<_> = [image.clone()].into_iter().chain(parts).collect();
        let shown = exec::output(apt.cache().args(["show", "--no-all-versions", &image]))?;
        let version = version(&shown).with_context(|| format!("{image} has no version"))?;
        let folder = apt.folder.join(format!("{release}_{version}"));
        if !folder.is_dir() {
            apt.download(&packages, &folder)?;
        }
        let image = file(&folder, &|name| name.starts_with("vmlinuz"))?
            .with_context(|| format!("no vmlinuz in {}", packages.join(", ")))?;
        Ok(Self {
            release,
            image,
            folder,
        })
    }

    /// Writes a module as `NAME.ko` into a folder.
    ///
    /// # Errors
    /// When the kernel has no such module.
    pub(crate) fn unpack_module(&self, name: &str, into: &Path) -> Result<()> {
        let plain = format!("{name}.ko");
        let packed = format!("{name}.ko.xz");
        let module = file(&self.folder, &|file| file == plain || file == packed)?
            .with_context(|| format!("kernel {} has no module {name}", self.release))?;
        let written = into.join(&plain);
        let context = || format!("cannot write {}", written.display());
        if module.extension() == Some(OsStr::new("xz")) {
            let to = fs::File::create(&written).with_context(context)?;
            exec::run(Command::new("xz").arg("-dc").arg(&module).stdout(to))
        } else {
            fs::copy(&module, &written).with_context(context)?;
            Ok(())
        }
    }
}

/// An apt with a configuration of its own: one suite, and nothing of this system.
struct Apt {
    series: Series,
    folder: PathBuf,
}

impl Apt {
    fn new(series: Series) -> Result<Self> {
        let folder = exec::target().join("kernels").join(series.suite);
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        let sources = format!("deb [signed-by={KEYRING}] {MIRROR} {} main\n", series.suite);
        let at = folder.display();
        let conf = format!(
            "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             Dir::State::lists \"{at}/lists\";\nDir::State::status \"/dev/null\";\n\
             Dir::Cache \"{at}/cache\";\nAPT::Architecture \"amd64\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        );
        for (name, text) in [("sources.list", sources), ("apt.conf", conf)] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { series, folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .current_dir(&self.folder);
        command
    }

    fn get(&self) -> Command {
        let mut command = self.command("apt-get");
        command.arg("--quiet");
        command
    }

    fn cache(&self) -> Command {
        self.command("apt-cache")
    }

    /// Fetches the package lists when they are old. Keeps old ones when the archive cannot
    /// be reached.
    fn refresh(&self) -> Result<()> {
        let stamp = self.folder.join("fetched");
        let fetched = fs::metadata(&stamp).and_then(|data| data.modified()).ok();
        let age = fetched.map(|time| {
            SystemTime::now()
                .duration_since(time)
                .unwrap_or(Duration::ZERO)
        });
        if age.is_some_and(|age| age < LISTS_AGE) {
            return Ok(());
        }
        let suite = self.series.suite;
        exec::progress("kernels", &format!("package lists of Debian {suite}"));
        let result = exec::output(
            self.get()
                .args(["-o", "APT::Update::Error-Mode=any", "update"]),
        );
        match (result, age) {
            (Ok(_), _) => {
                fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
            }
            (Err(error), Some(_)) => {
                exec::progress("kernels", &format!("{suite}, as last seen: {error:#}"));
                Ok(())
            }
            (Err(error), None) => {
                Err(error).with_context(|| format!("cannot fetch the package lists of {suite}"))
            }
        }
    }

    /// Unpacks packages into a folder, and removes the folders of older versions.
    fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        exec::progress("kernels", &format!("downloading {}", packages.join(", ")));
        for entry in entries(&self.folder)? {
            if entry.join("debs").is_dir() {
                fs::remove_dir_all(&entry)
                    .with_context(|| format!("cannot remove {}", entry.display()))?;
            }
        }
        let partial = self.folder.join("partial");
        let debs = partial.join("debs");
        fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
        exec::output(self.get().current_dir(&debs).arg("download").args(packages))
            .with_context(|| format!("cannot download {}", packages.join(", ")))?;
        for deb in entries(&debs)? {
            exec::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
            fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
        }
        fs::rename(&partial, folder).with_context(|| format!("cannot create {}", folder.display()))
    }
}

/// The packages in the output of `apt-cache depends`, alternatives included.
fn depends(listing: &str) -> Vec<String> {
    listing
        .lines()
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches('|');
            let name = ["Depends: ", "PreDepends: "]
                .iter()
                .find_map(|kind| line.strip_prefix(kind))?;
            // `<NAME>` is a virtual package.
            (!name.starts_with('<')).then(|| name.trim().to_owned())
        })
        .collect()
}

/// The version in the output of `apt-cache show`.
fn version(shown: &str) -> Option<&str> {
    shown
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))
}

/// The paths in a folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    fs::read_dir(folder)
        .with_context(context)?
        .map(|entry| Ok(entry.with_context(context)?.path()))
        .collect()
}

/// The first file below a folder whose name fits.
fn file(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    for path in entries(folder)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if let Some(found) = file(&path, fits)? {
                return Ok(Some(found));
            }
        } else if path.file_name().and_then(OsStr::to_str).is_some_and(fits) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn series_are_found_by_version_and_by_suite() {
        assert_eq!(Series::parse("5.10").unwrap(), SERIES[0]);
        assert_eq!(Series::parse("trixie").unwrap(), SERIES[2]);
        assert_eq!(Series::parse("7.x").unwrap(), SERIES[3]);
        assert_eq!(Series::parse("7").unwrap(), SERIES[3]);
        let error = Series::parse("6").unwrap_err();
        assert!(error.contains("6.12"), "{error}");
    }

    #[test]
    fn a_suite_that_has_moved_is_noticed() {
        let [_, bookworm, trixie, sid] = SERIES;
        assert!(bookworm.has("6.1.0-50-cloud-amd64"));
        assert!(!bookworm.has("6.12.117+deb13-cloud-amd64"));
        assert!(trixie.has("6.12.117+deb13-cloud-amd64"));
        assert!(sid.has("7.2.13+deb14-cloud-amd64"));
        assert!(!sid.has("70.1-cloud-amd64"));
    }

    #[test]
    fn dependencies_are_told_from_the_rest() {
        let listing = "linux-image-7.2.13+deb14-cloud-amd64\n  PreDepends: linux-base\n \
                       |Depends: dracut\n  Depends: <linux-initramfs-tool>\n    dracut\n  \
                       Depends: linux-binary-7.2.13+deb14-cloud-amd64\n  Breaks: initramfs-tools\n";
        assert_eq!(
            depends(listing),
            [
                "linux-base",
                "dracut",
                "linux-binary-7.2.13+deb14-cloud-amd64"
            ]
        );
    }

    #[test]
    fn version_is_the_candidates() {
        let shown = "Package: linux-image-6.1.0-50-cloud-amd64\nKernel-Version: 6.1.0\n\
                     Version: 6.1.176-1\nSection: kernel\n";
        assert_eq!(version(shown), Some("6.1.176-1"));
        assert_eq!(version("Package: x\n"), None);
    }
}
