//! `cargo xtask cluster conformance`: Kubernetes's own end-to-end tests of DNS, with headless in
//! the cluster.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::deploy::Deployment;
use super::images::{self, Image};
use super::options::AgentArgs;
use super::place;
use super::report::Report;
use super::session::Session;
use crate::exec;
use crate::peers::{self, Peer};

/// The specs of the suite that are about DNS: 17 in Kubernetes 1.37. Specs of features that are
/// off by default are left out, and the specs that rewrite the Corefile, of which each waits
/// minutes for `CoreDNS` to read it.
const FOCUS: &str = r"\[sig-network\] DNS ";
const SKIP: &str = "Feature:|configMap";
const SPECS: u32 = 17;

/// The least part of the queries in the zone that the kernel answers, in percent. Names of
/// ExternalName Services lead out of the zone, and one spec asks for them until they change.
const SHARE_MIN: f64 = 95.0;

/// The suite of DNS takes five minutes.
const TIMEOUT: &str = "20m";

/// Deploys headless, runs the suite and removes headless.
///
/// # Errors
/// When a part cannot be built, or a spec fails.
pub(super) fn run(session: &Session, agent: &AgentArgs) -> Result<()> {
    let mut report = Report::default();
    let suite = peers::path(Peer::E2eTest)?;
    for image in suite_images(&suite)? {
        session.import(&image.name, &image.build()?)?;
    }
    exec::progress("cluster", "building and deploying headless");
    Deployment::clean(session)?;
    let deployment = Deployment::new(session, agent)?;
    let before = deployment.verdicts()?;
    Report::part("Kubernetes's tests of DNS");
    let summary = run_suite(session, &suite)?;
    let verdicts = deployment.verdicts()?.since(&before);
    let expected = Summary {
        passed: SPECS,
        failed: 0,
    };
    report.equal("specs", &expected, Ok(summary));
    Report::figure("packets for port 53", &verdicts);
    let share = Ok(format!("{:.1} %", verdicts.share()));
    let enough = |_: &String| verdicts.share() >= SHARE_MIN;
    let expected = format!("{SHARE_MIN} % or more");
    let what = "the kernel's share of queries in the zone over UDP";
    report.holds(what, &expected, share, enough);
    deployment.delete()?;
    report.end()
}

/// The images that the specs use, by the names that the suite has for them.
fn suite_images(suite: &Path) -> Result<Vec<Image>> {
    let listing = exec::output(Command::new(suite).arg("--list-images"))?;
    let busybox = PathBuf::from(images::BUSYBOX);
    let agnhost = peers::path(Peer::Agnhost)?;
    let coredns = peers::path(Peer::Coredns)?;
    let debian = images::debian()?;
    let mut found = Vec::new();
    for title in ["agnhost", "glibc-dns-testing", "busybox", "pause"] {
        let name =
            newest(&listing, title).with_context(|| format!("the suite names no image {title}"))?;
        let mut image = match title {
            "agnhost" => {
                let mut image = Image::of(name, &agnhost, "/agnhost");
                // One spec runs it as a pod's own name server.
                image.files.push((coredns.clone(), "/coredns".to_owned()));
                image.arguments = vec!["pause"];
                image.base = Some(debian.clone());
                image
            }
            "glibc-dns-testing" => Image {
                files: Vec::new(),
                entrypoint: vec!["/bin/sh"],
                base: Some(debian.clone()),
                ..Image::of(name, &agnhost, "/agnhost")
            },
            "busybox" => images::busybox(&busybox),
            _ => images::pause(&busybox),
        };
        name.clone_into(&mut image.name);
        found.push(image);
    }
    Ok(found)
}

/// The full name of an image with its highest version.
fn newest<'a>(listing: &'a str, title: &str) -> Option<&'a str> {
    let named = listing.lines().map(str::trim).filter_map(|name| {
        let (found, version) = name.rsplit('/').next()?.split_once(':')?;
        let numbers = version.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<u32> = numbers.filter_map(|number| number.parse().ok()).collect();
        (found == title).then_some((numbers, name))
    });
    named.max().map(|(_, name)| name)
}

/// Runs the suite in the node's network namespace, and shows each spec as it ends.
fn run_suite(session: &Session, suite: &Path) -> Result<Summary> {
    let run = place::run_folder();
    let file = place::logs().join("e2e.log");
    let mut log = File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
    let mut command = session.on_node(suite);
    let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
    command
        .current_dir(&run)
        .args(["--provider=skeleton", "--ginkgo.no-color", "--ginkgo.v"])
        .arg(option("kubeconfig", &run.join("admin.conf")))
        .arg(option("kubectl-path", &peers::path(Peer::Kubectl)?))
        .arg(format!("--ginkgo.focus={FOCUS}"))
        .arg(format!("--ginkgo.skip={SKIP}"))
        .arg(format!("--ginkgo.timeout={TIMEOUT}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    let start = Instant::now();
    let mut child = command.spawn().context("cannot run e2e.test")?;
    let output = child.stdout.take().context("e2e.test has no output")?;
    let mut summary = None;
    let mut ended = 0;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the output of e2e.test")?;
        writeln!(log, "{line}")?;
        if line.starts_with("• [") {
            ended += 1;
            let elapsed = exec::elapsed(start.elapsed());
            exec::progress("cluster", &format!("{ended} of {SPECS} specs, {elapsed}"));
        }
        if line.contains("[FAIL]") {
            exec::progress("cluster", line.trim());
        }
        summary = Summary::parse(&line).or(summary);
    }
    let status = child.wait()?;
    match summary {
        Some(summary) => Ok(summary),
        None => bail!(
            "e2e.test ended without a summary ({status}); {}",
            place::log_tail("e2e")
        ),
    }
}

/// How many specs passed and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summary {
    passed: u32,
    failed: u32,
}

impl Summary {
    /// Reads ginkgo's line: `SUCCESS! -- 17 Passed | 0 Failed | 0 Pending | 7000 Skipped`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.split_once(" -- ")?;
        let count = |what: &str| {
            let part = counts.split('|').find(|part| part.trim().ends_with(what))?;
            part.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            passed: count("Passed")?,
            failed: count("Failed")?,
        })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let line = "FAIL! -- 16 Passed | 1 Failed | 0 Pending | 7105 Skipped";
        let expected = Summary {
            passed: 16,
            failed: 1,
        };
        assert_eq!(Summary::parse(line), Some(expected));
        assert_eq!(Summary::parse("a -- b"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        let listing = "r.example/e/agnhost:2.9\nr.example/e/agnhost:2.66.1\nr.example/p:3\n";
        assert_eq!(
            newest(listing, "agnhost"),
            Some("r.example/e/agnhost:2.66.1")
        );
        assert_eq!(newest(listing, "busybox"), None);
    }
}
