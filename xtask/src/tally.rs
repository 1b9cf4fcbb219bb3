//! Tests counted from the output of test programs.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Tests counted from the result lines of the test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    failed: u64,
    ignored: u64,
    programs: u64,
}

impl Tally {
    /// Runs `cargo test`, shows its output and counts.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
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
    use super::*;

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
}
