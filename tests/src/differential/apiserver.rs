//! A small Kubernetes API server, with only the requests that CoreDNS and the agent make:
//! list and watch of four resources as JSON, over plain HTTP.
//!
//! This server validates nothing. So tests can serve objects that earlier versions of
//! Kubernetes accepted and that a real API server refuses today.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
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

/// The server's state. All connections share it.
#[derive(Debug)]
pub struct ApiServer {
    store: Mutex<Store>,
    /// Resource version of the latest change.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Store {
    version: u64,
    objects: BTreeMap<Key, Value>,
    log: Vec<LoggedChange>,
}

/// One change of an object, as watches report it.
#[derive(Debug)]
struct LoggedChange {
    version: u64,
    kind: Kind,
    /// The object before the change; `None` if there was none.
    before: Option<Value>,
    /// The object after the change; `None` if it was deleted.
    now: Option<Value>,
}

/// The objects that a list or watch asks for.
#[derive(Debug)]
struct ObjectFilter {
    kind: Kind,
    namespace: Option<String>,
    /// The requirements of `labelSelector`.
    labels: Vec<Requirement>,
}

/// A requirement of a label selector (Kubernetes, "Labels and Selectors"), in the form in which
/// CoreDNS and the agent write it.
#[derive(Debug)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    /// An object without the label fulfils this too.
    NotIn(String, Vec<String>),
}

/// The requirements of a selector. Commas in parentheses do not part them.
fn requirements(selector: &str) -> Vec<Requirement> {
    let mut depth = 0_u32;
    let parts = selector.split(|char| {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        char == ',' && depth == 0
    });
    let parts = parts.filter(|text| !text.is_empty());
    parts.map(Requirement::new).collect()
}

impl Requirement {
    fn new(text: &str) -> Self {
        let owned = |(key, values): (&str, &str)| {
            let values = values.trim_end_matches(')').split(',');
            (key.to_owned(), values.map(str::to_owned).collect())
        };
        if let Some((key, values)) = text.split_once(" notin (").map(owned) {
            Self::NotIn(key, values)
        } else if let Some((key, values)) = text.split_once(" in (").map(owned) {
            Self::In(key, values)
        } else if let Some((key, values)) = text.split_once("!=").map(owned) {
            Self::NotIn(key, values)
        } else if let Some((key, values)) = text.split_once('=').map(owned) {
            Self::In(key, values)
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
            Self::In(key, values) => get(key).is_some_and(|it| values.iter().any(|of| of == it)),
            Self::NotIn(key, values) => get(key).is_none_or(|it| values.iter().all(|of| of != it)),
        }
    }
}

impl ObjectFilter {
    fn new(kind: Kind, namespace: Option<String>, parameters: &BTreeMap<String, String>) -> Self {
        let selector = parameters.get("labelSelector").map_or("", String::as_str);
        Self {
            kind,
            namespace,
            labels: requirements(selector),
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

    /// The event by which a watch reports a change; `None` if the change is none of this
    /// watch's. A watch reports an object that leaves its filter as deleted.
    fn line(&self, change: &LoggedChange) -> Option<String> {
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

/// Whether CoreDNS's watch of the object's kind includes the object. CoreDNS watches pods
/// with a field selector that excludes the phases Succeeded, Failed and Unknown.
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

/// The object with an API server's defaults: a port without a protocol gets TCP
/// (Kubernetes, `pkg/apis/core/v1/defaults.go` and `pkg/apis/discovery/v1/defaults.go`).
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
        self.log.push(LoggedChange {
            version,
            kind,
            before,
            now,
        });
    }

    fn matching(&self, filter: &ObjectFilter) -> impl Iterator<Item = &Value> {
        let objects = self.objects.iter();
        objects
            .filter(move |((kind, ..), _)| *kind == filter.kind)
            .map(|(_, object)| object)
            .filter(|object| filter.selects(object))
    }
}

/// One event of a watch, as a line of JSON. The type comes first, as an API server writes it:
/// the agent reads the object while it arrives.
fn line(event: &str, object: &Value) -> String {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n")
}

const fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::Namespace | Kind::Service | Kind::Pod | Kind::ConfigMap => "v1",
        Kind::NetworkPolicy => "networking.k8s.io/v1",
    }
}

impl ApiServer {
    /// Serves these objects on a free port of `host` until the runtime ends.
    pub async fn start(
        host: Ipv4Addr,
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
        let listener = TcpListener::bind((host, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok((server, address))
    }

    /// Applies changes and reports them to all watches.
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

    fn list(&self, filter: &ObjectFilter) -> Response {
        let store = self.store();
        let kind = filter.kind;
        let items: Vec<&Value> = store.matching(filter).collect();
        let list = json!({
            "kind": format!("{}List", kind.name()),
            "apiVersion": api_version(kind),
            "metadata": { "resourceVersion": store.version.to_string() },
            "items": items,
        });
        respond(Body::from(list.to_string()))
    }

    /// The first events of a watch, and the version after which it continues. A watch
    /// without a version to start from begins with all objects.
    fn opening(
        &self,
        filter: &ObjectFilter,
        parameters: &BTreeMap<String, String>,
    ) -> (String, u64) {
        let store = self.store();
        let kind = filter.kind;
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let all = get("sendInitialEvents") == Some("true");
        let since = get("resourceVersion").and_then(|version| version.parse().ok());
        match since {
            Some(since) if !all && since != 0 => (String::new(), since),
            _ => {
                let objects = store.matching(filter);
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

    /// The events of all changes after version `since`, and the version of the latest.
    fn events_after(&self, filter: &ObjectFilter, since: u64) -> (String, u64) {
        let store = self.store();
        let from = store.log.partition_point(|change| change.version <= since);
        let changes = store.log.iter().skip(from);
        let lines = changes.filter_map(|change| filter.line(change));
        (lines.collect(), store.version)
    }

    fn watch(
        self: Arc<Self>,
        filter: ObjectFilter,
        parameters: &BTreeMap<String, String>,
    ) -> Response {
        let (opening, since) = self.opening(&filter, parameters);
        let changed = self.version.subscribe();
        let rest = stream::unfold(
            (self, filter, changed, since),
            move |(server, filter, mut changed, since)| async move {
                let mut since = since;
                loop {
                    let (lines, now) = server.events_after(&filter, since);
                    since = now;
                    if !lines.is_empty() {
                        let next = (server, filter, changed, since);
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
    let filter = ObjectFilter::new(kind, namespace, parameters);
    match parameters.get("watch").map(String::as_str) {
        Some("true" | "1") => server.watch(filter, parameters),
        _ => server.list(&filter),
    }
}
