//! The objects, and the log of their changes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio::sync::watch;

use super::object::{Key, Labels, Object, Resource, line};
use super::selection::Selection;

/// All objects, shared by the server's connections.
#[derive(Debug)]
pub(super) struct Store {
    contents: Mutex<Contents>,
    /// Version of the latest change.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Contents {
    version: u64,
    /// Each object with its event `ADDED`.
    objects: BTreeMap<Key, (Arc<Labels>, Bytes)>,
    log: Vec<Logged>,
}

/// A change of an object, as a line of a watch.
#[derive(Debug)]
struct Logged {
    version: u64,
    resource: Resource,
    namespace: String,
    labels: Arc<Labels>,
    line: Bytes,
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page {
    /// The objects' events `ADDED`.
    pub(super) lines: Vec<Bytes>,
    /// The version of the whole list.
    pub(super) version: u64,
    /// Namespace and name of the last object, where the list goes on.
    pub(super) last: Option<(String, String)>,
    /// Number of objects behind the page.
    pub(super) remaining: usize,
}

impl Store {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            contents: Mutex::default(),
            version: watch::Sender::new(0),
        })
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes objects and wakes every watch once.
    pub(super) fn put_all(&self, objects: impl IntoIterator<Item = Object>) {
        let mut contents = self.contents();
        for object in objects {
            contents.version += 1;
            let version = contents.version;
            let (key, labels, json) = object.render(version);
            let labels = Arc::new(labels);
            let (resource, namespace, _) = key.clone();
            let added = (Arc::clone(&labels), line("ADDED", &json));
            if contents.objects.insert(key, added).is_some() {
                contents.log.push(Logged {
                    version,
                    resource,
                    namespace,
                    labels,
                    line: line("MODIFIED", &json),
                });
            }
        }
        self.version.send_replace(contents.version);
    }

    /// At most `limit` of the selected objects behind the one with the namespace and
    /// name `after`.
    pub(super) fn page(
        &self,
        selection: &Selection,
        after: Option<(String, String)>,
        limit: usize,
    ) -> Page {
        let contents = self.contents();
        let start = after.map_or(Bound::Unbounded, |(namespace, name)| {
            Bound::Excluded((selection.resource, namespace, name))
        });
        let objects = contents.objects.range((start, Bound::Unbounded));
        let mut objects = objects.filter(|((resource, namespace, _), (labels, _))| {
            selection.takes(*resource, namespace, labels)
        });
        let (mut lines, mut last) = (Vec::new(), None);
        for ((_, namespace, name), (_, line)) in objects.by_ref().take(limit) {
            lines.push(line.clone());
            last = Some((namespace, name));
        }
        let remaining = objects.count();
        Page {
            lines,
            version: contents.version,
            last: last
                .filter(|_| remaining > 0)
                .map(|(namespace, name)| (namespace.clone(), name.clone())),
            remaining,
        }
    }

    /// All selected objects.
    pub(super) fn all(&self, selection: &Selection) -> Page {
        self.page(selection, None, usize::MAX)
    }

    /// The lines of changes later than version `since`, and the version they lead to.
    pub(super) fn later(&self, selection: &Selection, since: u64) -> (Vec<Bytes>, u64) {
        let contents = self.contents();
        let log = &contents.log;
        let from = log.partition_point(|logged| logged.version <= since);
        let lines = log[from..]
            .iter()
            .filter(|logged| selection.takes(logged.resource, &logged.namespace, &logged.labels));
        let lines = lines.map(|logged| logged.line.clone()).collect();
        (lines, contents.version)
    }

    /// Tells the version of each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
