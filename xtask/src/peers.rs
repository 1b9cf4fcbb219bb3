//! `cargo xtask peers`: builds the programs that tests run beside headless from Go modules.
//! `xtask/peers/*/go.mod` and `go.sum` pin the versions.

use crate::cache::{self, Entry};
use crate::exec;
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The first Go version that fetches the version in a go.mod by itself.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Time between two lines of progress of a long build.
const PROGRESS_EVERY: Duration = Duration::from_secs(20);

/// Lines of a failed build that are shown.
const LINES_SHOWN: usize = 40;

/// A program of somebody else that tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// `CoreDNS`, with which differential tests compare.
    Coredns,
    /// The API server's store.
    Etcd,
    /// The Kubernetes API server.
    KubeApiserver,
    /// The controllers, `EndpointSlice`'s among them.
    KubeControllerManager,
    /// The Kubernetes scheduler.
    KubeScheduler,
    /// The node agent of Kubernetes.
    Kubelet,
    /// The Service proxy of Kubernetes.
    KubeProxy,
    /// The command line client.
    Kubectl,
}

/// A value on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerArgument {
    All,
    One(Peer),
}

/// Options of `cargo xtask peers`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// coredns, etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet,
    /// kube-proxy, kubectl or all [default: the programs that tests need].
    #[arg(value_parser = selection)]
    peers: Vec<PeerArgument>,
}

/// The programs that tests need. The first build takes about 15 minutes on two cores.
pub(crate) const TESTED: [Peer; 3] = [Peer::Coredns, Peer::Etcd, Peer::KubeApiserver];

fn selection(name: &str) -> Result<PeerArgument, String> {
    if name == "all" {
        return Ok(PeerArgument::All);
    }
    Peer::from_str(name, false)
        .map(PeerArgument::One)
        .map_err(|_| {
            let names: Vec<_> = Peer::value_variants().iter().map(|p| p.name()).collect();
            format!("not one of {}, all", names.join(", "))
        })
}

/// Builds the selected programs and prints their paths.
pub(crate) fn run(options: &Options) -> Result<()> {
    let selected = if options.peers.is_empty() {
        TESTED.to_vec()
    } else if options.peers.contains(&PeerArgument::All) {
        Peer::value_variants().to_vec()
    } else {
        let one = |selection: &PeerArgument| match selection {
            PeerArgument::One(peer) => Some(*peer),
            PeerArgument::All => None,
        };
        options.peers.iter().filter_map(one).collect()
    };
    for peer in selected {
        println!("{}", path(peer)?.display());
    }
    Ok(())
}

/// The program's path. Builds the program if no cache has it.
///
/// # Errors
/// When Go is missing or too old, or the build fails.
pub(crate) fn path(peer: Peer) -> Result<PathBuf> {
    let module = exec::workspace().join("xtask/peers").join(peer.module());
    let key = peer.key(&module)?;
    Entry::new(peer.name(), &key)
        .get(Path::is_file, |folder| {
            build(peer, &module, &folder.join("bin").join(peer.name()))
        })
        .with_context(|| format!("cannot build {}", peer.name()))
}

impl Peer {
    /// The program's name, as on the command line and in the cache.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coredns => "coredns",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
        }
    }

    /// The folder of `xtask/peers` whose go.mod pins the program.
    fn module(self) -> &'static str {
        match self {
            Self::Coredns => "coredns",
            _ => "kubernetes",
        }
    }

    fn package(self) -> String {
        match self {
            Self::Coredns => ".".to_owned(),
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            other => format!("k8s.io/kubernetes/cmd/{}", other.name()),
        }
    }

    /// The Go module whose version in go.mod is the program's.
    fn required(self) -> &'static str {
        match self {
            Self::Coredns => "github.com/coredns/coredns",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            _ => "k8s.io/kubernetes",
        }
    }

    fn linker_flags(self, version: &str) -> String {
        let mut flags = "-s -w".to_owned();
        // Kubernetes learns its version from the linker; clients parse it.
        if self.required() == "k8s.io/kubernetes" {
            let mut numbers = version.trim_start_matches('v').split('.');
            let values = [
                ("gitVersion", version),
                ("gitMajor", numbers.next().unwrap_or_default()),
                ("gitMinor", numbers.next().unwrap_or_default()),
            ];
            for (name, value) in values {
                flags.push_str(" -X k8s.io/component-base/version.");
                flags.push_str(&[name, "=", value].concat());
            }
        }
        flags
    }

    /// The version, and a digest of everything that the build depends on.
    fn key(self, module: &Path) -> Result<String> {
        let mut parts = Vec::new();
        for name in ["go.mod", "go.sum", "main.go"] {
            let file = module.join(name);
            // The Kubernetes module consists of tools only.
            if name != "main.go" || file.exists() {
                parts.push(
                    fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
                );
            }
        }
        let version = self.version(module)?;
        parts.push(self.linker_flags(&version).into_bytes());
        let digest = cache::digest(parts.iter().map(Vec::as_slice));
        Ok(format!("{version}-{digest}"))
    }

    fn version(self, module: &Path) -> Result<String> {
        let file = module.join("go.mod");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        required_version(&text, self.required())
            .map(str::to_owned)
            .with_context(|| format!("{} does not require {}", file.display(), self.required()))
    }
}

/// The version that a go.mod requires of a module.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line
            .trim()
            .trim_start_matches("require ")
            .split_whitespace();
        (words.next()? == module)
            .then(|| words.next())
            .flatten()
            .filter(|version| version.starts_with('v'))
    })
}

/// Compiles one program to `output`, and prints a line of progress at times.
fn build(peer: Peer, module: &Path, output: &Path) -> Result<()> {
    check_go()?;
    let version = peer.version(module)?;
    let topic = format!("{} {version}", peer.name());
    exec::progress("peers", &format!("building {topic} (once; minutes)"));
    let start = Instant::now();
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .args(["build", "-v", "-trimpath", "-ldflags"])
        .arg(peer.linker_flags(&version))
        .arg("-o")
        .arg(output)
        .arg(peer.package());
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run go")?;
    let mut log = Log::default();
    if let Some(stderr) = child.stderr.take() {
        let mut reported = Instant::now();
        for line in BufReader::new(stderr).lines() {
            log.take(&line.context("cannot read what go build writes")?);
            if reported.elapsed() >= PROGRESS_EVERY {
                reported = Instant::now();
                let elapsed = exec::elapsed(start.elapsed());
                exec::progress("peers", &format!("{topic}: {}, {elapsed}", log.summary()));
            }
        }
    }
    let status = child.wait().context("cannot wait for go build")?;
    if !status.success() {
        for line in log.tail() {
            eprintln!("{line}");
        }
        bail!("go build {} failed: {status}", peer.package());
    }
    let elapsed = exec::elapsed(start.elapsed());
    exec::progress("peers", &format!("{topic} built in {elapsed}"));
    Ok(())
}

/// The output of `go build -v` so far.
#[derive(Debug, Default)]
struct Log {
    downloaded: usize,
    compiled: usize,
    rest: Vec<String>,
}

impl Log {
    fn take(&mut self, line: &str) {
        if line.starts_with("go: downloading ") {
            self.downloaded += 1;
        } else if line.contains(char::is_whitespace) {
            self.rest.push(line.to_owned());
        } else {
            // -v writes the bare path of each package it compiles.
            self.compiled += 1;
        }
    }

    fn summary(&self) -> String {
        let Self {
            downloaded,
            compiled,
            ..
        } = self;
        format!("{downloaded} modules fetched, {compiled} packages compiled")
    }

    fn tail(&self) -> &[String] {
        self.rest
            .get(self.rest.len().saturating_sub(LINES_SHOWN)..)
            .unwrap_or_default()
    }
}

fn check_go() -> Result<()> {
    let needed = "the tests against real CoreDNS and a real API server need Go 1.26, or any from \
                  1.21 on, which fetches it (https://go.dev/doc/install)";
    if exec::on_path("go").is_none() {
        bail!("go is not on PATH: {needed}");
    }
    // `go env GOVERSION` outside a module is the installed one's.
    let mut command = Command::new("go");
    command
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .current_dir("/");
    let version = exec::output(&mut command)?;
    match go_version(version.trim()) {
        Some(found) if found >= OLDEST_GO => Ok(()),
        _ => bail!("{} is too old: {needed}", version.trim()),
    }
}

/// Major and minor number of `go1.26.8` or `go1.27rc1`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .strip_prefix("go")?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn every_peer_is_pinned() {
        for peer in Peer::value_variants() {
            let module = exec::workspace().join("xtask/peers").join(peer.module());
            let key = peer.key(&module).unwrap();
            assert!(key.starts_with('v'), "{key}");
            let go_mod = fs::read_to_string(module.join("go.mod")).unwrap();
            if peer.module() == "kubernetes" {
                assert!(go_mod.contains(&format!("\t{}\n", peer.package())));
            }
        }
    }

    #[test]
    fn staging_modules_have_the_release_of_kubernetes() {
        let go_mod = exec::workspace().join("xtask/peers/kubernetes/go.mod");
        let go_mod = fs::read_to_string(go_mod).unwrap();
        let version = required_version(&go_mod, "k8s.io/kubernetes").unwrap();
        let staging = version.replacen("v1.", "v0.", 1);
        let (mut replaced, mut others) = (0, 0);
        for line in go_mod.lines().filter(|line| line.contains(" => ")) {
            if line.ends_with(&staging) {
                replaced += 1;
            } else {
                others += 1;
            }
        }
        assert!(replaced > 20);
        assert_eq!(others, 0);
    }

    #[test]
    fn versions_are_read_from_either_form_of_require() {
        let text = "module x\n\nrequire a.b/c v1.2.3\n\nrequire (\n\td.e/f/v3 v3.7.0\n\t\
                    d.e/f v1.0.0 // indirect\n)\n";
        assert_eq!(required_version(text, "a.b/c"), Some("v1.2.3"));
        assert_eq!(required_version(text, "d.e/f/v3"), Some("v3.7.0"));
        assert_eq!(required_version(text, "d.e/f"), Some("v1.0.0"));
        assert_eq!(required_version(text, "d.e"), None);
    }

    #[test]
    fn go_versions_compare_by_number() {
        assert_eq!(go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9") < Some(OLDEST_GO));
        assert_eq!(go_version("devel"), None);
    }

    #[test]
    fn kubernetes_is_told_its_version() {
        assert_eq!(
            Peer::KubeApiserver.linker_flags("v1.37.2"),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
             -X k8s.io/component-base/version.gitMajor=1 \
             -X k8s.io/component-base/version.gitMinor=37"
        );
        assert_eq!(Peer::Etcd.linker_flags("v3.7.0"), "-s -w");
    }

    #[test]
    fn a_failed_build_shows_what_is_not_progress() {
        let mut log = Log::default();
        for line in ["go: downloading a.b/c v1.2.3", "a.b/c", "x.go:1: no", "fmt"] {
            log.take(line);
        }
        assert_eq!(log.summary(), "1 modules fetched, 2 packages compiled");
        assert_eq!(log.tail(), ["x.go:1: no"]);
    }
}
