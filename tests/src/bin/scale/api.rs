//! As much of a Kubernetes API server as the two peers ask for, made for size:
//! every object is rendered once, when it is written, so that the time to
//! deliver it is that of copying bytes. Lists, streamed lists (KEP-3157) and
//! watches, with label selectors.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// Bytes that are written at once.
const CHUNK: usize = 128 * 1024;

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    Namespaces,
    Services,
    EndpointSlices,
}

impl Resource {
    const ALL: [Self; 3] = [Self::Namespaces, Self::Services, Self::EndpointSlices];

    /// As it stands in a URL, its kind, and its group and version.
    const fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Namespaces => ("namespaces", "Namespace", "v1"),
            Self::Services => ("services", "Service", "v1"),
            Self::EndpointSlices => ("endpointslices", "EndpointSlice", "discovery.k8s.io/v1"),
        }
    }

    /// The path under which all of them are.
    pub(crate) fn path(self) -> String {
        let (resource, _, version) = self.names();
        let root = if version == "v1" { "api" } else { "apis" };
        format!("/{root}/{version}/{resource}")
    }
}

/// An object to be written.
#[derive(Debug)]
pub(crate) struct Object {
    resource: Resource,
    namespace: String,
    name: String,
    labels: Labels,
    /// All but `kind`, `apiVersion` and `metadata`.
    rest: Value,
}

impl Object {
    pub(crate) fn new(
        resource: Resource,
        namespace: &str,
        name: &str,
        labels: Labels,
        rest: Value,
    ) -> Self {
        Self {
            resource,
            namespace: namespace.into(),
            name: name.into(),
            labels,
            rest,
        }
    }

    /// With the metadata that an API server and the controllers add.
    fn render(self, version: u64) -> (Key, Labels, String) {
        let Self {
            resource,
            namespace,
            name,
            labels,
            rest: mut json,
        } = self;
        let (_, kind, api_version) = resource.names();
        json["kind"] = kind.into();
        json["apiVersion"] = api_version.into();
        json["metadata"] = json!({
            "name": name,
            "uid": format!("0f8fad5b-d9cb-469f-a165-{version:012x}"),
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
        });
        let metadata = &mut json["metadata"];
        if resource != Resource::Namespaces {
            metadata["namespace"] = namespace.as_str().into();
        }
        if resource == Resource::EndpointSlices {
            metadata["generateName"] = format!("{name}-").into();
            metadata["generation"] = 1.into();
            metadata["annotations"] =
                json!({"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"});
            metadata["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Service", "controller": true,
                "blockOwnerDeletion": true, "name": name,
                "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            }]);
        }
        ((resource, namespace, name), labels, json.to_string())
    }
}

type Key = (Resource, String, String);

/// The server's state, shared by its connections.
#[derive(Debug)]
pub(crate) struct ApiServer {
    store: Mutex<Store>,
    /// Version of the latest change.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Store {
    version: u64,
    objects: BTreeMap<Key, (Arc<Labels>, Bytes)>,
    log: Vec<Logged>,
}

/// A change, as a line of a watch.
#[derive(Debug)]
struct Logged {
    version: u64,
    resource: Resource,
    namespace: String,
    labels: Arc<Labels>,
    line: Bytes,
}

/// One event of a watch.
fn line(event: &str, json: &str) -> Bytes {
    format!("{{\"type\":\"{event}\",\"object\":{json}}}\n").into()
}

/// What a request is about.
#[derive(Clone, Debug)]
struct Selected {
    resource: Resource,
    namespace: Option<String>,
    selector: String,
}

impl Selected {
    fn takes(&self, resource: Resource, namespace: &str, labels: &Labels) -> bool {
        self.resource == resource
            && self.namespace.as_deref().is_none_or(|of| of == namespace)
            && selects(&self.selector, labels)
    }
}

/// Label selectors without sets (`labels.Parse` of k8s.io/apimachinery).
fn selects(selector: &str, labels: &Labels) -> bool {
    let mut terms = selector.split(',').filter(|term| !term.is_empty());
    terms.all(|term| {
        if let Some((key, value)) = term.split_once("!=") {
            labels.get(key).is_none_or(|is| is != value)
        } else if let Some((key, value)) = term.split_once('=') {
            let value = value.strip_prefix('=').unwrap_or(value);
            labels.get(key).is_some_and(|is| is == value)
        } else if let Some(key) = term.strip_prefix('!') {
            !labels.contains_key(key)
        } else {
            labels.contains_key(term)
        }
    })
}

impl ApiServer {
    /// One without objects.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::default(),
            version: watch::Sender::new(0),
        })
    }

    /// Serves on a socket for as long as the runtime lives.
    pub(crate) fn serve(self: &Arc<Self>, listener: TcpListener) -> anyhow::Result<()> {
        let mut routes = Router::new();
        for root in ["/api/v1", "/apis/discovery.k8s.io/v1"] {
            let in_namespace = format!("{root}/namespaces/{{namespace}}/{{resource}}");
            routes = routes.route(&format!("{root}/{{resource}}"), get(all));
            routes = routes.route(&in_namespace, get(of_namespace));
        }
        let routes = routes.with_state(Arc::clone(self));
        listener.set_nonblocking(true)?;
        // As Go does, which an API server is written in.
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let listener = listener.tap_io(|stream| {
            // An event would only be late.
            let _set = stream.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an object; whoever watches is told.
    pub(crate) fn put(&self, object: Object) {
        self.put_all([object]);
    }

    /// Writes objects and tells of all of them at once.
    pub(crate) fn put_all(&self, objects: impl IntoIterator<Item = Object>) {
        let mut store = self.store();
        for object in objects {
            store.version += 1;
            let version = store.version;
            let (key, labels, json) = object.render(version);
            let labels = Arc::new(labels);
            let (resource, namespace, _) = key.clone();
            let added = (Arc::clone(&labels), line("ADDED", &json));
            if store.objects.insert(key, added).is_some() {
                store.log.push(Logged {
                    version,
                    resource,
                    namespace,
                    labels,
                    line: line("MODIFIED", &json),
                });
            }
        }
        self.version.send_replace(store.version);
    }

    /// The objects as lines of a watch, and the version that they are of.
    fn added(&self, selected: &Selected) -> (Vec<Bytes>, u64) {
        let store = self.store();
        let objects = store.objects.iter();
        let objects = objects.filter(|((resource, namespace, _), (labels, _))| {
            selected.takes(*resource, namespace, labels)
        });
        let lines = objects.map(|(_, (_, line))| line.clone()).collect();
        (lines, store.version)
    }

    fn list(&self, selected: &Selected) -> Response {
        let (lines, version) = self.added(selected);
        let (_, kind, api_version) = selected.resource.names();
        let start = line("ADDED", "").len() - "}\n".len();
        let objects = lines.iter().map(|line| &line[start..line.len() - 2]);
        let items: Vec<&[u8]> = objects.collect();
        let head = format!(
            "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api_version}\",\
             \"metadata\":{{\"resourceVersion\":\"{version}\"}},\"items\":["
        );
        let body = [head.as_bytes(), &items.join(b",".as_slice()), b"]}"].concat();
        respond(Body::from(body))
    }

    /// Lines later than `since`, and the version they lead to.
    fn later(&self, selected: &Selected, since: u64) -> (Vec<Bytes>, u64) {
        let store = self.store();
        let from = store.log.partition_point(|logged| logged.version <= since);
        let lines = store.log[from..].iter().filter(|logged| {
            let Logged {
                resource,
                namespace,
                labels,
                ..
            } = logged;
            selected.takes(*resource, namespace, labels)
        });
        let lines = lines.map(|logged| logged.line.clone()).collect();
        (lines, store.version)
    }

    fn watch(self: Arc<Self>, selected: Selected, parameters: &Labels) -> Response {
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let all = get("sendInitialEvents") == Some("true");
        let since = get("resourceVersion").and_then(|version| version.parse().ok());
        let (opening, since) = match since {
            Some(since) if !all && since != 0 => (Vec::new(), since),
            _ => {
                let (mut lines, version) = self.added(&selected);
                if all {
                    lines.push(bookmark(selected.resource, version));
                }
                (lines, version)
            }
        };
        let changed = self.version.subscribe();
        let rest = stream::unfold(
            (self, changed, since),
            move |(server, mut changed, since)| {
                let selected = selected.clone();
                async move {
                    let mut since = since;
                    loop {
                        let (lines, now) = server.later(&selected, since);
                        since = now;
                        if !lines.is_empty() {
                            return Some((lines.concat().into(), (server, changed, since)));
                        }
                        changed.wait_for(|version| *version > since).await.ok()?;
                    }
                }
            },
        );
        let opening = stream::iter(Chunks(opening.into_iter()));
        let lines = opening.chain(rest).map(Ok::<Bytes, Infallible>);
        respond(Body::from_stream(lines))
    }
}

/// Says that all there is has been sent.
fn bookmark(resource: Resource, version: u64) -> Bytes {
    let (_, kind, api_version) = resource.names();
    let bookmark = json!({
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {
            "resourceVersion": version.to_string(),
            "annotations": { "k8s.io/initial-events-end": "true" },
        },
    });
    line("BOOKMARK", &bookmark.to_string())
}

/// Lines, joined as far as they are short.
struct Chunks(std::vec::IntoIter<Bytes>);

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(line) = self.0.next()
        {
            chunk.extend_from_slice(&line);
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}

fn respond(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn all(
    State(server): State<Arc<ApiServer>>,
    Path(resource): Path<String>,
    Query(parameters): Query<Labels>,
) -> Response {
    answer(server, None, &resource, &parameters)
}

async fn of_namespace(
    State(server): State<Arc<ApiServer>>,
    Path((namespace, resource)): Path<(String, String)>,
    Query(parameters): Query<Labels>,
) -> Response {
    answer(server, Some(namespace), &resource, &parameters)
}

fn answer(
    server: Arc<ApiServer>,
    namespace: Option<String>,
    resource: &str,
    parameters: &Labels,
) -> Response {
    let mut resources = Resource::ALL.into_iter();
    let Some(resource) = resources.find(|of| of.names().0 == resource) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let selected = Selected {
        resource,
        namespace,
        selector: parameters.get("labelSelector").cloned().unwrap_or_default(),
    };
    match parameters.get("watch").map(String::as_str) {
        Some("true" | "1") => server.watch(selected, parameters),
        _ => server.list(&selected),
    }
}
