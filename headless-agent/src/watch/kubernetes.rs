//! The API server as the source.
//!
//! `kube`'s watcher turns every watch into a list followed by changes. The list is
//! streamed if the server can (Kubernetes 1.27, KEP-3157), else read by pages. Bookmarks
//! keep the resource version fresh. A resource version that is too old (410) leads to a
//! new list, of which the index takes the differences. A failed request is repeated after
//! growing delays, and known objects are kept meanwhile. Objects are reduced to the
//! fields that DNS needs as soon as they arrive ([`super::convert`]). An object that does not
//! decode stops nothing: it is a problem, and its names are left to the cluster's DNS.
//!
//! `watches` says which objects are watched.

mod choose;
mod connect;
mod decoded;
mod discover;
mod failure;
mod follow;
mod hear;
mod merge;
mod node;
mod running;
mod sample;
mod watches;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use anyhow::bail;
use kube::Api;
pub use kube::Client;
use kube::runtime::watcher::Config;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use self::choose::choose;
pub use self::connect::{Access, in_cluster};
pub use self::discover::dns_policies;
pub(super) use self::failure::chain;
pub(super) use self::follow::Backoff;
use self::follow::{Heard, Watch, WatchEvent};
pub use self::hear::Patience;
pub(super) use self::hear::{Overlong, listening};
use self::merge::{Merge, Scope, SliceEvent};
pub use self::node::{NodeSelection, watch_node};
use self::running::Running;
pub use self::sample::samples;
pub use self::watches::{Selection, SliceSelection};
use self::watches::{Watched, Watches};
use super::health::Health;
use super::waiting::WaitingMemory;
use super::{Batch, Event, Kind, Object, ObjectRef, Problems, Report};

/// Most events of a batch. More of them would delay the first one.
const BATCH_MAX: usize = 512;

/// Follows the cluster until the receiver is dropped.
///
/// # Errors
/// When a watch ends, which none should.
pub async fn watch_kubernetes(
    client: Client,
    selection: Selection,
    patience: Patience,
    health: Arc<Health>,
    batches: mpsc::Sender<Batch>,
) -> anyhow::Result<()> {
    let (running, mut heard) = Running::new(client, patience, health);
    let mut starting = Starting {
        running,
        scopes: Vec::new(),
    };
    watches::each(&selection, &mut starting);
    let Starting { running, scopes } = starting;
    let mut tasks = running.into_tasks();
    let mut collector = Collector::new(&scopes);
    let mut changes = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            _ = heard.recv_many(&mut changes, BATCH_MAX) => {}
            () = batches.closed() => return Ok(()),
            Some(ended) = tasks.join_next() => {
                ended?;
                bail!("a watch ended");
            }
        }
        let batch = collector.batch(changes.drain(..));
        if !batch.is_empty() && batches.send(batch).await.is_err() {
            return Ok(());
        }
    }
}

/// Watches that are being started.
struct Starting {
    running: Running<Object>,
    /// The watches of slices among them.
    scopes: Vec<Scope>,
}

impl Watches for Starting {
    fn take<K: Watched>(
        &mut self,
        watch: Watch,
        api: impl FnOnce(Client) -> Api<K>,
        config: Config,
        convert: impl Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
    ) {
        self.scopes.extend(watch.scope);
        self.running.start(watch, api, config, convert);
    }
}

/// Makes batches of the watches' events.
#[derive(Debug)]
struct Collector {
    merge: Merge,
    /// Objects with problems.
    reported: HashMap<ObjectRef, Reported>,
    /// Number of each watch's current list, by its name.
    lists: HashMap<&'static str, u32>,
}

/// An object that was last reported with problems.
#[derive(Clone, Copy, Debug)]
struct Reported {
    /// A digest of the problems: an update or a new list that only repeats them is
    /// not reported again.
    digest: u64,
    /// The watch that sent the object last, and the number of its list then.
    watch: &'static str,
    list: u32,
}

impl Collector {
    fn new(scopes: &[Scope]) -> Self {
        Self {
            merge: Merge::new(scopes),
            reported: HashMap::new(),
            lists: HashMap::new(),
        }
    }

    fn batch(&mut self, heard: impl Iterator<Item = Heard>) -> Batch {
        let mut batch = Batch::default();
        let mut taken: Option<OwnedSemaphorePermit> = None;
        for Heard {
            watch,
            arrived,
            event,
            problems,
            memory,
        } in heard
        {
            match (&mut taken, memory) {
                (Some(taken), Some(memory)) => taken.merge(memory),
                (taken, memory) => *taken = taken.take().or(memory),
            }
            let first = batch.arrived.unwrap_or(arrived);
            batch.arrived = Some(first.min(arrived));
            self.report(watch.name, &event, problems, &mut batch.reports);
            match watch.scope {
                Some(scope) => {
                    self.merge
                        .take(scope, slice_event(event), &mut batch.events);
                }
                None => batch.events.push(index_event(watch.kind, event)),
            }
        }
        batch.memory = WaitingMemory::of(taken);
        batch
    }

    /// Adds a report if the problems of the event's object have changed. Forgets objects that
    /// are gone.
    fn report(
        &mut self,
        watch: &'static str,
        event: &WatchEvent,
        problems: Problems,
        reports: &mut Vec<Report>,
    ) {
        let list = self.lists.entry(watch).or_default();
        match event {
            WatchEvent::Restart => *list += 1,
            WatchEvent::Restarted => {
                let gone = |entry: &Reported| entry.watch == watch && entry.list != *list;
                self.reported.retain(|reference, entry| {
                    let gone = gone(entry);
                    if gone {
                        reports.push(settled(reference));
                    }
                    !gone
                });
            }
            WatchEvent::Delete(reference) => {
                // Another watch may have it by now.
                let entry = self.reported.get(reference);
                if entry.is_some_and(|entry| entry.watch == watch) {
                    self.reported.remove(reference);
                    reports.push(settled(reference));
                }
            }
            WatchEvent::Apply(reference, ..) if problems.is_empty() => {
                if self.reported.remove(reference).is_some() {
                    reports.push(settled(reference));
                }
            }
            WatchEvent::Apply(reference, ..) => {
                let mut hasher = DefaultHasher::new();
                problems.hash(&mut hasher);
                let digest = hasher.finish();
                let entry = Reported {
                    digest,
                    watch,
                    list: *list,
                };
                let before = self.reported.insert(reference.clone(), entry);
                if before.map(|before| before.digest) != Some(digest) {
                    reports.push(Report {
                        about: reference.to_string(),
                        problems,
                    });
                }
            }
        }
    }
}

/// A report that the object has no problems any more.
fn settled(reference: &ObjectRef) -> Report {
    Report {
        about: reference.to_string(),
        problems: Problems::default(),
    }
}

/// The event in the form that the index takes. An object of which no part can be used does
/// not exist for the index, even if an earlier version of it could be used.
fn index_event(kind: Kind, event: WatchEvent) -> Event {
    match event {
        WatchEvent::Apply(_, Some(object), _) => Event::Apply(object),
        WatchEvent::Apply(reference, None, _) | WatchEvent::Delete(reference) => {
            Event::Delete(reference)
        }
        WatchEvent::Restart => Event::Restart(kind),
        WatchEvent::Restarted => Event::Restarted(kind),
    }
}

fn slice_event(event: WatchEvent) -> SliceEvent {
    match event {
        WatchEvent::Apply(_, Some(Object::EndpointSlice(slice)), version) => {
            SliceEvent::Apply(slice, version)
        }
        WatchEvent::Apply(reference, ..) | WatchEvent::Delete(reference) => {
            SliceEvent::Delete(reference)
        }
        WatchEvent::Restart => SliceEvent::Restart,
        WatchEvent::Restarted => SliceEvent::Restarted,
    }
}

#[cfg(test)]
mod tests;
