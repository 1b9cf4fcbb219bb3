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
    /// Every change: version, kind, line of a watch.
    log: Vec<(u64, Kind, String)>,
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
        let (event, object) = match change {
            Change::Put(object) if selected(object) => {
                let mut json = defaulted(object);
                json["metadata"]["resourceVersion"] = version.to_string().into();
                let old = self.objects.insert(key, json.clone());
                let event = if old.is_some() { "MODIFIED" } else { "ADDED" };
                (event, json)
            }
            Change::Put(_) | Change::Delete(_) => {
                let Some(mut json) = self.objects.remove(&key) else {
                    return;
                };
                json["metadata"]["resourceVersion"] = version.to_string().into();
                ("DELETED", json)
            }
        };
        let line = line(event, &object);
        self.log.push((version, kind, line));
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        let objects = self.objects.iter();
        objects
            .filter(move |((of, ..), _)| *of == kind)
            .map(|(_, object)| object)
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

    fn list(&self, kind: Kind) -> Response {
        let store = self.store();
        let items: Vec<&Value> = store.of(kind).collect();
        let list = json!({
            "kind": format!("{}List", kind.name()),
            "apiVersion": api_version(kind),
            "metadata": { "resourceVersion": store.version.to_string() },
            "items": items,
        });
        respond(Body::from(list.to_string()))
    }

    /// What a watch begins with, and the version from which it goes on.
    fn opening(&self, kind: Kind, parameters: &BTreeMap<String, String>) -> (String, u64) {
        let store = self.store();
        let get = |name: &str| parameters.get(name).map(String::as_str);
        let all = get("sendInitialEvents") == Some("true");
        let since = get("resourceVersion").and_then(|version| version.parse().ok());
        match since {
            Some(since) if !all && since != 0 => (String::new(), since),
            _ => {
                let mut lines: String =
                    store.of(kind).map(|object| line("ADDED", object)).collect();
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
    fn later(&self, kind: Kind, since: u64) -> (String, u64) {
        let store = self.store();
        let from = store.log.partition_point(|(version, ..)| *version <= since);
        let lines = store.log.iter().skip(from).filter(|(_, of, _)| *of == kind);
        (
            lines.map(|(.., line)| line.as_str()).collect(),
            store.version,
        )
    }

    fn watch(self: Arc<Self>, kind: Kind, parameters: &BTreeMap<String, String>) -> Response {
        let (opening, since) = self.opening(kind, parameters);
        let changed = self.version.subscribe();
        let rest = stream::unfold(
            (self, changed, since),
            move |(server, mut changed, since)| async move {
                let mut since = since;
                loop {
                    let (lines, now) = server.later(kind, since);
                    since = now;
                    if !lines.is_empty() {
                        return Some((Ok::<_, Infallible>(lines), (server, changed, since)));
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
    let Some(kind) = Kind::ALL
        .into_iter()
        .find(|kind| kind.resource() == resource)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match parameters.get("watch").map(String::as_str) {
        Some("true" | "1") => server.watch(kind, &parameters),
        _ => server.list(kind),
    }
}
