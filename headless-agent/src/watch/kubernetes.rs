//! The API server as the source.
//!
//! Every watch is a list followed by changes, by `kube`'s watcher: the list is
//! streamed where the server can (Kubernetes 1.27, KEP-3157), else read by pages;
//! bookmarks keep the version to go on from fresh; a version that is too old (410)
//! leads to a new list, which the index takes as a difference. A failed request
//! is made again, after longer and longer delays, and what is known is kept
//! meanwhile. Objects are cut down as they come ([`super::convert`]).
//!
//! # Which slices
//!
//! Most EndpointSlices belong to Services with a cluster IP, and no DNS answer
//! depends on them, unless all endpoints are to have names (`--endpoints all`,
//! one watch without a selector). By default three watches that exclude each
//! other see the rest:
//!
//! - Slices with the label `service.kubernetes.io/headless`, which the control
//!   plane's EndpointSlice controller puts on slices of headless Services.
//! - Slices without it that this controller did not make (by the label
//!   `endpointslice.kubernetes.io/managed-by`): made by hand, mirrored from
//!   Endpoints or made by other controllers. So the slices of headless Services
//!   without a selector, which nobody labels, are found, and those that somebody
//!   adds to a Service which has one. A cluster has few such slices. A watch for
//!   each such Service would find no more, would have to come and go with
//!   Services, and would cost the API server as many watches from every node.
//! - Slices of the cluster's DNS Service, which has a cluster IP: the addresses
//!   of its pods are served too.
//!
//! A slice whose labels change moves from one of these watches to another, and
//! the two tell of it in any order: it is gone when none has it.

mod connect;
mod failure;
mod follow;
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
use self::follow::{Change, Follow, Heard, Watch};
use self::merge::{Merge, Scope, SliceEvent};
use super::convert::{self, SERVICE_NAME_LABEL};
use super::health::Health;
use super::{Batch, Event, Keep, Kind, Object, ObjectRef, Problem};

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

/// Changes that may wait to be put into a batch.
const HEARD_MAX: usize = 4096;

/// Most changes of a batch: the index is locked while it takes one in.
const BATCH_MAX: usize = 512;

/// What of the cluster is watched.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Endpoints of every Service, not of headless ones alone.
    pub all_endpoints: bool,
    /// Pods.
    pub pods: bool,
    /// Namespace and name of the cluster's DNS Service.
    pub cluster_dns: (String, String),
    /// What of objects is worth its memory.
    pub keep: Keep,
}

/// Follows the cluster until the receiver is dropped.
///
/// # Errors
/// When a watch ends, which none should.
pub async fn watch_kubernetes(
    client: Client,
    selection: Selection,
    health: Arc<Health>,
    batches: mpsc::Sender<Batch>,
) -> anyhow::Result<()> {
    let (sender, mut heard) = mpsc::channel(HEARD_MAX);
    let mut watches = Watches {
        client,
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
        let empty = batch.events.is_empty() && batch.problems.is_empty();
        if !empty && batches.send(batch).await.is_err() {
            return Ok(());
        }
    }
}

/// The running watches.
struct Watches {
    client: Client,
    health: Arc<Health>,
    heard: mpsc::Sender<Heard>,
    tasks: JoinSet<()>,
}

impl Watches {
    /// Starts what is selected; returns which watches of slices there are.
    fn start(&mut self, selection: &Selection) -> Vec<Scope> {
        let keep = selection.keep;
        let api = Api::all(self.client.clone());
        let namespaces = Watch {
            name: "namespaces",
            kind: Kind::Namespace,
            resource: "namespaces",
            scope: None,
        };
        self.follow(namespaces, api, Config::default(), |object, problems| {
            convert::namespace(object, problems).map(Object::Namespace)
        });
        let api = Api::all(self.client.clone());
        let services = Watch {
            name: "services",
            kind: Kind::Service,
            resource: "services",
            scope: None,
        };
        self.follow(services, api, Config::default(), |object, problems| {
            convert::service(object, problems).map(Object::Service)
        });
        let mut scopes = Vec::new();
        for (scope, namespace, selector) in slices(selection) {
            let api: Api<discovery::EndpointSlice> = match namespace {
                Some(namespace) => Api::namespaced(self.client.clone(), &namespace),
                None => Api::all(self.client.clone()),
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
            let api: Api<v1::Pod> = Api::all(self.client.clone());
            let pods = Watch {
                name: "pods",
                kind: Kind::Pod,
                resource: "pods",
                scope: None,
            };
            let config = Config::default().fields(LIVE_PODS);
            self.follow(pods, api, config, |object, problems| {
                convert::pod(object, problems).map(Object::Pod)
            });
        }
        scopes
    }

    fn follow<K, C>(&mut self, watch: Watch, api: Api<K>, config: Config, convert: C)
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
        K: Send + Sync + 'static,
        C: Fn(&K, &mut Vec<Problem>) -> Option<Object> + Send + Sync + 'static,
    {
        let follow = Follow {
            watch,
            api,
            config,
            convert,
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
    let (namespace, name) = &selection.cluster_dns;
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

/// Makes batches of what the watches tell.
#[derive(Debug)]
struct Collector {
    merge: Merge,
    /// A digest of what was last wrong with each object: what an update or a new
    /// list only repeats is not reported again.
    reported: HashMap<ObjectRef, u64>,
}

impl Collector {
    fn new(scopes: &[Scope]) -> Self {
        Self {
            merge: Merge::new(scopes),
            reported: HashMap::new(),
        }
    }

    fn batch(&mut self, heard: impl Iterator<Item = Heard>) -> Batch {
        let mut batch = Batch::default();
        for Heard {
            watch,
            arrived,
            change,
            problems,
        } in heard
        {
            let first = batch.arrived.unwrap_or(arrived);
            batch.arrived = Some(first.min(arrived));
            match &change {
                Change::Apply(reference, ..) => self.report(reference, problems, &mut batch),
                Change::Delete(reference) => {
                    self.reported.remove(reference);
                }
                Change::Restart | Change::Restarted => {}
            }
            match watch.scope {
                Some(scope) => {
                    if let Some(event) = slice_event(change) {
                        self.merge.take(scope, event, &mut batch.events);
                    }
                }
                None => batch.events.extend(event(watch.kind, change)),
            }
        }
        batch
    }

    fn report(&mut self, reference: &ObjectRef, problems: Vec<Problem>, batch: &mut Batch) {
        if problems.is_empty() {
            self.reported.remove(reference);
            return;
        }
        let mut hasher = DefaultHasher::new();
        problems.hash(&mut hasher);
        let digest = hasher.finish();
        if self.reported.insert(reference.clone(), digest) != Some(digest) {
            batch.problems.extend(problems);
        }
    }
}

/// As the index takes it; what cannot be used is as if it were not there.
fn event(kind: Kind, change: Change) -> Option<Event> {
    Some(match change {
        Change::Apply(_, object, _) => Event::Apply(object?),
        Change::Delete(reference) => Event::Delete(reference),
        Change::Restart => Event::Restart(kind),
        Change::Restarted => Event::Restarted(kind),
    })
}

fn slice_event(change: Change) -> Option<SliceEvent> {
    Some(match change {
        Change::Apply(_, Some(Object::EndpointSlice(slice)), version) => {
            SliceEvent::Apply(slice, version)
        }
        Change::Apply(..) => return None,
        Change::Delete(reference) => SliceEvent::Delete(reference),
        Change::Restart => SliceEvent::Restart,
        Change::Restarted => SliceEvent::Restarted,
    })
}

#[cfg(test)]
mod tests;
