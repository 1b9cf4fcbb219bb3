//! The workspace's packages, as cargo sees them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::exec;

/// The part of `cargo metadata` that is read here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) targets: Vec<Target>,
}

/// A library, a program or a test program of a package.
#[derive(Debug, Deserialize)]
#[serde(from = "CargoTarget")]
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, ...
    pub(crate) kind: String,
    /// The root of its sources.
    pub(crate) file: PathBuf,
    /// Features without which cargo leaves it out.
    pub(crate) required_features: Vec<String>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
    #[serde(default, rename = "required-features")]
    required_features: Vec<String>,
}

impl From<CargoTarget> for Target {
    fn from(target: CargoTarget) -> Self {
        Self {
            name: target.name,
            kind: target.kind.into_iter().next().unwrap_or_default(),
            file: target.src_path,
            required_features: target.required_features,
        }
    }
}

fn metadata() -> Result<Metadata> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let text = exec::output(exec::cargo().args(arguments))?;
    serde_json::from_str(&text).context("cannot read cargo metadata")
}

/// The packages of the workspace.
///
/// # Errors
/// When cargo cannot read a manifest.
pub(crate) fn packages() -> Result<Vec<Package>> {
    Ok(metadata()?.packages)
}

/// The crate whose suites may need more than `cargo test` gives.
pub(crate) const CRATE: &str = "headless-tests";

/// Its feature for suites that make namespaces and load BPF programs.
pub(crate) const ROOT: &str = "root-tests";

/// Its feature for suites that run the programs of `cargo xtask peers`.
pub(crate) const PEERS: &str = "peers";

/// All features of tests: what `cargo xtask test` builds where everything can run. Two
/// commands that build with the same features build once. The agent's `jemalloc` is left
/// out: it is minutes of C for one line.
pub(crate) const FEATURES: &str = "headless-tests/root-tests,headless-tests/peers,xtask/root-tests";

/// The test programs of [`CRATE`].
#[derive(Debug)]
pub(crate) struct Suites {
    suites: Vec<Target>,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

impl Suites {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo cannot read a manifest, or there is no such crate.
    pub(crate) fn read() -> Result<Self> {
        Self::of(metadata()?)
    }

    fn of(metadata: Metadata) -> Result<Self> {
        let mut packages = metadata.packages.into_iter();
        let package = packages.find(|package| package.name == CRATE);
        let package = package.with_context(|| format!("no package {CRATE}"))?;
        let targets = package.targets.into_iter();
        Ok(Self {
            suites: targets.filter(|target| target.kind == "test").collect(),
            target: metadata.target_directory,
        })
    }

    /// Names of the suites that require the feature.
    pub(crate) fn requiring(&self, feature: &str) -> Vec<&str> {
        let suites = self.suites.iter().filter(|suite| suite.requires(feature));
        suites.map(|suite| suite.name.as_str()).collect()
    }

    /// Whether, with these features on, the feature would add a suite.
    pub(crate) fn runnable(&self, feature: &str, on: &[&str]) -> bool {
        self.suites.iter().any(|suite| {
            let mut required = suite.required_features.iter();
            suite.requires(feature)
                && required.all(|name| name == feature || on.contains(&name.as_str()))
        })
    }
}

impl Target {
    fn requires(&self, feature: &str) -> bool {
        self.required_features.iter().any(|name| name == feature)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    /// The crates that a package needs, each with its features, as lines of text by name.
    fn crates_of(package: &str) -> BTreeMap<String, BTreeSet<String>> {
        let arguments = [
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p} {f}",
            "--package",
            package,
        ];
        let text = exec::output(exec::cargo().args(arguments)).unwrap();
        let mut crates = BTreeMap::<_, BTreeSet<_>>::new();
        for line in text.lines() {
            let line = line.trim_end_matches(" (*)");
            let mut words = line.splitn(3, ' ');
            let name = [words.next().unwrap(), " ", words.next().unwrap()].concat();
            let features = words.next().unwrap_or_default().to_owned();
            crates.entry(name).or_default().insert(features);
        }
        crates
    }

    #[test]
    fn the_tasks_and_the_agent_build_each_crate_with_the_same_features() {
        let [tasks, agent] = ["xtask", "headless-agent"].map(crates_of);
        let mut shared = 0;
        for (name, features) in &tasks {
            let Some(others) = agent.get(name) else {
                continue;
            };
            // Only the tasks read Rust outside of macros.
            let own = name.starts_with("syn v2") || name.starts_with("proc-macro2 ");
            assert!(
                features.difference(others).count() <= usize::from(own),
                "{name} is built twice: with {features:?} for xtask, {others:?} for the agent; \
                 let xtask/Cargo.toml ask for the agent's features"
            );
            shared += 1;
        }
        assert!(shared > 100, "{shared} crates");
    }

    #[test]
    fn suites_are_found_by_the_feature_they_require() {
        let target = |name: &str, kind: &str, required: &[&str]| json!({"name": name, "kind": [kind], "src_path": "/x", "required-features": required});
        let metadata = json!({"target_directory": "/t", "packages": [
            {"name": "other", "targets": []},
            {"name": "headless-tests", "targets": [
                target("headless_tests", "lib", &["root-tests"]),
                {"name": "wire", "kind": ["test"], "src_path": "/x"},
                target("netns", "test", &["root-tests"]),
                target("both", "test", &["root-tests", "peers"]),
            ]},
        ]});
        let suites = Suites::of(serde_json::from_value(metadata).unwrap()).unwrap();
        assert_eq!(suites.requiring(ROOT), ["netns", "both"]);
        assert_eq!(suites.requiring(PEERS), ["both"]);
        assert!(suites.runnable(PEERS, &[ROOT]));
        assert!(!suites.runnable(PEERS, &[]));
        assert_eq!(suites.target, Path::new("/t"));
    }
}
