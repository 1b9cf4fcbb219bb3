//! As much of a Kubernetes API server as CoreDNS's informers ask for: list and
//! watch of four resources as JSON, over plain HTTP on loopback.
//!
//! It validates nothing, so that objects can be served which a real API server
//! refuses today and once did not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::stream;
use headless_agent::watch::Kind;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::cluster::{Change, Key, Object};

/// The server's state, shared by its connections.
#[derive(Debug)]
pub struct ApiServer {
    store: Mutex<Store>,
    /// Version of the latest change.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Store {
    version: u64,
    objects: BTreeMap<Key, Value>,
    log: Vec<Logged>,
}

/// One change of an object.
#[derive(Debug)]
struct Logged {
    version: u64,
    kind: Kind,
    before: Option<Value>,
    /// The object; `None` where it is gone.
    now: Option<Value>,
}

/// Which objects a request is for.
#[derive(Debug)]
struct Selection {
    kind: Kind,
    namespace: Option<String>,
    /// The requirements of `labelSelector`.
    labels: Vec<Requirement>,
}

/// What a label must be (Kubernetes, "Labels and Selectors"; sets are not used here).
#[derive(Debug)]
enum Requirement {
    Exists(String),
    Missing(String),
    Is(String, String),
    /// Also where there is no such label.
    IsNot(String, String),
}

impl Requirement {
    fn new(text: &str) -> Self {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        if let Some((key, value)) = text.split_once("!=").map(owned) {
            Self::IsNot(key, value)
        } else if let Some((key, value)) = text.split_once('=').map(owned) {
            Self::Is(key, value)
        } else if let Some(key) = text.strip_prefix('!') {
            Self::Missing(key.to_owned())
        } else {
            Self::Exists(text.to_owned())
        }
    }

    fn holds(&self, labels: &Value) -> bool {
        let get = |key: &String| labels.get(key).and_then(Value::as_str);
        match self {
            Self::Exists(key) => get(key).is_some(),
            Self::Missing(key) => get(key).is_none(),
            Self::Is(key, value) => get(key) == Some(value),
            Self::IsNot(key, value) => get(key) != Some(value),
        }
    }
}

impl Selection {
    fn new(kind: Kind, namespace: Option<String>, parameters: &BTreeMap<String, String>) -> Self {
        let selector = parameters.get("labelSelector").map_or("", String::as_str);
        let texts = selector.split(',').filter(|text| !text.is_empty());
        Self {
            kind,
            namespace,
            labels: texts.map(Requirement::new).collect(),
        }
    }

    fn selects(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let namespace = self.namespace.as_deref();
        namespace.is_none_or(|namespace| metadata["namespace"] == namespace)
            && self
                .labels
                .iter()
                .all(|label| label.holds(&metadata["labels"]))
    }

    /// What a watch tells of a change: an object that is no longer selected is deleted.
    fn line(&self, change: &Logged) -> Option<String> {
        let selected = |object: &Option<Value>| object.clone().filter(|of| self.selects(of));
        let (event, mut object) = match (selected(&change.before), selected(&change.now)) {
            _ if change.kind != self.kind => return None,
            (None, None) => return None,
            (None, Some(now)) => ("ADDED", now),
            (Some(_), Some(now)) => ("MODIFIED", now),
            (Some(before), None) => ("DELETED", before),
        };
        object["metadata"]["resourceVersion"] = change.version.to_string().into();
        Some(line(event, &object))
    }
}

/// Whether the object is among those that a watch of its kind sees: CoreDNS asks
/// for pods by a field selector that leaves out the finished and the lost.
fn selected(object: &Object) -> bool {
    let Object::Pod(pod) = object else {
        return true;
    };
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed" | "Unknown"))
}

/// The object as the API server stores it: a port without a protocol is TCP's
/// (`pkg/apis/core/v1/defaults.go`, `pkg/apis/discovery/v1/defaults.go`).
fn defaulted(object: &Object) -> Value {
    let mut json = object.json();
    let ports = match object {
        Object::Service(_) => json.pointer_mut("/spec/ports"),
        Object::EndpointSlice(_) => json.pointer_mut("/ports"),
        Object::Namespace(_) | Object::Pod(_) => None,
    };
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("protocol").is_none() {
            port["protocol"] = "TCP".into();
        }
    }
    json
}

impl Store {
    fn apply(&mut self, change: &Change) {
        self.version += 1;
        let version = self.version;
        let key = match change {
            Change::Put(object) => object.key(),
            Change::Delete(key) => key.clone(),
        };
        let kind = key.0;
        let (before, now) = match change {
            Change::Put(object) if selected(object) => {
                let mut json = defaulted(object);
                json["metadata"]["resourceVersion"] = version.to_string().into();
                (self.objects.insert(key, json.clone()), Some(json))
            }
            Change::Put(_) | Change::Delete(_) => (self.objects.remove(&key), None),
        };
        self.log.push(Logged {
            version,
            kind,
            before,
            now,
        });
    }

    fn of(&self, selection: &Selection) -> impl Iterator<Item = &Value> {
        let objects = self.objects.iter();
        objects
            .filter(move |((of, ..), _)| *of == selection.kind)
            .map(|(_, object)| object)
            .filter(|object| selection.selects(object))
    }
}

/// One event of a watch.
fn line(event: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": event, "object": object }))
}

const fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::Namespace | Kind::Service | Kind::Pod => "v1",
    }
}

impl ApiServer {
    /// Serves these objects on a free port of loopback for as long as the
    /// runtime lives.
    pub async fn start(
        objects: impl Iterator<Item = &Object>,
    ) -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let mut store = Store::default();
        for object in objects {
            store.apply(&Change::Put(object.clone()));
        }
        let server = Arc::new(Self {
            version: watch::Sender::new(store.version),
            store: Mutex::new(store),
        });
        let routes = Router::new()
            .route("/api/v1/{resource}", get(serve))
            .route("/apis/discovery.k8s.io/v1/{resource}", get(serve))
            .route(
                "/apis/discovery.k8s.io/v1/namespaces/{namespace}/{resource}",
                get(serve_namespace),
            )
            .with_state(Arc::clone(&server));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok((server, address))
    }

    /// Makes changes; whoever watches is told.
    pub fn apply<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) {
        let mut store = self.store();
        for change in changes {
            store.apply(change);
        }
        self.version.send_replace(store.version);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, selection: &Selection) -> Response {
        let store = self.store();
        let kind = selection.kind;
        let items: Vec<&Value> = store.of(selection).collect();
        let list = json!({
            "kind": format!("{}List", kind.name()),
            "apiVersion": api_version(kind),
            "metadata": { "resourceVersion": store.version.to_string() },
            "items": items,
        });
        respond(Body::from(list.to_string()))
    }

    /// What a watch begins with, and the version from which it goes on.
    fn opening(
        &self,
        selection: &Selection,
        parameters: &BTreeMap<String, String>,
    ) -> (String, u64) {
        let store = self.store();
        let kind = selection.kind;
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let all = get("sendInitialEvents") == Some("true");
        let since = get("resourceVersion").and_then(|version| version.parse().ok());
        match since {
            Some(since) if !all && since != 0 => (String::new(), since),
            _ => {
                let objects = store.of(selection);
                let mut lines: String = objects.map(|object| line("ADDED", object)).collect();
                if all {
                    let bookmark = json!({
                        "kind": kind.name(),
                        "apiVersion": api_version(kind),
                        "metadata": {
                            "resourceVersion": store.version.to_string(),
                            "annotations": { "k8s.io/initial-events-end": "true" },
                        },
                    });
                    lines.push_str(&line("BOOKMARK", &bookmark));
                }
                (lines, store.version)
            }
        }
    }

    /// Lines later than `since`, and the version they lead to.
    fn later(&self, selection: &Selection, since: u64) -> (String, u64) {
        let store = self.store();
        let from = store.log.partition_point(|change| change.version <= since);
        let changes = store.log.iter().skip(from);
        let lines = changes.filter_map(|change| selection.line(change));
        (lines.collect(), store.version)
    }

    fn watch(
        self: Arc<Self>,
        selection: Selection,
        parameters: &BTreeMap<String, String>,
    ) -> Response {
        let (opening, since) = self.opening(&selection, parameters);
        let changed = self.version.subscribe();
        let rest = stream::unfold(
            (self, selection, changed, since),
            move |(server, selection, mut changed, since)| async move {
                let mut since = since;
                loop {
                    let (lines, now) = server.later(&selection, since);
                    since = now;
                    if !lines.is_empty() {
                        let next = (server, selection, changed, since);
                        return Some((Ok::<_, Infallible>(lines), next));
                    }
                    changed.wait_for(|version| *version > since).await.ok()?;
                }
            },
        );
        let opening = stream::iter((!opening.is_empty()).then_some(Ok(opening)));
        respond(Body::from_stream(futures::StreamExt::chain(opening, rest)))
    }
}

fn respond(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn serve(
    State(server): State<Arc<ApiServer>>,
    Path(resource): Path<String>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    answer(server, None, &resource, &parameters)
}

async fn serve_namespace(
    State(server): State<Arc<ApiServer>>,
    Path((namespace, resource)): Path<(String, String)>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Response {
    answer(server, Some(namespace), &resource, &parameters)
}

fn answer(
    server: Arc<ApiServer>,
    namespace: Option<String>,
    resource: &str,
    parameters: &BTreeMap<String, String>,
) -> Response {
    let Some(kind) = Kind::ALL
        .into_iter()
        .find(|kind| kind.resource() == resource)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let selection = Selection::new(kind, namespace, parameters);
    match parameters.get("watch").map(String::as_str) {
        Some("true" | "1") => server.watch(selection, parameters),
        _ => server.list(&selection),
    }
}
