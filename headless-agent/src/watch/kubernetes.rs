//! The API server as the source.
//!
//! `kube`'s watcher turns every watch into a list followed by changes. The list is
//! streamed if the server can (Kubernetes 1.27, KEP-3157), else read by pages. Bookmarks
//! keep the resource version fresh. A resource version that is too old (410) leads to a
//! new list, of which the index takes the differences. A failed request is repeated after
//! growing delays, and known objects are kept meanwhile. Objects are reduced to the
//! fields that DNS needs as soon as they arrive ([`super::convert`]).
//!
//! # Which slices
//!
//! Most EndpointSlices belong to Services with a cluster IP. No DNS answer depends on
//! them, unless all endpoints have names (`--endpoints all`: one watch without a
//! selector). By default three watches see the other slices, each slice by one watch:
//!
//! - Slices with the label `service.kubernetes.io/headless`, which the control
//!   plane's EndpointSlice controller puts on slices of headless Services.
//! - Slices without that label which this controller did not make, by the label
//!   `endpointslice.kubernetes.io/managed-by`: slices made by hand, mirrored from
//!   Endpoints, or made by other controllers. Among them are the slices of headless
//!   Services without a selector, which nobody labels, and slices that somebody adds to
//!   a Service with a selector. A cluster has few such slices. A watch for each such
//!   Service would find no more, would have to come and go with Services, and would cost
//!   the API server as many watches from every node.
//! - Slices of the cluster's DNS Service, which has a cluster IP: the addresses
//!   of its pods are served too.
//!
//! A slice whose labels change moves from one of these watches to another, and the two
//! watches tell of it in any order. The slice is gone when no watch has it.

mod connect;
mod failure;
mod follow;
mod hear;
mod merge;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use anyhow::bail;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::Api;
pub use kube::Client;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use self::connect::{Access, in_cluster};
use self::follow::{Follow, Heard, Watch, WatchEvent};
pub use self::hear::Patience;
use self::merge::{Merge, Scope, SliceEvent};
use super::convert::{self, SERVICE_NAME_LABEL};
use super::health::Health;
use super::{Batch, Event, Keep, Kind, Object, ObjectRef, Problem, Report, ServiceRef};

/// Label of the slices of headless Services
/// (`v1.IsHeadlessService` of k8s.io/api/core/v1).
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Slices that the EndpointSlice controller did not make
/// (`discovery.LabelManagedBy` of k8s.io/api/discovery/v1); `!=` selects what
/// has no such label too.
const FOREIGN: &str = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io";

/// Slices that it made.
const OWN: &str = "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

/// Pods that CoreDNS's `pods verified` knows (`plugin/kubernetes/controller.go`).
const LIVE_PODS: &str = "status.phase!=Failed,status.phase!=Succeeded,status.phase!=Unknown";

/// Events that may wait to be put into a batch.
const HEARD_MAX: usize = 4096;

/// Most events of a batch. More of them would delay the first one.
const BATCH_MAX: usize = 512;

/// The part of the cluster that is watched.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Whether the slices of every Service are watched, or those of headless Services.
    pub all_endpoints: bool,
    /// Whether pods are watched.
    pub pods: bool,
    /// The cluster's DNS Service.
    pub cluster_dns: ServiceRef,
    /// Which optional parts of objects are kept.
    pub keep: Keep,
}

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
    let (sender, mut heard) = mpsc::channel(HEARD_MAX);
    let mut watches = Watches {
        client,
        patience,
        health,
        heard: sender,
        tasks: JoinSet::new(),
    };
    let scopes = watches.start(&selection);
    let Watches { mut tasks, .. } = watches;
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

/// The running watches.
struct Watches {
    client: Client,
    patience: Patience,
    health: Arc<Health>,
    heard: mpsc::Sender<Heard>,
    tasks: JoinSet<()>,
}

impl Watches {
    /// Starts what is selected; returns which watches of slices there are.
    fn start(&mut self, selection: &Selection) -> Vec<Scope> {
        let keep = selection.keep;
        let namespaces = Watch {
            name: "namespaces",
            kind: Kind::Namespace,
            resource: "namespaces",
            scope: None,
        };
        self.follow(
            namespaces,
            Api::all,
            Config::default(),
            |object, problems| convert::namespace(object, problems).map(Object::Namespace),
        );
        let services = Watch {
            name: "services",
            kind: Kind::Service,
            resource: "services",
            scope: None,
        };
        self.follow(services, Api::all, Config::default(), |object, problems| {
            convert::service(object, problems).map(Object::Service)
        });
        let mut scopes = Vec::new();
        for (scope, namespace, selector) in slices(selection) {
            let api = move |client| -> Api<discovery::EndpointSlice> {
                match &namespace {
                    Some(namespace) => Api::namespaced(client, namespace),
                    None => Api::all(client),
                }
            };
            let config = Config {
                label_selector: selector,
                ..Config::default()
            };
            let watch = Watch {
                name: match scope {
                    Scope::Main => "endpointslices",
                    Scope::Foreign => "endpointslices made by hand",
                    Scope::ClusterDns => "endpointslices of the cluster's DNS",
                },
                kind: Kind::EndpointSlice,
                resource: "endpointslices.discovery.k8s.io",
                scope: Some(scope),
            };
            self.follow(watch, api, config, move |object, problems| {
                convert::endpoint_slice(object, keep, problems).map(Object::EndpointSlice)
            });
            scopes.push(scope);
        }
        if selection.pods {
            let pods = Watch {
                name: "pods",
                kind: Kind::Pod,
                resource: "pods",
                scope: None,
            };
            let config = Config::default().fields(LIVE_PODS);
            self.follow(pods, Api::all, config, |object: &v1::Pod, problems| {
                convert::pod(object, problems).map(Object::Pod)
            });
        }
        scopes
    }

    /// Starts one watch, whose client tells when the server sends something on it.
    fn follow<K, C>(
        &mut self,
        watch: Watch,
        api: impl FnOnce(Client) -> Api<K>,
        config: Config,
        convert: C,
    ) where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
        K: Send + Sync + 'static,
        C: Fn(&K, &mut Vec<Problem>) -> Option<Object> + Send + Sync + 'static,
    {
        let ear = self.health.listen(watch.name);
        let client = hear::listening(self.client.clone(), &ear, self.patience);
        let follow = Follow {
            watch,
            api: api(client),
            config,
            convert,
            ear,
            health: Arc::clone(&self.health),
            heard: self.heard.clone(),
        };
        self.tasks.spawn(follow.run());
    }
}

/// The watches of slices: which, in which namespace if in one, by which labels.
fn slices(selection: &Selection) -> Vec<(Scope, Option<String>, Option<String>)> {
    if selection.all_endpoints {
        return vec![(Scope::Main, None, None)];
    }
    let ServiceRef { namespace, name } = &selection.cluster_dns;
    vec![
        (Scope::Main, None, Some(HEADLESS_LABEL.to_owned())),
        (
            Scope::Foreign,
            None,
            Some(format!("!{HEADLESS_LABEL},{FOREIGN}")),
        ),
        (
            Scope::ClusterDns,
            Some(namespace.clone()),
            Some(format!(
                "{SERVICE_NAME_LABEL}={name},!{HEADLESS_LABEL},{OWN}"
            )),
        ),
    ]
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
    /// The watch that told of the object last, and in which list.
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
        for Heard {
            watch,
            arrived,
            event,
            problems,
        } in heard
        {
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
        batch
    }

    /// Follows what is wrong with objects, and forgets objects that are gone.
    fn report(
        &mut self,
        watch: &'static str,
        event: &WatchEvent,
        problems: Vec<Problem>,
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

/// Says that nothing is wrong with the object any more.
fn settled(reference: &ObjectRef) -> Report {
    Report {
        about: reference.to_string(),
        problems: Vec::new(),
    }
}

/// As the index takes it. An object of which no part can be used does not exist for
/// the index, even where an earlier version of it did.
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
