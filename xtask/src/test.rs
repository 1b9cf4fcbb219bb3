//! `cargo xtask test`: every test, with the BPF objects, the peers and the
//! privileges that some of them need.

use crate::kernels::{self, Clock, Series};
use crate::peers::{self, Peer};
use crate::{apt, ebpf, exec};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The crate whose suites may need more than `cargo test` gives.
pub(crate) const CRATE: &str = "headless-tests";

/// Its feature for suites that make namespaces and load BPF programs.
pub(crate) const ROOT: &str = "root-tests";

/// Its feature for suites that run [`peers`] beside headless.
pub(crate) const PEERS: &str = "peers";

/// What suites with [`ROOT`] run: two C libraries' resolvers, and programs
/// that set up and look at links.
const LIVE_PACKAGES: [&str; 7] = [
    "busybox-static",
    "ethtool",
    "gcc",
    "iproute2",
    "libc6-dev",
    "musl-tools",
    "util-linux",
];

/// Options of `cargo xtask test`.
#[derive(clap::Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command are what they are"
)]
pub(crate) struct Options {
    /// Leave out the suites that need CoreDNS, etcd or an API server, which
    /// take 15 minutes to build the first time.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Leave out the suites that need root.
    #[arg(long)]
    pub(crate) no_root: bool,
    /// Run the suites that load programs on Debian's kernels instead, in
    /// virtual machines: 5.10, 6.1, 6.12, 7.x, or those that are named.
    #[arg(
        long, num_args = 0.., value_name = "VERSION", value_parser = Series::parse,
        conflicts_with_all = ["fast", "no_root", "arguments"],
    )]
    kernels: Option<Vec<Series>>,
    /// With --kernels, run this suite only; may be repeated.
    #[arg(long = "suite", value_name = "NAME", requires = "kernels")]
    suites: Vec<String>,
    /// With --kernels, let the machine's clock go on by one with each instruction: the
    /// suite `executed` then counts instructions.
    #[arg(long, requires = "kernels", conflicts_with = "update")]
    icount: bool,
    /// With --kernels, take what the verifiers count for the budget, and write
    /// tests/kernels/budget.yaml and docs/kernels.md.
    #[arg(long, requires = "kernels", conflicts_with = "suites")]
    update: bool,
    /// Passed to the test programs: a filter, `--nocapture`, ...
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

/// Runs the tests; fails when one fails or when suites had to be left out.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(series) = &options.kernels {
        let clock = if options.icount {
            Clock::Instructions
        } else {
            Clock::Time
        };
        let machines = kernels::prepare(series, clock)?;
        return kernels::run(machines, &options.suites, options.update);
    }
    let metadata = Metadata::read()?;
    let mut features = Vec::new();
    let mut left_out = Vec::new();
    if options.no_root {
        note(&metadata, ROOT, "--no-root");
    } else if exec::is_root() {
        features.push(ROOT);
        apt::ensure(&LIVE_PACKAGES)?;
    } else {
        left_out = metadata.suites(ROOT);
    }

    let mut environment = vec![("HEADLESS_BPF_DIR".to_owned(), exec::target().join("bpf"))];
    ebpf::build()?;
    if options.fast {
        note(&metadata, PEERS, "--fast");
    } else if metadata.runnable(PEERS, &features) {
        features.push(PEERS);
        for peer in peers::TESTED {
            environment.push((variable(peer), peers::path(peer)?));
        }
    }
    environment.push((
        "HEADLESS_AGENT".to_owned(),
        metadata.target.join("debug/headless-agent"),
    ));

    let mut features: Vec<_> = features
        .iter()
        .map(|name| [CRATE, "/", name].concat())
        .collect();
    if features.iter().any(|feature| feature.ends_with(ROOT)) {
        // The lab's own tests, which start this binary.
        features.push(["xtask/", ROOT].concat());
    }
    let features = features.join(",");
    let build = ["build", "--workspace", "--features", &features];
    exec::run(exec::cargo().args(build)).context("the workspace does not build")?;

    let mut command = exec::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(["--features", &features, "--"])
        .args(&options.arguments)
        .envs(environment);
    let start = Instant::now();
    let tally = Tally::of(&mut command)?;
    exec::progress(
        "test",
        &format!("{tally}, {}", exec::elapsed(start.elapsed())),
    );
    if !left_out.is_empty() {
        bail!(
            "not run, because they need root: {}; run `cargo xtask test` as root, or leave them \
             out with --no-root",
            left_out.join(", ")
        );
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// The variable that tells a suite where a peer is: `HEADLESS_COREDNS`,
/// `HEADLESS_ETCD`, `HEADLESS_KUBE_APISERVER`.
fn variable(peer: Peer) -> String {
    format!("HEADLESS_{}", peer.name().replace('-', "_").to_uppercase())
}

fn note(metadata: &Metadata, feature: &str, option: &str) {
    let suites = metadata.suites(feature);
    if !suites.is_empty() {
        exec::progress(
            "test",
            &format!("{option} leaves out {}", suites.join(", ")),
        );
    }
}

/// What cargo says of the workspace.
pub(crate) struct Metadata {
    /// Where cargo builds.
    target: PathBuf,
    /// The test programs of [`CRATE`] with the features each requires.
    suites: Vec<(String, Vec<String>)>,
}

impl Metadata {
    pub(crate) fn read() -> Result<Self> {
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let text = exec::output(exec::cargo().args(arguments))?;
        let json = serde_json::from_str(&text).context("cannot read cargo metadata")?;
        Self::parse(&json).context("cargo metadata lacks the test suites")
    }

    fn parse(json: &Value) -> Option<Self> {
        let package = json["packages"]
            .as_array()?
            .iter()
            .find(|package| package["name"] == CRATE)?;
        let mut suites = Vec::new();
        for target in package["targets"].as_array()? {
            if target["kind"][0] == "test" {
                let required = target["required-features"].as_array();
                let required = required.into_iter().flatten().filter_map(Value::as_str);
                suites.push((
                    target["name"].as_str()?.to_owned(),
                    required.map(str::to_owned).collect(),
                ));
            }
        }
        Some(Self {
            target: json["target_directory"].as_str()?.into(),
            suites,
        })
    }

    /// The suites that require the feature.
    pub(crate) fn suites(&self, feature: &str) -> Vec<&str> {
        self.suites
            .iter()
            .filter(|(_, required)| required.iter().any(|name| name == feature))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Whether, with these features on, the feature would add a suite.
    fn runnable(&self, feature: &str, on: &[&str]) -> bool {
        self.suites.iter().any(|(_, required)| {
            required.iter().any(|name| name == feature)
                && required
                    .iter()
                    .all(|name| name == feature || on.contains(&name.as_str()))
        })
    }
}

/// Tests counted from the result lines of the test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    failed: u64,
    ignored: u64,
    programs: u64,
}

impl Tally {
    /// Runs `cargo test`, shows what it writes and counts.
    fn of(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo test")?;
        let mut tally = Self::default();
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                let line = line.context("cannot read what cargo test writes")?;
                println!("{line}");
                tally.count(&line);
            }
        }
        let status = child.wait().context("cannot wait for cargo test")?;
        if !status.success() {
            bail!("cargo test failed: {status}; {tally}");
        }
        Ok(tally)
    }

    /// Adds `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub(crate) fn count(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.programs += 1;
        let parts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for part in parts.split("; ") {
            if let Some((number, what)) = part.split_once(' ')
                && let Ok(number) = number.parse::<u64>()
            {
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
            programs,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {ignored} ignored in {programs} programs"
        )
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::json;

    #[test]
    fn result_lines_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            tally.count(line);
        }
        assert_eq!(
            tally.to_string(),
            "4 passed, 2 failed, 1 ignored in 2 programs"
        );
    }

    #[test]
    fn suites_are_found_by_the_feature_they_require() {
        let metadata = Metadata::parse(&json!({
            "target_directory": "/t",
            "packages": [{"name": "other"}, {"name": "headless-tests", "targets": [
                {"name": "headless_tests", "kind": ["lib"], "required-features": ["root-tests"]},
                {"name": "wire", "kind": ["test"]},
                {"name": "netns", "kind": ["test"], "required-features": ["root-tests"]},
                {"name": "both", "kind": ["test"], "required-features": ["root-tests", "peers"]},
            ]}],
        }))
        .unwrap();
        assert_eq!(metadata.suites(ROOT), ["netns", "both"]);
        assert_eq!(metadata.suites(PEERS), ["both"]);
        assert!(metadata.runnable(PEERS, &[ROOT]));
        assert!(!metadata.runnable(PEERS, &[]));
        assert_eq!(metadata.target, PathBuf::from("/t"));
    }

    #[test]
    fn peers_have_variables() {
        assert_eq!(variable(Peer::KubeApiserver), "HEADLESS_KUBE_APISERVER");
    }
}
