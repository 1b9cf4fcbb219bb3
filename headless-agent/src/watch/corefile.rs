//! The `ConfigMap`s with the Corefile of the cluster's DNS and the files that it imports.
//!
//! Each `ConfigMap` is watched by its name, so the agent may read no other `ConfigMap`.

mod followed;
mod requests;

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use self::followed::{Followed, Found};
use self::requests::Watch;
use super::ServiceRef;
use super::health::Health;
use crate::corefile::{BYTES_MAX, Files, Folder, PATH};

/// The key of the Corefile in its `ConfigMap`.
const KEY: &str = "Corefile";

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_secs(1);

/// The longest wait for an answer about each `ConfigMap` at the start. A server that starts
/// refuses requests or cannot be reached for some seconds.
pub const FIRST: Duration = Duration::from_secs(10);

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

/// Follows the Corefile in a cluster. Sends the first reading once every `ConfigMap` has been
/// looked for, or [`FIRST`] has passed. Records in `health` which watches do not run: the
/// reading may then be of before a change. Never ends.
pub async fn follow(
    client: Client,
    sought: Sought,
    health: Arc<Health>,
    readings: watch::Sender<Option<Reading>>,
) {
    let references = [&sought.corefile]
        .into_iter()
        .chain(sought.imports.iter().map(|(_, reference)| reference));
    let references: Vec<_> = references.collect();
    let corefile = Followed::new(&sought.corefile, Arc::clone(&health));
    let imports = sought.imports.iter();
    let import = |(_, reference): &_| Followed::optional(reference, Arc::clone(&health));
    let mut followed: Vec<_> = iter::once(corefile).chain(imports.map(import)).collect();
    let (sender, mut seen) = mpsc::channel(1);
    let watches = references.iter().enumerate().map(|(at, reference)| {
        let watch = Watch::new(&client, reference, &health);
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
        let reason = format!("the ConfigMap {} has no key {KEY}", sought.corefile);
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
