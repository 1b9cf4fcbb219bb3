//! The machine that figures come from.

use std::fmt::{self, Display, Formatter};
use std::fs;

use serde::Serialize;

/// Kernel, processor and memory.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    memory: String,
}

impl Machine {
    /// Reads `/proc`.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let value = |file: &str, name: &str| {
            let text = fs::read_to_string(file)?;
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            anyhow::Ok(value.map_or_else(String::new, |(_, value)| value.trim().to_owned()))
        };
        Ok(Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .into(),
            processor: value("/proc/cpuinfo", "model name")?,
            processors: std::thread::available_parallelism()?.get(),
            memory: value("/proc/meminfo", "MemTotal")?,
        })
    }
}

impl Display for Machine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            processor,
            processors,
            memory,
        } = self;
        write!(
            formatter,
            "{processors} x {processor}, {memory}, Linux {kernel}"
        )
    }
}
