//! Log lines, to standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Default levels of single targets, unless the filter names them. The netlink library
/// warns about every attribute that newer kernels have made longer. The BPF programs log
/// only if `--kernel-log` says so, and then their lines should be seen.
const DEFAULTS: [(&str, &str); 2] = [("netlink_packet_route", "error"), ("headless_xdp", "debug")];

/// Starts logging. `filter` is a level, or targets with levels
/// (`info,headless_agent::watch=debug`).
pub fn init(filter: &str, format: Format) -> anyhow::Result<()> {
    let mut directives = EnvFilter::try_new(filter)?;
    for (target, level) in DEFAULTS {
        if !filter.contains(target) {
            directives = directives.add_directive(format!("{target}={level}").parse()?);
        }
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(io::stderr);
    let started = match format {
        Format::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
