//! The parts of a node of which there are several kinds.

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
