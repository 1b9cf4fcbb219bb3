//! The watches, and the objects that each watch selects.
//!
//! # Which slices
//!
//! Most EndpointSlices belong to Services with a cluster IP. Only names below such a Service
//! and the reverse names of endpoints depend on them. One watch without a selector sees all
//! slices (`--endpoints all`, or `auto` in a cluster that is not too large). With
//! `--endpoints headless` three watches see the other slices, each slice by one watch:
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
//! A slice whose labels change moves from one of these watches to another, and the events
//! of these two watches come in any order. The slice is gone when no watch has it.
//!
//! With `noendpoints` one watch alone selects slices of the cluster's DNS Service. Its selector
//! differs from the listed one, since no other watch has the slices with other labels.
//!
//! # Which labels
//!
//! Labels that CoreDNS selects (`labels`, `namespace_labels`) decide here, not at the server: the
//! addresses of the cluster's DNS are served whatever labels it has, and a server does not count
//! the objects that a selector chooses.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::super::convert::{
    self, ReadNamespace, ReadPod, ReadService, ReadSlice, SERVICE_NAME_LABEL,
};
use super::super::{Keep, Kind, Object, Problems, ServiceRef};
use super::decoded::{Decoded, Labelled};
use super::follow::Watch;
use super::merge::Scope;

/// Label of the slices of headless Services
/// (`v1.IsHeadlessService` of k8s.io/api/core/v1).
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Slices that the EndpointSlice controller did not make
/// (`discovery.LabelManagedBy` of k8s.io/api/discovery/v1); `!=` selects what
/// has no such label too.
const FOREIGN: &str = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io";

/// Slices that it made.
const OWN: &str = "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

/// Name of the main watch of slices.
pub(super) const SLICES: &str = "endpointslices";

/// The resource of slices, as in RBAC rules.
pub(super) const SLICES_RESOURCE: &str = "endpointslices.discovery.k8s.io";

/// Pods that CoreDNS's `pods verified` knows (`plugin/kubernetes/controller.go`).
const LIVE_PODS: &str = "status.phase!=Failed,status.phase!=Succeeded,status.phase!=Unknown";

/// The part of the cluster that is watched.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The slices that are watched, apart from the slices of the cluster's DNS Service.
    pub slices: SliceSelection,
    /// Whether pods are watched.
    pub pods: bool,
    /// The cluster's DNS Service.
    pub cluster_dns: ServiceRef,
    /// Which optional parts of objects are kept.
    pub keep: Keep,
}

/// The slices that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceSelection {
    /// The slices of every Service.
    All,
    /// The slices of headless Services.
    Headless,
    /// No slices.
    None,
}

/// A type of objects that the API server can send.
pub(super) trait Watched:
    Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static> Watched for K {}

/// A visitor of all watches, whose objects have different types.
pub(super) trait Watches {
    /// Visits a watch. `api` has its objects, `config` selects among them, and `convert`
    /// reduces an object to its slim form.
    fn take<K: Watched>(
        &mut self,
        watch: Watch,
        api: impl FnOnce(Client) -> Api<K>,
        config: Config,
        convert: impl Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
    );
}

/// The slim form of what decodes of an object, where `convert` makes that of a whole object.
fn slim<K>(
    kind: Kind,
    convert: impl Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
) -> impl Fn(&Decoded<K>, &mut Problems) -> Option<Object> + Send + Sync + 'static {
    move |object, problems| object.slim(kind, &convert, problems)
}

/// The same for an object whose labels decide, too.
fn labelled<K>(
    kind: Kind,
    keep: Keep,
    convert: impl Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
) -> impl Fn(&Labelled<K>, &mut Problems) -> Option<Object> + Send + Sync + 'static {
    move |Labelled { object, labels }, problems| {
        let slim = object.slim(kind, &convert, problems);
        let selector = match kind {
            Kind::Namespace => &keep.namespaces,
            _ => &keep.labels,
        };
        keep.select(slim, Some(&labels.of(selector)), problems)
    }
}

/// Gives a watch of objects with namespaces to `watches`. `namespace` is the only one whose
/// objects it has, if there is one.
fn take<K>(
    watches: &mut impl Watches,
    watch: Watch,
    (namespace, config): (Option<String>, Config),
    keep: &Keep,
    convert: impl Fn(&K, &mut Problems) -> Option<Object> + Send + Sync + 'static,
) where
    K: Watched + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    fn api<K>(client: Client, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }
    let kind = watch.kind;
    if keep.labels.is_empty() {
        let api = |client| api::<Decoded<K>>(client, namespace.as_deref());
        watches.take(watch, api, config, slim(kind, convert));
    } else {
        let api = |client| api::<Labelled<K>>(client, namespace.as_deref());
        let convert = labelled(kind, keep.clone(), convert);
        watches.take(watch, api, config, convert);
    }
}

/// Gives every watch of the selection to `watches`: Namespaces and Services first.
pub(super) fn each(selection: &Selection, watches: &mut impl Watches) {
    let keep = &selection.keep;
    let namespaces = Watch::new("namespaces", Kind::Namespace, "namespaces");
    let convert = |object: &ReadNamespace, problems: &mut Problems| {
        convert::namespace(object, problems).map(Object::Namespace)
    };
    if keep.namespaces.is_empty() {
        let convert = slim(Kind::Namespace, convert);
        watches.take(namespaces, Api::all, Config::default(), convert);
    } else {
        let convert = labelled(Kind::Namespace, keep.clone(), convert);
        watches.take(namespaces, Api::all, Config::default(), convert);
    }
    take(
        watches,
        Watch::new("services", Kind::Service, "services"),
        (None, Config::default()),
        keep,
        |object: &ReadService, problems| convert::service(object, problems).map(Object::Service),
    );
    for (scope, namespace, selector) in slices(selection) {
        let config = Config {
            label_selector: selector,
            ..Config::default()
        };
        let name = match scope {
            Scope::Main => SLICES,
            Scope::Foreign => "endpointslices made by hand",
            Scope::ClusterDns => "endpointslices of the cluster's DNS",
        };
        let watch = Watch {
            scope: Some(scope),
            ..Watch::new(name, Kind::EndpointSlice, SLICES_RESOURCE)
        };
        let kept = keep.clone();
        let convert = move |object: &ReadSlice, problems: &mut Problems| {
            convert::endpoint_slice(object, &kept, problems).map(Object::EndpointSlice)
        };
        take(watches, watch, (namespace, config), keep, convert);
    }
    if selection.pods {
        take(
            watches,
            Watch::new("pods", Kind::Pod, "pods"),
            (None, Config::default().fields(LIVE_PODS)),
            keep,
            |object: &ReadPod, problems| convert::pod(object, problems).map(Object::Pod),
        );
    }
}

/// The watches of slices: which, in which namespace if in one, by which labels.
pub(super) fn slices(selection: &Selection) -> Vec<(Scope, Option<String>, Option<String>)> {
    let ServiceRef { namespace, name } = &selection.cluster_dns;
    match selection.slices {
        SliceSelection::All => return vec![(Scope::Main, None, None)],
        SliceSelection::None => {
            let selector = format!("{SERVICE_NAME_LABEL}={name}");
            return vec![(Scope::ClusterDns, Some(namespace.clone()), Some(selector))];
        }
        SliceSelection::Headless => {}
    }
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
