//! Checks, one line each: what, expected, found.

use std::fmt::Display;

use anyhow::{Result, ensure};

use crate::exec;

/// The results of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// Shows which part begins.
    pub(super) fn part(title: &str) {
        println!("\n== {title}");
    }

    /// Shows a figure, which never fails.
    pub(super) fn figure(what: &str, value: impl Display) {
        println!("      {what}: {value}");
    }

    /// Checks that `found` is as expected. An error is a failed check.
    pub(super) fn equal<T: Display + PartialEq>(
        &mut self,
        what: &str,
        expected: &T,
        found: Result<T>,
    ) {
        let (passed, found) = match found {
            Ok(found) => (found == *expected, found.to_string()),
            Err(error) => (false, format!("{error:#}")),
        };
        self.line(passed, what, &expected.to_string(), &found);
    }

    /// Checks that `found` is accepted; `expected` says what is.
    pub(super) fn holds<T: Display>(
        &mut self,
        what: &str,
        expected: &str,
        found: Result<T>,
        accepted: impl FnOnce(&T) -> bool,
    ) {
        let (passed, found) = match found {
            Ok(found) => (accepted(&found), found.to_string()),
            Err(error) => (false, format!("{error:#}")),
        };
        self.line(passed, what, expected, &found);
    }

    fn line(&mut self, passed: bool, what: &str, expected: &str, found: &str) {
        println!("{}", line(passed, what, expected, found));
        if passed {
            self.passed += 1;
        } else {
            self.failed.push(what.to_owned());
        }
    }

    /// Shows the sum.
    ///
    /// # Errors
    /// When a check has failed. The message names the failed checks.
    pub(super) fn end(self) -> Result<()> {
        let count = self.passed + self.failed.len();
        exec::progress(
            "cluster",
            &format!("{} of {count} checks passed", self.passed),
        );
        ensure!(self.failed.is_empty(), "failed: {}", self.failed.join("; "));
        ensure!(count > 0, "nothing was checked");
        Ok(())
    }
}

fn line(passed: bool, what: &str, expected: &str, found: &str) -> String {
    if passed && expected == found {
        format!("ok    {what}: {found}")
    } else {
        let word = if passed { "ok  " } else { "FAIL" };
        format!("{word}  {what}: expected {expected}, found {found}")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_failed_check_is_named_at_the_end() {
        let mut report = Report::default();
        report.equal("a", &1, Ok(1));
        report.equal("b", &1, Ok(2));
        report.holds("c", "some", Err::<u8, _>(anyhow!("none")), |_| true);
        let error = report.end().unwrap_err().to_string();
        assert_eq!(error, "failed: b; c");
        assert!(Report::default().end().is_err());
    }

    #[test]
    fn a_line_has_both_values_where_they_differ() {
        assert_eq!(line(true, "a", "1", "1"), "ok    a: 1");
        assert_eq!(
            line(true, "a", "> 0", "1"),
            "ok    a: expected > 0, found 1"
        );
        assert_eq!(line(false, "a", "1", "2"), "FAIL  a: expected 1, found 2");
    }
}
