//! Options that choose the pods whose questions are answered.

use clap::{Args, ValueEnum};

use crate::policy;

/// Which pods are answered.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// Whether pods of this node are answered
    #[arg(long, env = "HEADLESS_MODE", value_enum, default_value_t)]
    pub mode: Mode,
}

/// Whether the questions of pods are answered on their interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The kernel answers
    #[default]
    On,
    /// The kernel counts the questions that it would answer, and passes them. XDP is not
    /// attached
    Observe,
    /// The pods' interfaces get no programs
    Off,
}

impl From<Mode> for policy::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::On => Self::On,
            Mode::Observe => Self::Observe,
            Mode::Off => Self::Off,
        }
    }
}
