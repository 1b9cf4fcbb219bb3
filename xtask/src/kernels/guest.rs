//! Boots a kernel in a virtual machine without a disk, and reads the results of suites from the
//! machine's serial line.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::script::MARK;
use crate::exec;
use crate::tally::Tally;

/// The program that runs machines.
const EMULATOR: &str = "qemu-system-x86_64";

/// A machine without output for this long has hung. The longest tests take a minute or two
/// when nothing else runs.
const SILENCE_MAX: Duration = Duration::from_mins(20);

/// The longest life of a machine.
const LIFE_MAX: Duration = Duration::from_hours(2);

/// The begin of a line with a program's name and the number of instructions that the
/// verifier looked at. The suite `verifier` writes such lines.
const VERIFIED: &str = "verified: ";

/// The result of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suite {
    /// Its tests.
    pub(crate) tally: Tally,
    /// Its exit status; `None` if it did not end.
    pub(crate) status: Option<i32>,
}

/// The result of a machine, read from its output.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The release of the running kernel.
    pub(crate) release: Option<String>,
    /// Number of instructions that the verifier looked at, by program.
    pub(crate) verified: BTreeMap<String, u32>,
    /// The results of the suites with their names, in the order in which they ran.
    pub(crate) suites: Vec<(String, Suite)>,
    /// Other failures.
    pub(crate) problems: Vec<String>,
    /// Whether the script reached its end.
    pub(crate) is_done: bool,
}

impl Report {
    fn line(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix(MARK) {
            let (what, of) = said.split_once(' ').unwrap_or((said, ""));
            match (what, self.suites.last_mut()) {
                ("release", _) => self.release = Some(of.to_owned()),
                ("suite", _) => self.suites.push((of.to_owned(), Suite::default())),
                ("end", Some((_, suite))) => suite.status = of.parse().ok(),
                ("splat", _) => self.problems.push(format!("the kernel logged: {of}")),
                ("done", _) => self.is_done = true,
                _ => self.problems.push(said.to_owned()),
            }
            return;
        }
        if line.contains("Kernel panic - not syncing") {
            self.problems.push(line.to_owned());
        }
        // libtest writes the test's name before the count, without a line break.
        if let Some((_, verified)) = line.split_once(VERIFIED)
            && let Some((program, count)) = verified.split_once(' ')
            && let Ok(count) = count.parse()
        {
            self.verified.insert(program.to_owned(), count);
        }
        if let Some((_, suite)) = self.suites.last_mut() {
            suite.tally.count(line);
        }
    }

    /// The last known place of the machine in the script.
    fn at(&self) -> String {
        match self.suites.last() {
            Some((name, suite)) if suite.status.is_none() => format!("in suite {name}"),
            Some((name, _)) => format!("after suite {name}"),
            None => "before the first suite".to_owned(),
        }
    }

    /// All failures.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = self.problems.clone();
        for (name, suite) in &self.suites {
            match suite.status {
                Some(0) if suite.tally.passed > 0 => {}
                Some(0) => failures.push(format!("suite {name} ran no test")),
                Some(status) => failures.push(format!(
                    "suite {name} failed: exit status {status}, {}",
                    suite.tally
                )),
                None => failures.push(format!("suite {name} did not end")),
            }
        }
        if !self.is_done {
            failures.push(format!("the machine ended {}", self.at()));
        }
        failures
    }

    /// Number of suites that passed.
    pub(crate) fn passed(&self) -> usize {
        let passed = |suite: &Suite| suite.status == Some(0) && suite.tally.passed > 0;
        self.suites.iter().filter(|(_, it)| passed(it)).count()
    }

    /// Number of tests that passed.
    pub(crate) fn tests(&self) -> u64 {
        self.suites
            .iter()
            .map(|(_, suite)| suite.tally.passed)
            .sum()
    }
}

/// A running machine, which ends when this is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when the machine has ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The source of a machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's time.
    Time,
    /// Each instruction advances it by a nanosecond.
    Instructions,
}

/// Boots a kernel with a root file system, shows its output with `name` before each line,
/// and waits for its end.
///
/// # Errors
/// When the emulator does not start. Failures of the machine are in the report.
pub(crate) fn boot(name: &str, kernel: &Path, image: &Path, clock: Clock) -> Result<Report> {
    let clock: &[&str] = match clock {
        Clock::Time => &[],
        Clock::Instructions => &["-icount", "shift=0,sleep=off"],
    };
    // An oops ends the machine, by way of a panic and -no-reboot. One CPU: with
    // more, TCG's threads made one boot in 25 fail in the kernel's clocks.
    let mut machine = Command::new(EMULATOR)
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024"])
        .args([
            "-nodefaults",
            "-nographic",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", "console=ttyS0 panic=-1 oops=panic quiet"])
        .args(clock)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map(Machine)
        .with_context(|| format!("cannot run {EMULATOR}"))?;
    let mut serial = machine.0.stdout.take().context("no serial line")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = serial.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut report = Report::default();
    listen(name, &receiver, &mut report);
    Ok(report)
}

/// Reads the serial line to its end, or until the machine has hung.
fn listen(name: &str, serial: &Receiver<Vec<u8>>, report: &mut Report) {
    let end = Instant::now() + LIFE_MAX;
    let mut rest = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match serial.recv_timeout(SILENCE_MAX.min(left)) {
            Ok(chunk) => rest.extend(chunk),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let why = if left < SILENCE_MAX {
                    format!("still runs after {}", exec::elapsed(LIFE_MAX))
                } else {
                    format!("said nothing for {}", exec::elapsed(SILENCE_MAX))
                };
                let last = readable(&rest);
                report
                    .problems
                    .push(format!("the machine {why}, {}: {last}", report.at()));
                return;
            }
        }
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            let line = readable(&line);
            if !line.is_empty() {
                println!("{name}: {line}");
            }
            report.line(&line);
        }
    }
}

/// A line without the firmware's terminal codes.
fn readable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut text = String::new();
    let mut characters = line.trim_end().chars();
    while let Some(character) = characters.next() {
        match character {
            // ESC c resets, ESC [ ... LETTER is everything else.
            '\x1b' => {
                if characters.next() == Some('[') {
                    characters.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            character if character.is_control() && character != '\t' => {}
            character => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.line(line);
        }
        report
    }

    const OK: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured";

    #[test]
    fn a_good_run_is_a_success() {
        let report = report(&[
            "xtask: release 5.10.0-32-cloud-amd64",
            "xtask: suite verifier",
            "test programs_load ... verified: headless_xdp 110398",
            "verified: reflect 76",
            OK,
            "xtask: end 0",
            "xtask: done",
        ]);
        assert_eq!(report.failures(), [""; 0]);
        assert_eq!(report.release.as_deref(), Some("5.10.0-32-cloud-amd64"));
        assert_eq!(report.verified["headless_xdp"], 110_398);
        assert_eq!(report.verified["reflect"], 76);
        assert_eq!((report.passed(), report.tests()), (1, 2));
    }

    #[test]
    fn what_goes_wrong_is_named() {
        let failures = |lines: &[&str]| report(lines).failures().join("\n");
        let failed = failures(&[
            "xtask: suite golden",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored",
            "xtask: end 101",
            "xtask: done",
        ]);
        assert!(failed.contains("suite golden failed"), "{failed}");
        let empty = failures(&["xtask: suite a", "xtask: end 0", "xtask: done"]);
        assert!(empty.contains("suite a ran no test"), "{empty}");
        let panic = failures(&[
            "xtask: suite golden",
            OK,
            "xtask: end 0",
            "xtask: suite prog_run",
            "[    9.1] Kernel panic - not syncing: Fatal exception in interrupt",
        ]);
        assert!(panic.contains("Fatal exception"), "{panic}");
        assert!(panic.contains("suite prog_run did not end"), "{panic}");
        let silent = failures(&[]);
        assert!(silent.contains("before the first suite"), "{silent}");
        let splat = failures(&["xtask: splat [ 1.0] WARNING: CPU: 0", "xtask: done"]);
        assert!(splat.contains("the kernel logged"), "{splat}");
        let module = failures(&["xtask: no module veth", "xtask: done"]);
        assert!(module.contains("no module"), "{module}");
    }

    #[test]
    fn the_firmwares_terminal_codes_are_left_out() {
        let line = b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16)\r\n";
        assert_eq!(readable(line), "SeaBIOS (version 1.16)");
    }
}
