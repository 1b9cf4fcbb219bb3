//! Opens the source of objects, and follows it.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::mpsc;
use tracing::info;

use crate::config::{self, ConfigError};
use crate::mirror::Mirror;
use crate::watch::health::Health;
use crate::watch::kubernetes::{
    Client, Patience, Selection, SliceSelection, choose, samples, watch_kubernetes,
};
use crate::watch::manifests::watch_manifests;
use crate::watch::sample::Sample;
use crate::watch::{Batch, Keep};

/// A source that can be followed.
pub(super) enum Source {
    /// A folder of YAML.
    Manifests(PathBuf, Keep),
    /// A cluster's API server.
    Kubernetes(Client, Chosen, Patience),
}

/// The watched part of the cluster, which is known once the API server has told its size.
type Chosen = Shared<BoxFuture<'static, Selection>>;

/// A client of the API server, where that is the source.
///
/// # Errors
/// As [`Source::open`].
pub(super) async fn client(settings: &config::Source) -> Result<Option<Client>, ConfigError> {
    Ok(match settings {
        config::Source::Manifests { .. } => None,
        config::Source::Kubernetes { access, .. } => Some(access.client().await?),
    })
}

impl Source {
    /// Opens the source, which feeds `mirror`. Connects to nothing yet.
    ///
    /// # Errors
    /// Where the files that say how the API server is reached cannot be read or do not
    /// make sense.
    pub(super) async fn open(
        settings: config::Source,
        mirror: &Arc<Mirror>,
    ) -> Result<Self, ConfigError> {
        Ok(match settings {
            config::Source::Manifests { folder, keep } => Self::Manifests(folder, keep),
            config::Source::Kubernetes {
                access,
                selection,
                slices_max,
                patience,
            } => {
                let client = access.client().await?;
                let (asked, mirror) = (client.clone(), Arc::clone(mirror));
                let chosen = async move {
                    let Some(max) = slices_max else {
                        return selection;
                    };
                    let choice = choose(asked, max, patience, mirror.source()).await;
                    info!("{choice}");
                    mirror.choose(choice);
                    Selection {
                        slices: if choice.all() {
                            SliceSelection::All
                        } else {
                            SliceSelection::Headless
                        },
                        ..selection
                    }
                };
                Self::Kubernetes(client, chosen.boxed().shared(), patience)
            }
        })
    }

    /// Samples of the cluster. Never completes where the source is read whole at once, or
    /// where samples cannot be read.
    pub(super) fn samples(&self) -> impl Future<Output = Vec<Sample>> + Send + use<> {
        let asked = match self {
            Self::Manifests(..) => None,
            Self::Kubernetes(client, chosen, _) => Some((client.clone(), chosen.clone())),
        };
        async {
            let Some((client, chosen)) = asked else {
                return std::future::pending().await;
            };
            match samples(client, &chosen.await).await {
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
            Self::Kubernetes(client, chosen, patience) => {
                let selection = chosen.await;
                watch_kubernetes(client, selection, patience, health, batches).await
            }
        }
    }
}
