//! Describes the machine on which the figures were measured.

use std::fmt::{self, Display, Formatter};
use std::fs;

use anyhow::Result;
use serde::Serialize;

/// The machine, and how busy it was.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    /// Load averages of one, five and fifteen minutes before the first round.
    load_before: String,
    /// Load averages after the last round, which include the benchmark's own load.
    load_after: String,
}

impl Machine {
    /// Reads it from `/proc`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn read(load_before: String) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            kernel: release.trim().to_owned(),
            processor: processor(&processors).to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            load_before,
            load_after: load()?,
        })
    }
}

/// The load averages of one, five and fifteen minutes.
///
/// # Errors
/// Without `/proc`.
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// The model in the text of `/proc/cpuinfo`; empty where it has none.
fn processor(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("", |(_, value)| value.trim())
}

impl Display for Machine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            processor,
            processors,
            load_before,
            load_after,
        } = self;
        write!(
            formatter,
            "Linux {kernel}, {processors} CPUs of {processor}, \
             load before {load_before}, after {load_after}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_is_the_model() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC: x\n";
        assert_eq!(processor(text), "AMD EPYC: x");
        assert_eq!(processor(""), "");
    }
}
