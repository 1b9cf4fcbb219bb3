//! Options that choose among a few values for the data path and the logs.

use clap::ValueEnum;

use crate::datapath::{object, plan};
use crate::observe::log;

/// Where the kernel answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Hook {
    /// As `xdp`, with XDP lifted from an interface while its pod sends much
    #[default]
    Auto,
    /// XDP, and behind it tc for replies that XDP cannot make large enough
    Xdp,
    /// Only tc
    Tc,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// In the network stack, before tc: right for veths
    #[default]
    Generic,
    /// In the driver: for physical interfaces, refused on veths
    Native,
}

/// How the tc program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TcMode {
    /// By tcx where the kernel has it, else by clsact
    #[default]
    Auto,
    /// By a link, before other tc programs, from kernel 6.6
    Tcx,
    /// By a filter of the clsact qdisc
    Clsact,
}

/// What the programs log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KernelLog {
    /// Nothing, at no cost: the verifier removes the code
    #[default]
    Off,
    /// Answers
    Info,
    /// Answers and passes
    Debug,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl From<Hook> for plan::Hook {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Auto => Self::Auto,
            Hook::Xdp => Self::Xdp,
            Hook::Tc => Self::Tc,
        }
    }
}

impl From<XdpMode> for plan::XdpMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Generic => Self::Generic,
            XdpMode::Native => Self::Native,
        }
    }
}

impl From<TcMode> for plan::TcMode {
    fn from(mode: TcMode) -> Self {
        match mode {
            TcMode::Auto => Self::Auto,
            TcMode::Tcx => Self::Tcx,
            TcMode::Clsact => Self::Clsact,
        }
    }
}

impl From<KernelLog> for object::KernelLog {
    fn from(log: KernelLog) -> Self {
        match log {
            KernelLog::Off => Self::Off,
            KernelLog::Info => Self::Info,
            KernelLog::Debug => Self::Debug,
        }
    }
}

impl From<LogFormat> for log::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}
