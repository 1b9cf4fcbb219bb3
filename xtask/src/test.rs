//! `cargo xtask test`: runs all tests, with the BPF objects, peers and privileges that some
//! tests need.

use crate::kernels::{self, Clock, Series};
use crate::peers::{self, Peer};
use crate::tally::Tally;
use crate::workspace::{CRATE, PEERS, ROOT, Suites};
use crate::{apt, clients, ebpf, exec};
use anyhow::{Context as _, Result, bail};
use std::time::Instant;

/// Debian's packages for suites with [`ROOT`]: resolvers of two C libraries, and programs
/// that set up and show links.
const LIVE_PACKAGES: [&str; 8] = [
    "busybox-static",
    "ethtool",
    "gcc",
    "iproute2",
    "libc6-dev",
    "musl-tools",
    "nftables",
    "util-linux",
];

/// Options of `cargo xtask test`.
#[derive(clap::Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command are what they are"
)]
pub(crate) struct Options {
    /// Leave out the suites that need CoreDNS, etcd or an API server. Building these takes
    /// 15 minutes the first time.
    #[arg(long)]
    pub(crate) fast: bool,
    /// Leave out the suites that need root.
    #[arg(long)]
    pub(crate) no_root: bool,
    /// Ask by more clients in the suite `clients`: of Go, Java, Node and Python, curl with c-ares
    /// and Envoy. Downloads 60 MB the first time.
    #[arg(long, conflicts_with_all = ["fast", "no_root", "kernels"])]
    clients: bool,
    /// Run the suites that load programs on Debian's kernels instead, in virtual machines
    /// [default: 5.10, 6.1, 6.12 and 7.x].
    #[arg(
        long, num_args = 0.., value_name = "VERSION", value_parser = Series::parse,
        conflicts_with_all = ["fast", "no_root", "arguments"],
    )]
    kernels: Option<Vec<Series>>,
    /// With --kernels, run this suite only; may be repeated.
    #[arg(long = "suite", value_name = "NAME", requires = "kernels")]
    suites: Vec<String>,
    /// With --kernels, let the machine's clock advance by a nanosecond with each
    /// instruction. The suite `executed` then counts instructions.
    #[arg(long, requires = "kernels", conflicts_with = "update")]
    icount: bool,
    /// With --kernels, make the verifiers' counts the new budget: write
    /// tests/kernels/budget.yaml and docs/kernels.md.
    #[arg(long, requires = "kernels", conflicts_with = "suites")]
    update: bool,
    /// Arguments for the test programs: a filter, `--nocapture`, ...
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

/// Runs the tests. Fails when a test fails, or when suites were left out that no option
/// leaves out.
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
    let suites = Suites::read()?;
    let mut environment = vec![("HEADLESS_BPF_DIR".to_owned(), exec::target().join("bpf"))];
    let mut features = Vec::new();
    let mut left_out = Vec::new();
    if options.no_root {
        note(&suites, ROOT, "--no-root");
    } else if exec::is_root() {
        features.push(ROOT);
        apt::ensure(&LIVE_PACKAGES)?;
        if !options.fast {
            environment.extend(clients::environment(options.clients)?);
        }
    } else {
        left_out = suites.requiring(ROOT);
    }

    ebpf::build()?;
    if options.fast {
        note(&suites, PEERS, "--fast");
    } else if suites.runnable(PEERS, &features) {
        features.push(PEERS);
        for peer in peers::TESTED {
            environment.push((variable(peer), peers::path(peer)?));
        }
    }
    environment.push((
        "HEADLESS_AGENT".to_owned(),
        suites.target.join("debug/headless-agent"),
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

/// The environment variable with a peer's path: `HEADLESS_COREDNS`, `HEADLESS_ETCD`,
/// `HEADLESS_KUBE_APISERVER`.
fn variable(peer: Peer) -> String {
    format!("HEADLESS_{}", peer.name().replace('-', "_").to_uppercase())
}

fn note(suites: &Suites, feature: &str, option: &str) {
    let suites = suites.requiring(feature);
    if !suites.is_empty() {
        exec::progress(
            "test",
            &format!("{option} leaves out {}", suites.join(", ")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_have_variables() {
        assert_eq!(variable(Peer::KubeApiserver), "HEADLESS_KUBE_APISERVER");
    }
}
