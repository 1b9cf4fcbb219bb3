//! The parts of a node and of the deployed headless of which there are several kinds.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The rules by which kube-proxy leads Services' addresses to pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proxy {
    /// nftables.
    #[default]
    Nftables,
    /// iptables, on the machine's back end.
    Iptables,
}

/// The CNI plugin that connects pods to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cni {
    /// A veth for each pod, and a route to it.
    #[default]
    Ptp,
    /// All pods' veths at one bridge.
    Bridge,
}

impl Proxy {
    /// The name in configuration files and on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

impl Cni {
    /// The name in configuration files and on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ptp => "ptp",
            Self::Bridge => "bridge",
        }
    }
}

/// The chosen parts of a node.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Rules of kube-proxy [default: nftables].
    #[arg(long)]
    pub(super) proxy: Option<Proxy>,

    /// Plugin that connects pods [default: ptp].
    #[arg(long)]
    pub(super) cni: Option<Cni>,
}

/// What is deployed.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// Deploy this agent instead of building one.
    #[arg(long = "agent", value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Set an option of the agent; can be given many times. Example: `HEADLESS_HOOK=tc`.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) variables: Vec<(String, String)>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn a_variable_has_a_name() {
        let expected = ("A".to_owned(), "b=c".to_owned());
        assert_eq!(variable("A=b=c"), Ok(expected));
        assert!(variable("=b").is_err() && variable("A").is_err());
    }
}
