//! Settings: the operator's choices as checked, plain values. The command line makes
//! them (`args`); nothing else knows options.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headless_ebpf::abi;

use crate::corefile::Options;
use crate::datapath::object::KernelLog;
use crate::datapath::plan::Plan;
use crate::mirror::Policy;
use crate::policy::Rules;
use crate::records::Settings;
use crate::watch::Keep;
use crate::watch::corefile::Sought;
use crate::watch::kubernetes::{Access, NodeSelection, Patience, Selection};

/// The operator's options contradict each other or cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("bad configuration: {0}")]
pub struct ConfigError(String);

impl From<anyhow::Error> for ConfigError {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Where objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder of YAML.
    Manifests {
        /// The folder, which exists.
        folder: PathBuf,
        /// Which optional parts of objects are kept.
        keep: Keep,
    },
    /// A cluster's API server.
    Kubernetes {
        /// How the agent reaches the server.
        access: Access,
        /// The objects that are watched.
        selection: Selection,
        /// Most slices in the cluster with which the selection has all slices instead. `None`
        /// where the number does not matter.
        slices_max: Option<u64>,
        /// How long the server may send nothing.
        patience: Patience,
    },
}

/// Where the Corefile of the cluster's DNS is.
#[derive(Clone, Debug)]
pub enum Corefile {
    /// Nowhere: the options alone decide.
    None,
    /// In a file.
    File(PathBuf),
    /// In a `ConfigMap` of the cluster.
    ConfigMap(Sought),
}

/// Makes the settings of `run`: from the operator's options alone, or with the options of a
/// Corefile. Returns also a sentence for each contradiction between them.
pub type Settle = Box<dyn Fn(Option<&Options>) -> Result<(Run, Vec<String>), ConfigError> + Send>;

/// Another Corefile needs settings with which an agent can only start.
#[derive(Debug, thiserror::Error)]
#[error("the Corefile has options with which the agent can only start: {0}")]
pub struct StartAgain(pub String);

/// Settings of `run`.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where the Corefile is.
    pub corefile: Corefile,
    /// The zone that the operator has chosen.
    pub zone: Option<String>,
    /// The options that a Corefile can have, as they hold.
    pub taken: Options,
    /// Where objects come from.
    pub source: Source,
    /// Settings of the index.
    pub records: Settings,
    /// Settings of the programs.
    pub programs: abi::Config,
    /// Settings of the mirror.
    pub policy: Policy,
    /// Settings of the data path.
    pub plan: Plan,
    /// Which pods are answered.
    pub pods: Pods,
    /// Most memory in bytes that the maps take.
    pub map_memory: u64,
    /// The verdicts that the programs log.
    pub kernel_log: KernelLog,
    /// Where the responder listens.
    pub listen: BTreeSet<SocketAddr>,
    /// Where the admin endpoint listens.
    pub admin: SocketAddr,
    /// The path of the admin socket.
    pub admin_socket: PathBuf,
}

/// Which pods are answered.
#[derive(Clone, Debug)]
pub struct Pods {
    /// The operator's choices.
    pub rules: Rules,
    /// The objects that are watched for it; `None` where the mode of the node holds for all pods.
    pub selection: Option<NodeSelection>,
}

/// Settings of `check`.
#[derive(Clone, Debug)]
pub struct Check {
    /// The folder of manifests, which exists.
    pub folder: PathBuf,
    /// Which optional parts of objects are kept.
    pub keep: Keep,
    /// Settings of the index.
    pub records: Settings,
}

/// Checks that `--manifests` names a folder.
///
/// # Errors
/// Where the path is not a folder.
pub fn folder(path: &Path) -> Result<PathBuf, ConfigError> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let shown = path.display();
    let error = match path.parent() {
        Some(parent) if path.is_file() => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            let parent = parent.display();
            anyhow::anyhow!("--manifests: {shown} is a file, not a folder: its folder is {parent}")
        }
        _ => anyhow::anyhow!("--manifests: {shown} is not a folder"),
    };
    Err(error.into())
}
