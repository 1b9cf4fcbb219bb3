//! The requests for one `ConfigMap`, and the API server's answers.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::health::Health;
use super::super::kubernetes::{Backoff, Overlong, Patience, listening};
use super::super::{Kind, ServiceRef};

/// How long the server keeps one watch request open, in seconds.
const REQUEST_SECONDS: u32 = 240;

/// A watch that has run for this long is followed by the next one at once, even if it told
/// nothing.
const LASTING: Duration = Duration::from_secs(30);

/// The API server's word about a `ConfigMap`.
#[derive(Debug)]
pub(super) enum Seen {
    /// A list has the `ConfigMap`, or shows by `None` that there is none. A watch runs from now on.
    Listed(Option<ConfigMap>),
    /// The `ConfigMap` was made or changed.
    Applied(ConfigMap),
    Deleted,
    Failed(kube::Error),
}

/// A watch of one `ConfigMap`.
///
/// The watcher of the library `kube` has no event for a watch that the server has refused and then
/// allowed. So this one lists again after every failure, and tells of the list once the watch
/// runs.
pub(super) struct Watch {
    api: Api<ConfigMap>,
    selected: String,
    backoff: Backoff,
    /// The version from which the next watch goes on; `None` where the `ConfigMap` is to be listed.
    version: Option<String>,
}

impl Watch {
    /// A watch whose requests fail where the server does not answer in time.
    pub(super) fn new(client: &Client, reference: &ServiceRef, health: &Health) -> Self {
        let ear = health.listen(Kind::ConfigMap.resource());
        let overlong = Overlong::default();
        let client = listening(client.clone(), &ear, &overlong, Patience::MAX);
        Self {
            api: Api::namespaced(client, &reference.namespace),
            selected: format!("metadata.name={}", reference.name),
            backoff: Backoff::default(),
            version: None,
        }
    }

    /// Watches until the receiver is gone.
    pub(super) async fn run(mut self, at: usize, seen: mpsc::Sender<(usize, Seen)>) {
        while !seen.is_closed() {
            let began = Instant::now();
            match self.once(at, &seen).await {
                Ok(()) if began.elapsed() >= LASTING => self.backoff.reset(),
                Ok(()) => {}
                Err(error) => {
                    self.version = None;
                    seen.send((at, Seen::Failed(error))).await.ok();
                }
            }
            sleep(self.backoff.next()).await;
        }
    }

    /// Lists if needed, and watches until the server ends the watch.
    async fn once(&mut self, at: usize, seen: &mpsc::Sender<(usize, Seen)>) -> kube::Result<()> {
        let listed = if self.version.is_none() {
            let params = ListParams::default().fields(&self.selected);
            let mut list = self.api.list(&params).await?;
            self.version = Some(list.metadata.resource_version.unwrap_or_default());
            Some(list.items.pop())
        } else {
            None
        };
        let params = WatchParams::default().fields(&self.selected);
        let params = params.timeout(REQUEST_SECONDS);
        let version = self.version.clone().unwrap_or_default();
        let mut stream = pin!(self.api.watch(&params, &version).await?);
        let mut news = listed.map(Seen::Listed);
        loop {
            if let Some(news) = news.take()
                && seen.send((at, news)).await.is_err()
            {
                return Ok(());
            }
            let Some(event) = stream.next().await else {
                return Ok(());
            };
            self.version = match event? {
                WatchEvent::Added(map) | WatchEvent::Modified(map) => {
                    let version = map.metadata.resource_version.clone();
                    news = Some(Seen::Applied(map));
                    version
                }
                WatchEvent::Deleted(map) => {
                    news = Some(Seen::Deleted);
                    map.metadata.resource_version
                }
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status.boxed())),
            };
            self.backoff.reset();
        }
    }
}
