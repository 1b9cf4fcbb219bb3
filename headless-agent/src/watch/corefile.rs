//! The `ConfigMap`s with the Corefile of the cluster's DNS and the files that it imports.
//!
//! Each `ConfigMap` is watched by its name, so the agent may read no other `ConfigMap`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::{Excerpt, ServiceRef};
use crate::corefile::{BYTES_MAX, Files, Folder, PATH};

/// The key of the Corefile in its `ConfigMap`.
const KEY: &str = "Corefile";

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_secs(1);

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
#[derive(Clone, Debug)]
enum Found {
    Waiting,
    Absent,
    Unreadable(String),
    /// Its data, and when it changed last.
    Map(BTreeMap<String, String>, Option<SystemTime>),
}

/// Follows the Corefile in a cluster. Sends the first reading once every `ConfigMap` has been
/// looked for. Never ends.
pub async fn follow(client: Client, sought: Sought, readings: watch::Sender<Option<Reading>>) {
    let references: Vec<_> = [&sought.corefile]
        .into_iter()
        .chain(sought.imports.iter().map(|(_, reference)| reference))
        .cloned()
        .collect();
    let streams = references.iter().enumerate().map(|(at, reference)| {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &reference.namespace);
        let config =
            watcher::Config::default().fields(&format!("metadata.name={}", reference.name));
        let events = watcher(api, config).default_backoff();
        events.map(move |event| (at, event)).boxed()
    });
    let mut events = select_all(streams);
    let mut found = vec![Found::Waiting; references.len()];
    while let Some((at, event)) = events.next().await {
        let (Some(found_here), Some(reference)) = (found.get_mut(at), references.get(at)) else {
            continue;
        };
        found_here.take(event, reference);
        if let Some(reading) = compose(&sought, &found) {
            readings.send_if_modified(|last| {
                let is_new = last.as_ref() != Some(&reading);
                *last = Some(reading);
                is_new
            });
        }
    }
}

impl Found {
    /// Takes an event over. A `ConfigMap` that is deleted stays as it was: the files of
    /// CoreDNS's running pods stay, too. What has been found stays while the API server cannot
    /// be reached, and goes when the server forbids to read it.
    fn take(&mut self, event: watcher::Result<Event<ConfigMap>>, reference: &ServiceRef) {
        match event {
            Ok(Event::InitApply(map) | Event::Apply(map)) => {
                let changed = changed(&map);
                *self = Self::Map(map.data.unwrap_or_default(), changed);
            }
            Ok(Event::InitDone) if !matches!(self, Self::Map(..)) => *self = Self::Absent,
            Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
            Err(error) => {
                let code = super::kubernetes::status_code(&error);
                if code == Some(404) && !matches!(self, Self::Map(..)) {
                    *self = Self::Absent;
                } else if matches!(self, Self::Waiting | Self::Unreadable(_))
                    || matches!(code, Some(401 | 403))
                {
                    *self = Self::Unreadable(reason(&error, code, reference));
                }
            }
        }
    }
}

/// Why a `ConfigMap` cannot be read.
fn reason(error: &watcher::Error, code: Option<u16>, reference: &ServiceRef) -> String {
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
fn compose(sought: &Sought, found: &[Found]) -> Option<Reading> {
    let (corefile, imports) = found.split_first()?;
    if found.iter().any(|it| matches!(it, Found::Waiting)) {
        return None;
    }
    let (data, mut last) = match corefile {
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
    for ((folder, _), found) in sought.imports.iter().zip(imports) {
        let files = match found {
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
        tokio::time::sleep(LOOK).await;
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use kube::core::Status;

    use super::*;

    fn reference(name: &str) -> ServiceRef {
        ServiceRef {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
        }
    }

    fn sought() -> Sought {
        Sought {
            corefile: reference("coredns"),
            imports: vec![(
                "/etc/coredns/custom".to_owned(),
                reference("coredns-custom"),
            )],
        }
    }

    fn map(key: &str, text: &str) -> ConfigMap {
        ConfigMap {
            data: Some([(key.to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        }
    }

    fn failed(code: u16) -> watcher::Result<Event<ConfigMap>> {
        let status = Status::failure("no", "").with_code(code);
        Err(watcher::Error::InitialListFailed(kube::Error::Api(
            status.boxed(),
        )))
    }

    #[test]
    fn a_config_map_stays_absent_while_the_api_server_is_away() {
        let reference = reference("coredns");
        let mut found = Found::Waiting;
        found.take(failed(500), &reference);
        assert!(matches!(found, Found::Unreadable(_)), "{found:?}");
        found.take(Ok(Event::InitDone), &reference);
        assert!(matches!(found, Found::Absent), "{found:?}");
        found.take(failed(500), &reference);
        assert!(matches!(found, Found::Absent), "{found:?}");
        found.take(failed(403), &reference);
        assert!(matches!(found, Found::Unreadable(_)), "{found:?}");
    }

    #[test]
    fn a_reading_waits_for_every_config_map() {
        let sought = sought();
        let mut found = vec![Found::Waiting, Found::Waiting];
        let (corefile, custom) = (sought.corefile.clone(), reference("coredns-custom"));
        found[0].take(Ok(Event::InitApply(map(KEY, "a"))), &corefile);
        found[0].take(Ok(Event::InitDone), &corefile);
        assert_eq!(compose(&sought, &found), None);
        found[1].take(Ok(Event::Init), &custom);
        found[1].take(Ok(Event::InitDone), &custom);
        let Some(Reading::Text { text, .. }) = compose(&sought, &found) else {
            panic!("{found:?}");
        };
        assert_eq!(text, "a");
        found[0].take(Ok(Event::Delete(map(KEY, "a"))), &corefile);
        found[0].take(Ok(Event::InitDone), &corefile);
        found[0].take(failed(500), &corefile);
        assert!(matches!(
            compose(&sought, &found),
            Some(Reading::Text { .. })
        ));
        found[0].take(failed(403), &corefile);
        let Some(Reading::Unreadable(reason)) = compose(&sought, &found) else {
            panic!("{found:?}");
        };
        assert!(reason.contains("kube-system/coredns (403)"), "{reason}");
    }

    #[test]
    fn a_config_map_that_was_made_again_has_changed() {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
        use k8s_openapi::jiff::Timestamp;

        let at = |seconds| Time(Timestamp::from_second(seconds).unwrap());
        let mut made = map(KEY, "a");
        made.metadata.creation_timestamp = Some(at(20));
        for (fields, last) in [(&[][..], 20), (&[20], 20), (&[10], 20), (&[20, 30], 30)] {
            let entry = |seconds: &i64| ManagedFieldsEntry {
                time: Some(at(*seconds)),
                ..ManagedFieldsEntry::default()
            };
            made.metadata.managed_fields = Some(fields.iter().map(entry).collect());
            let mut found = Found::Waiting;
            found.take(Ok(Event::InitApply(made.clone())), &reference("coredns"));
            let reading = compose(&sought(), &[found, Found::Absent]);
            let Some(Reading::Text { changed, .. }) = reading else {
                panic!("{reading:?}");
            };
            assert_eq!(changed, Some(SystemTime::from(at(last).0)), "{fields:?}");
        }
    }

    #[test]
    fn a_missing_config_map_is_absent_and_a_failure_is_not() {
        let sought = sought();
        let mut found = vec![Found::Waiting, Found::Absent];
        found[0].take(failed(500), &sought.corefile);
        assert!(matches!(
            compose(&sought, &found),
            Some(Reading::Unreadable(_))
        ));
        for none in [Ok(Event::InitDone), failed(404)] {
            found[0].take(none, &sought.corefile);
            assert_eq!(compose(&sought, &found), Some(Reading::Absent));
        }
        found[0].take(Ok(Event::Apply(map("other", ""))), &sought.corefile);
        let reading = compose(&sought, &found);
        assert!(
            matches!(reading, Some(Reading::Unreadable(_))),
            "{reading:?}"
        );
    }
}
