//! The demo's output, with colours on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    coloured: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            coloured: io::stdout().is_terminal(),
        }
    }

    /// Begins a part.
    pub(crate) fn heading(self, text: &str) -> Result<()> {
        self.line("", "")?;
        self.line(BOLD, &format!("== {text}"))
    }

    /// Shows a command as one would type it in the pod.
    pub(crate) fn command(self, pod: &str, line: &str) -> Result<()> {
        self.line(BOLD, &format!("{pod}$ {line}"))
    }

    /// Shows a command's output.
    pub(crate) fn output(self, text: &str) -> Result<()> {
        for line in text.lines() {
            self.line("", &format!("  {line}"))?;
        }
        Ok(())
    }

    /// Says that a check has passed.
    pub(crate) fn verified(self, text: &str) -> Result<()> {
        self.line(GREEN, &format!("  ok: {text}"))
    }

    /// Shows a remark.
    pub(crate) fn note(self, text: &str) -> Result<()> {
        self.line(DIM, &format!("  {text}"))
    }

    fn line(self, style: &str, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.coloured && !style.is_empty() {
            writeln!(out, "{style}{text}{PLAIN}")?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(out.flush()?)
    }
}
