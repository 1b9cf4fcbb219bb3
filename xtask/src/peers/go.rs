//! Builds one program with Go, and shows progress.

use crate::exec;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The first Go version that fetches the version in a go.mod by itself.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Time between two lines of progress of a long build.
const PROGRESS_EVERY: Duration = Duration::from_secs(20);

/// Lines of a failed build that are shown.
const LINES_SHOWN: usize = 40;

/// A package of a module, and how it becomes a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program<'a> {
    /// Name and version, for messages.
    pub(super) topic: &'a str,
    /// The folder of the go.mod.
    pub(super) module: &'a Path,
    pub(super) package: &'a str,
    pub(super) linker_flags: &'a str,
    /// Whether the program runs the package's tests, as `go test -c` makes it.
    pub(super) of_tests: bool,
}

/// Compiles the program to `output`.
///
/// # Errors
/// When Go is missing or too old, or the build fails. Then the end of Go's output is shown.
pub(super) fn build(program: Program<'_>, output: &Path) -> Result<()> {
    check_go()?;
    let Program { topic, package, .. } = program;
    exec::progress("peers", &format!("building {topic} (once; minutes)"));
    let start = Instant::now();
    let mut build = go(program, &["build", "-v"]);
    if !program.of_tests {
        build.arg("-o").arg(output);
    }
    watch(build.arg(package), topic, start)?;
    if program.of_tests {
        // `go test` shows no packages, so that the command before compiles nearly all.
        let mut tests = go(program, &["test", "-c"]);
        watch(tests.arg("-o").arg(output).arg(package), topic, start)?;
    }
    let elapsed = exec::elapsed(start.elapsed());
    exec::progress("peers", &format!("{topic} built in {elapsed}"));
    Ok(())
}

fn go(program: Program<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(program.module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .args(arguments)
        .args(["-trimpath", "-ldflags", program.linker_flags]);
    command
}

/// Runs Go, and prints a line of progress at times.
fn watch(command: &mut Command, topic: &str, start: Instant) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run go")?;
    let mut log = Log::default();
    if let Some(stderr) = child.stderr.take() {
        let mut reported = Instant::now();
        for line in BufReader::new(stderr).lines() {
            log.take(&line.context("cannot read what go writes")?);
            if reported.elapsed() >= PROGRESS_EVERY {
                reported = Instant::now();
                let elapsed = exec::elapsed(start.elapsed());
                exec::progress("peers", &format!("{topic}: {}, {elapsed}", log.summary()));
            }
        }
    }
    let status = child.wait().context("cannot wait for go")?;
    if !status.success() {
        for line in log.tail() {
            eprintln!("{line}");
        }
        bail!("cannot build {topic} with Go: {status}");
    }
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
    use super::*;

    #[test]
    fn go_versions_compare_by_number() {
        assert_eq!(go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9") < Some(OLDEST_GO));
        assert_eq!(go_version("devel"), None);
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
