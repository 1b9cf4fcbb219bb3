//! The options about the Corefile, and the modes that it has for names of pods.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use headless_ebpf::abi::PodsMode;

use super::source::SourceKind;
use crate::config::{self, ConfigError};
use crate::watch::ServiceRef;
use crate::watch::corefile::Sought;

/// The Corefile of the cluster's DNS.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Corefile")]
pub struct CorefileArgs {
    /// `ConfigMap` with the Corefile of the cluster's DNS, under the key `Corefile`; or `none`.
    /// Its options hold where none is given here, and questions that CoreDNS may answer
    /// otherwise are left to it
    #[arg(
        long,
        env = "HEADLESS_COREFILE",
        value_name = "NAMESPACE/NAME",
        default_value = "kube-system/coredns"
    )]
    pub corefile: String,
    /// `ConfigMap` that CoreDNS's pods mount as a folder, from which the Corefile imports files
    #[arg(
        long,
        env = "HEADLESS_COREFILE_IMPORT",
        value_name = "FOLDER=NAMESPACE/NAME",
        value_delimiter = ',',
        default_value = "/etc/coredns/custom=kube-system/coredns-custom",
        value_parser = import
    )]
    pub corefile_import: Vec<(String, ServiceRef)>,
    /// File with the Corefile, where there is no `ConfigMap`. The agent follows its changes
    #[arg(long, env = "HEADLESS_COREFILE_FILE", value_name = "FILE")]
    pub corefile_file: Option<PathBuf>,
}

fn import(text: &str) -> Result<(String, ServiceRef), String> {
    let expected = "expected FOLDER=NAMESPACE/NAME, with an absolute path";
    let (folder, reference) = text.split_once('=').ok_or(expected)?;
    let folder = folder.trim_end_matches('/');
    if !folder.starts_with('/') {
        return Err(expected.into());
    }
    Ok((folder.to_owned(), service(reference)?))
}

impl CorefileArgs {
    /// Where the Corefile is.
    pub(super) fn settings(&self, kind: SourceKind) -> Result<config::Corefile, ConfigError> {
        if let Some(path) = &self.corefile_file {
            return Ok(config::Corefile::File(path.clone()));
        }
        // A folder of manifests has no ConfigMaps.
        if kind == SourceKind::Manifests || self.corefile == "none" {
            return Ok(config::Corefile::None);
        }
        let bad = |error| ConfigError::from(anyhow::anyhow!("--corefile: {error}, or none"));
        Ok(config::Corefile::ConfigMap(Sought {
            corefile: service(&self.corefile).map_err(bad)?,
            imports: self.corefile_import.clone(),
        }))
    }
}

/// Which names of pods exist: CoreDNS's `pods` option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Pods {
    /// None
    Disabled,
    /// The name of any address, in a namespace that exists
    #[default]
    Insecure,
    /// Names of pods that exist; the agent watches pods
    Verified,
}

impl From<Pods> for PodsMode {
    fn from(pods: Pods) -> Self {
        match pods {
            Pods::Disabled => Self::Disabled,
            Pods::Insecure => Self::Insecure,
            Pods::Verified => Self::Verified,
        }
    }
}

impl From<PodsMode> for Pods {
    fn from(mode: PodsMode) -> Self {
        match mode {
            PodsMode::Disabled => Self::Disabled,
            PodsMode::Insecure => Self::Insecure,
            PodsMode::Verified => Self::Verified,
        }
    }
}

impl Pods {
    /// The value of the option.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Insecure => "insecure",
            Self::Verified => "verified",
        }
    }
}

/// Parses `NAMESPACE/NAME`.
pub(super) fn service(text: &str) -> Result<ServiceRef, String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(ServiceRef {
                namespace: namespace.into(),
                name: name.into(),
            })
        }
        _ => Err("expected NAMESPACE/NAME".into()),
    }
}
