//! The `ConfigMap`s with the Corefile of the cluster's DNS and the files that it imports.
//!
//! Each `ConfigMap` is watched by its name, so the agent may read no other `ConfigMap`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::health::FORBIDDEN_FOR;
use super::kubernetes::Backoff;
use super::{Excerpt, ServiceRef};
use crate::corefile::{BYTES_MAX, Files, Folder, PATH};

/// The key of the Corefile in its `ConfigMap`.
const KEY: &str = "Corefile";

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_secs(1);

/// The longest wait for an answer about each `ConfigMap` at the start. A server that starts
/// refuses requests or cannot be reached for some seconds.
pub const FIRST: Duration = Duration::from_secs(10);

/// How long the server keeps one watch request open, in seconds.
const REQUEST_SECONDS: u32 = 240;

/// The longest time without a word on a watch. The server ends it before.
const SILENCE: Duration = Duration::from_secs(REQUEST_SECONDS as u64 + 30);

/// The most files of a folder that are read.
const FILES_MAX: usize = 64;

/// The `ConfigMap`s that are watched.
#[derive(Clone, Debug)]
pub struct Sought {
    /// The Corefile's.
    pub corefile: ServiceRef,
    /// Others that CoreDNS's pods mount, by folder.
    pub imports: Vec<(String, ServiceRef)>,
}

/// The Corefile as it was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its text, and the files that it may import.
    Text {
        /// The Corefile.
        text: String,
        /// The files.
        files: Files,
        /// When any of them changed last, if that is known.
        changed: Option<SystemTime>,
    },
    /// There is no such `ConfigMap`.
    Absent,
    /// The `ConfigMap` exists, or may exist, and cannot be read, for this reason.
    Unreadable(String),
}

/// A `ConfigMap` as it was last seen.
#[derive(Debug)]
enum Found {
    Waiting,
    Absent,
    Unreadable(String),
    /// Its data, and when it changed last.
    Map(BTreeMap<String, String>, Option<SystemTime>),
}

/// A `ConfigMap` that is followed.
#[derive(Debug)]
struct Followed {
    reference: ServiceRef,
    found: Found,
    /// Why the last request has failed, if the watch does not run.
    failure: Option<String>,
    /// Since when the server has refused each request, if it has.
    refused: Option<Instant>,
}

/// The API server's word about a `ConfigMap`.
#[derive(Debug)]
enum Seen {
    /// It has been listed, and is watched from now on. `None` where there is none.
    Listed(Option<ConfigMap>),
    /// It was made or changed.
    Applied(ConfigMap),
    Deleted,
    Failed(kube::Error),
}

/// Follows the Corefile in a cluster. Sends the first reading once every `ConfigMap` has been
/// looked for, or [`FIRST`] has passed. Never ends.
pub async fn follow(client: Client, sought: Sought, readings: watch::Sender<Option<Reading>>) {
    let references = [&sought.corefile]
        .into_iter()
        .chain(sought.imports.iter().map(|(_, reference)| reference));
    let mut followed: Vec<_> = references.cloned().map(Followed::new).collect();
    let (sender, mut seen) = mpsc::channel(1);
    let watches = followed.iter().enumerate().map(|(at, followed)| {
        let watch = Watch::new(&client, &followed.reference);
        watch.run(at, sender.clone())
    });
    let mut watches = pin!(join_all(watches.collect::<Vec<_>>()));
    let mut first = pin!(sleep(FIRST));
    let mut is_late = false;
    loop {
        tokio::select! {
            _ = &mut watches => return,
            Some((at, seen)) = seen.recv() => {
                if let Some(followed) = followed.get_mut(at) {
                    followed.take(seen);
                }
            }
            () = &mut first, if !is_late => {
                is_late = true;
                followed.iter_mut().for_each(Followed::give_up);
            }
        }
        if let Some(reading) = compose(&sought, &followed) {
            readings.send_if_modified(|last| {
                let is_new = last.as_ref() != Some(&reading);
                *last = Some(reading);
                is_new
            });
        }
    }
}

/// A watch of one `ConfigMap`.
///
/// The watcher of the library `kube` has no event for a watch that the server has refused and then
/// allowed. So this one lists again after every failure, and tells of the list once the watch
/// runs.
struct Watch {
    api: Api<ConfigMap>,
    selected: String,
    backoff: Backoff,
    /// The version from which the next watch goes on; `None` where the `ConfigMap` is to be listed.
    version: Option<String>,
}

impl Watch {
    fn new(client: &Client, reference: &ServiceRef) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &reference.namespace),
            selected: format!("metadata.name={}", reference.name),
            backoff: Backoff::default(),
            version: None,
        }
    }

    /// Watches until the receiver is gone.
    async fn run(mut self, at: usize, seen: mpsc::Sender<(usize, Seen)>) {
        while !seen.is_closed() {
            if let Err(error) = self.once(at, &seen).await {
                self.version = None;
                seen.send((at, Seen::Failed(error))).await.ok();
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
            // The server ends the watch before. Where it does not, the connection is dead.
            let Ok(Some(event)) = timeout(SILENCE, stream.next()).await else {
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

impl Followed {
    fn new(reference: ServiceRef) -> Self {
        Self {
            reference,
            found: Found::Waiting,
            failure: None,
            refused: None,
        }
    }

    /// Takes the server's word over. A `ConfigMap` that is deleted stays as it was: the files of
    /// CoreDNS's running pods stay, too. What has been found stays while the API server cannot
    /// be reached, and goes once the server has refused to show it for [`FORBIDDEN_FOR`].
    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Listed(Some(map)) | Seen::Applied(map) => {
                let changed = changed(&map);
                self.find(Found::Map(map.data.unwrap_or_default(), changed));
            }
            Seen::Listed(None) if !matches!(self.found, Found::Map(..)) => {
                self.find(Found::Absent);
            }
            Seen::Listed(None) | Seen::Deleted => self.refused = None,
            Seen::Failed(error) => self.fail(&error),
        }
    }

    fn find(&mut self, found: Found) {
        self.found = found;
        self.failure = None;
        self.refused = None;
    }

    fn fail(&mut self, error: &kube::Error) {
        let code = match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        if code == Some(404) && !matches!(self.found, Found::Map(..)) {
            return self.find(Found::Absent);
        }
        let failure = reason(error, code, &self.reference);
        let lasts = if matches!(code, Some(401 | 403)) {
            let since = *self.refused.get_or_insert_with(Instant::now);
            since.elapsed() >= FORBIDDEN_FOR
        } else {
            self.refused = None;
            false
        };
        match &self.found {
            Found::Waiting => self.failure = Some(failure),
            Found::Unreadable(_) => self.found = Found::Unreadable(failure),
            Found::Absent | Found::Map(..) if lasts => self.found = Found::Unreadable(failure),
            Found::Absent | Found::Map(..) => {}
        }
    }

    /// Waits no longer.
    fn give_up(&mut self) {
        if let Found::Waiting = self.found {
            let map = Reference(&self.reference);
            let failure = self.failure.take().unwrap_or_else(|| {
                format!("cannot read the ConfigMap {map}: the API server has not answered")
            });
            self.found = Found::Unreadable(failure);
        }
    }
}

/// Why a `ConfigMap` cannot be read.
fn reason(error: &kube::Error, code: Option<u16>, reference: &ServiceRef) -> String {
    let map = Reference(reference);
    match code {
        Some(403) => format!(
            "not allowed to watch the ConfigMap {map} (403): the Role headless-agent-corefile in \
             its namespace must grant list and watch on it, or --corefile none be given"
        ),
        _ => format!(
            "cannot read the ConfigMap {map}: {}",
            Excerpt::from(super::kubernetes::chain(error))
        ),
    }
}

/// A reference as `namespace/name`.
struct Reference<'a>(&'a ServiceRef);

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.namespace, self.0.name)
    }
}

/// When an object was changed last, by its managed fields, or made: CoreDNS may go by the text of
/// an earlier object with the same name.
fn changed(map: &ConfigMap) -> Option<SystemTime> {
    let fields = map.metadata.managed_fields.iter().flatten();
    let times = fields.filter_map(|field| field.time.as_ref());
    let times = times.chain(map.metadata.creation_timestamp.as_ref());
    times.map(|time| SystemTime::from(time.0)).max()
}

/// The reading that the `ConfigMap`s make up. `None` while one has not been looked for.
fn compose(sought: &Sought, followed: &[Followed]) -> Option<Reading> {
    let (corefile, imports) = followed.split_first()?;
    if followed.iter().any(|it| matches!(it.found, Found::Waiting)) {
        return None;
    }
    let (data, mut last) = match &corefile.found {
        Found::Map(data, changed) => (data, *changed),
        Found::Unreadable(reason) => return Some(Reading::Unreadable(reason.clone())),
        Found::Absent | Found::Waiting => return Some(Reading::Absent),
    };
    let Some(text) = data.get(KEY) else {
        let map = Reference(&sought.corefile);
        let reason = format!("the ConfigMap {map} has no key {KEY}");
        return Some(Reading::Unreadable(reason));
    };
    let (folder, _) = PATH.rsplit_once('/').unwrap_or_default();
    let mut folders = vec![(folder.to_owned(), Folder::Known(data.clone()))];
    for ((folder, _), import) in sought.imports.iter().zip(imports) {
        let files = match &import.found {
            Found::Map(data, changed) => {
                last = last.max(*changed);
                Folder::Known(data.clone())
            }
            Found::Unreadable(reason) => Folder::Unknown(reason.clone()),
            Found::Absent | Found::Waiting => Folder::Known(BTreeMap::new()),
        };
        folders.push((folder.clone(), files));
    }
    Some(Reading::Text {
        text: text.clone(),
        files: Files::new(folders),
        changed: last,
    })
}

/// Follows a Corefile in a file, as if its folder were CoreDNS's. Never ends.
pub async fn follow_file(path: PathBuf, readings: watch::Sender<Option<Reading>>) {
    loop {
        let path = path.clone();
        let reading = tokio::task::spawn_blocking(move || read_file(&path));
        if let Ok(reading) = reading.await {
            readings.send_if_modified(|last| {
                let is_new = last.as_ref() != Some(&reading);
                *last = Some(reading);
                is_new
            });
        }
        sleep(LOOK).await;
    }
}

fn read_file(path: &Path) -> Reading {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            let reason = format!("cannot read the Corefile {}: {error}", path.display());
            return Reading::Unreadable(reason);
        }
    };
    let folder = path.parent().unwrap_or(path);
    let (own, _) = PATH.rsplit_once('/').unwrap_or_default();
    let custom = format!("{own}/custom");
    let folders = [
        (own.to_owned(), folder.to_owned()),
        (custom, folder.join("custom")),
    ];
    let files = folders.map(|(name, folder)| (name, Folder::Known(read_folder(&folder))));
    Reading::Text {
        text,
        files: Files::new(files),
        changed: None,
    }
}

/// The readable files of a folder, by name.
fn read_folder(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let files = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let text = read_text(&entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, text))
    });
    files.take(FILES_MAX).collect()
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind};

    let file = std::fs::metadata(path)?;
    if !file.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a file"));
    }
    if file.len() > BYTES_MAX as u64 {
        return Err(Error::new(ErrorKind::FileTooLarge, "more than 1 MiB"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
