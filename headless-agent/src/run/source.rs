//! Where objects come from: which source the operator means, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::ConfigError;
use crate::args::{Pods, RecordArgs, SourceArgs, SourceKind};
use crate::records::EndpointScope;
use crate::watch::health::Health;
use crate::watch::kubernetes::{self, Access, Client, Patience, Selection, watch_kubernetes};
use crate::watch::manifests::watch_manifests;
use crate::watch::{Batch, Keep};

/// A source that can be followed.
pub(super) enum Source {
    /// A folder of YAML.
    Manifests(PathBuf, Keep),
    /// A cluster's API server.
    Kubernetes(Client, Selection, Patience),
}

/// Whether the folder is one.
pub fn folder(path: &Path) -> Result<(), ConfigError> {
    if path.is_dir() {
        return Ok(());
    }
    Err(anyhow::anyhow!("--manifests: {} is not a folder", path.display()).into())
}

impl SourceArgs {
    /// Which kind of source is meant.
    fn kind(&self, in_cluster: bool) -> Result<SourceKind, ConfigError> {
        let Self {
            source,
            manifests,
            api,
            ..
        } = self;
        let api = Access::from(api).is_given();
        let wrong = |text: &str| Err(anyhow::Error::msg(text.to_owned()).into());
        match (source, manifests.is_some()) {
            (Some(SourceKind::Kubernetes), true) => {
                wrong("--manifests: the source is the API server")
            }
            (Some(SourceKind::Manifests), false) => wrong("--manifests: no folder is given"),
            (_, true) if api => {
                wrong("--manifests: options of the API server are given, which is no source then")
            }
            (_, true) => Ok(SourceKind::Manifests),
            (Some(SourceKind::Kubernetes), false) => Ok(SourceKind::Kubernetes),
            (None, false) if in_cluster || api => Ok(SourceKind::Kubernetes),
            (None, false) => wrong(
                "not in a cluster: --source kubernetes follows the API server of the default \
                 kubeconfig, --kubeconfig or --api-server that of another, --manifests a folder",
            ),
        }
    }

    /// Opens the source. Connects to nothing yet.
    pub(super) async fn open(&self, records: &RecordArgs) -> Result<Source, ConfigError> {
        let keep = records.keep();
        let kind = self.kind(kubernetes::in_cluster())?;
        if let (SourceKind::Manifests, Some(path)) = (kind, &self.manifests) {
            folder(path)?;
            return Ok(Source::Manifests(path.clone(), keep));
        }
        let client = Access::from(&self.api).client().await?;
        let dns = &records.cluster_dns_service;
        let selection = Selection {
            all_endpoints: records.endpoints(kind) == EndpointScope::All,
            pods: records.pods == Pods::Verified,
            cluster_dns: (dns.namespace.clone(), dns.name.clone()),
            keep,
        };
        let patience = Patience::within(self.source_max_age_deny);
        Ok(Source::Kubernetes(client, selection, patience))
    }
}

impl Source {
    /// Which kind of source this is.
    pub(super) fn kind(&self) -> SourceKind {
        match self {
            Self::Manifests(..) => SourceKind::Manifests,
            Self::Kubernetes(..) => SourceKind::Kubernetes,
        }
    }

    /// Sends what there is and what changes, until nobody listens.
    pub(super) async fn follow(
        self,
        health: Arc<Health>,
        batches: mpsc::Sender<Batch>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Manifests(folder, keep) => Ok(watch_manifests(folder, keep, batches).await?),
            Self::Kubernetes(client, selection, patience) => {
                watch_kubernetes(client, selection, patience, health, batches).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn kind(arguments: &[&str], in_cluster: bool) -> Result<SourceKind, String> {
        let start = ["headless-agent", "run"];
        let cli = Cli::try_parse_from(start.iter().chain(arguments)).unwrap();
        match cli.command {
            Command::Run(run) => run
                .source
                .kind(in_cluster)
                .map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_source_follows_from_what_is_given() {
        use SourceKind::{Kubernetes, Manifests};
        assert_eq!(kind(&[], true), Ok(Kubernetes));
        assert_eq!(kind(&["--manifests", "x"], true), Ok(Manifests));
        assert_eq!(kind(&["--manifests", "x"], false), Ok(Manifests));
        assert_eq!(kind(&["--source", "kubernetes"], false), Ok(Kubernetes));
        assert_eq!(kind(&["--kubeconfig", "x"], false), Ok(Kubernetes));
        assert_eq!(kind(&["--api-server", "https://x"], false), Ok(Kubernetes));
    }

    /// A folder is read whole, so every endpoint has its names. From an API server
    /// slices of Services with cluster IPs are not watched by default.
    #[test]
    fn the_source_decides_which_endpoints_have_names() {
        use SourceKind::{Kubernetes, Manifests};
        let scopes = |arguments: &[&str]| {
            let start = ["headless-agent", "run"];
            let cli = Cli::try_parse_from(start.iter().chain(arguments)).unwrap();
            let Command::Run(run) = cli.command else {
                panic!("not `run`");
            };
            [Kubernetes, Manifests].map(|source| run.records.endpoints(source))
        };
        let (headless, all) = (EndpointScope::Headless, EndpointScope::All);
        assert_eq!(scopes(&[]), [headless, all]);
        assert_eq!(scopes(&["--endpoints", "headless"]), [headless; 2]);
        assert_eq!(scopes(&["--endpoints", "all"]), [all; 2]);
    }

    #[test]
    fn contradictions_are_told() {
        let error = |arguments: &[&str]| kind(arguments, false).unwrap_err();
        assert!(error(&[]).contains("not in a cluster"));
        assert!(error(&["--source", "manifests"]).contains("no folder"));
        let both = ["--source", "kubernetes", "--manifests", "x"];
        assert!(error(&both).contains("the source is the API server"));
        let both = ["--manifests", "x", "--context", "y"];
        assert!(error(&both).contains("options of the API server"));
    }
}
