//! `cargo xtask peers`: builds the programs that tests run beside headless from Go modules.
//! `xtask/peers/*/go.mod` and `go.sum` pin the versions.

mod go;

use crate::cache::{self, Entry};
use crate::exec;
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use go::Program;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// Kubernetes's end-to-end suite.
    #[value(name = "e2e.test")]
    E2eTest,
    /// The program of the suite's pods.
    Agnhost,
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
    /// kube-proxy, kubectl, e2e.test, agnhost or all [default: the programs that tests need].
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
            let version = peer.version(&module)?;
            let program = Program {
                topic: &format!("{} {version}", peer.name()),
                module: &module,
                package: &peer.package(),
                linker_flags: &peer.linker_flags(&version),
                of_tests: peer == Peer::E2eTest,
            };
            go::build(program, &folder.join("bin").join(peer.name()))
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
            Self::E2eTest => "e2e.test",
            Self::Agnhost => "agnhost",
        }
    }

    /// The folder of `xtask/peers` whose go.mod pins the program.
    fn module(self) -> &'static str {
        match self {
            Self::Coredns => "coredns",
            Self::E2eTest | Self::Agnhost => "e2e",
            _ => "kubernetes",
        }
    }

    fn package(self) -> String {
        match self {
            Self::Coredns => ".".to_owned(),
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::E2eTest => "k8s.io/kubernetes/test/e2e".to_owned(),
            Self::Agnhost => "k8s.io/kubernetes/test/images/agnhost".to_owned(),
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
            match peer {
                Peer::Coredns => {}
                Peer::E2eTest => {
                    let source = fs::read_to_string(module.join("e2e.go")).unwrap();
                    assert!(source.contains(&format!("_ \"{}\"", peer.package())));
                }
                tool => assert!(go_mod.contains(&format!("{}\n", tool.package()))),
            }
        }
    }

    #[test]
    fn staging_modules_have_the_release_of_kubernetes() {
        let mut versions = Vec::new();
        for module in ["kubernetes", "e2e"] {
            let go_mod = exec::workspace()
                .join("xtask/peers")
                .join(module)
                .join("go.mod");
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
            versions.push(version.to_owned());
        }
        // A client, its suite and its server are of one release.
        assert_eq!(versions.first(), versions.last());
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
    fn kubernetes_is_told_its_version() {
        assert_eq!(
            Peer::KubeApiserver.linker_flags("v1.37.2"),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
             -X k8s.io/component-base/version.gitMajor=1 \
             -X k8s.io/component-base/version.gitMinor=37"
        );
        assert_eq!(Peer::Etcd.linker_flags("v3.7.0"), "-s -w");
    }
}
