//! Options that choose the pods whose questions are answered.

use clap::{Args, ValueEnum};

use super::source::SourceKind;
use crate::config::{self, ConfigError};
use crate::policy::{self, Rules};
use crate::selector::Selector;
use crate::watch::ServiceRef;
use crate::watch::kubernetes::NodeSelection;

/// Which pods are answered.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// Whether pods of this node are answered
    #[arg(long, env = "HEADLESS_MODE", value_enum, default_value_t)]
    pub mode: Mode,
    /// Modes of pods by their labels: `off=app=legacy,tier!=web`, a mode and a label selector.
    /// The first selector that chooses a pod decides, unless an annotation of the pod or its
    /// namespace does (`headless.io/mode`). In the variable, `;` stands between them
    #[arg(long, env = "HEADLESS_MODE_SELECTOR", value_name = "MODE=SELECTOR",
        value_delimiter = ';', value_parser = mode_selector)]
    pub mode_selector: Vec<ModeSelector>,
    /// Name of this node. The agent then watches the pods of the node, and their annotations and
    /// labels decide. Otherwise the mode of the node holds for all pods
    #[arg(long, env = "HEADLESS_NODE_NAME", value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<String>,
    /// Leave pods to the node's stack whose network policies do not allow them to ask the
    /// cluster's DNS. The agent then watches all network policies of the cluster
    #[arg(long, env = "HEADLESS_RESPECT_NETWORK_POLICIES")]
    pub respect_network_policies: bool,
}

/// A mode of pods, and the labels of these pods.
pub(super) type ModeSelector = (policy::Mode, Selector);

fn mode_selector(text: &str) -> Result<ModeSelector, String> {
    let (mode, selector) = text
        .split_once('=')
        .ok_or("expected MODE=SELECTOR, such as off=app=legacy")?;
    let mode = mode
        .trim()
        .parse()
        .map_err(|error| format!("`{mode}` {error}"))?;
    let selector = selector.parse::<Selector>();
    Ok((mode, selector.map_err(|error| error.to_string())?))
}

/// A name of a node is a DNS subdomain (`ValidateNodeName` of Kubernetes).
fn node_name(text: &str) -> Result<String, String> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(plain) {
        return Err("no name of a node".into());
    }
    Ok(text.to_owned())
}

impl PolicyArgs {
    /// Which pods are answered, where objects come from a source of this kind.
    ///
    /// # Errors
    /// Where options need pods that are not watched.
    pub(super) fn settings(
        &self,
        source: SourceKind,
        cluster_dns: &ServiceRef,
    ) -> Result<config::Pods, ConfigError> {
        let policies_about = self.respect_network_policies.then(|| cluster_dns.clone());
        let wrong = |text: &str| Err(anyhow::Error::msg(text.to_owned()).into());
        let selection = match (&self.node_name, source) {
            (Some(_), SourceKind::Manifests) => {
                return wrong(
                    "--node-name: pods come from an API server, and the source is a folder",
                );
            }
            (None, _) if !self.mode_selector.is_empty() => {
                return wrong(
                    "--mode-selector: --node-name is missing, without which no pods are known",
                );
            }
            (None, _) if self.respect_network_policies => {
                return wrong(
                    "--respect-network-policies: --node-name is missing, without which no pods are \
                     known",
                );
            }
            (node, _) => node.clone().map(|node| NodeSelection {
                node,
                policies_about: policies_about.clone(),
            }),
        };
        Ok(config::Pods {
            rules: Rules {
                node: self.mode.into(),
                selectors: self.mode_selector.clone(),
                respect_policies_about: policies_about,
            },
            selection,
        })
    }
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
