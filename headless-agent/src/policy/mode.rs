//! The modes of a pod's interface, and the texts that name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether questions of a pod are answered on its interface. A later mode answers less than an
/// earlier one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The programs answer.
    #[default]
    On,
    /// The tc program counts the questions that it would answer, and passes all packets.
    Observe,
    /// The interface gets no programs.
    Off,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::On, Self::Observe, Self::Off];

    /// The text that names the mode in options, annotations and `status`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A text that names no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is none of on, observe, off")]
pub struct NoMode;

impl FromStr for Mode {
    type Err = NoMode;

    fn from_str(text: &str) -> Result<Self, NoMode> {
        let mut modes = Self::ALL.into_iter();
        modes.find(|mode| mode.label() == text).ok_or(NoMode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_one_text() {
        for mode in Mode::ALL {
            assert_eq!(mode.label().parse(), Ok(mode));
        }
        for text in ["", "Off", "off ", "no", "true"] {
            assert_eq!(text.parse::<Mode>(), Err(NoMode), "{text:?}");
        }
    }

    #[test]
    fn off_answers_least() {
        assert!(Mode::On < Mode::Observe && Mode::Observe < Mode::Off);
    }
}
