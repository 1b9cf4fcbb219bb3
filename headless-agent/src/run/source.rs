//! Opens the source of objects, and follows it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

use crate::config::{self, ConfigError};
use crate::watch::health::Health;
use crate::watch::kubernetes::{Client, Patience, Selection, samples, watch_kubernetes};
use crate::watch::manifests::watch_manifests;
use crate::watch::sample::Sample;
use crate::watch::{Batch, Keep};

/// A source that can be followed.
pub(super) enum Source {
    /// A folder of YAML.
    Manifests(PathBuf, Keep),
    /// A cluster's API server.
    Kubernetes(Client, Selection, Patience),
}

impl Source {
    /// Opens the source. Connects to nothing yet.
    ///
    /// # Errors
    /// Where the files that say how the API server is reached cannot be read or do not
    /// make sense.
    pub(super) async fn open(settings: config::Source) -> Result<Self, ConfigError> {
        Ok(match settings {
            config::Source::Manifests { folder, keep } => Self::Manifests(folder, keep),
            config::Source::Kubernetes {
                access,
                selection,
                patience,
            } => Self::Kubernetes(access.client().await?, selection, patience),
        })
    }

    /// Samples of the cluster. Never completes where the source is read whole at once, or
    /// where samples cannot be read.
    pub(super) fn samples(&self) -> impl Future<Output = Vec<Sample>> + Send + use<> {
        let asked = match self {
            Self::Manifests(..) => None,
            Self::Kubernetes(client, selection, _) => Some((client.clone(), selection.clone())),
        };
        async {
            let Some((client, selection)) = asked else {
                return std::future::pending().await;
            };
            match samples(client, &selection).await {
                Ok(samples) => samples,
                Err(error) => {
                    info!("the maps are made once the whole cluster has been read: {error:#}");
                    std::future::pending().await
                }
            }
        }
    }

    /// The API server, and how long it may be silent; `None` for a folder.
    pub(super) fn server(&self) -> Option<(Client, Patience)> {
        match self {
            Self::Manifests(..) => None,
            Self::Kubernetes(client, _, patience) => Some((client.clone(), *patience)),
        }
    }

    /// Sends all objects and then their changes, until nobody listens.
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
