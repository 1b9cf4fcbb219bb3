//! The part of a Kubernetes API server that the two peers ask for.
//!
//! Every object is rendered once, when it is written. The time to deliver an object is
//! therefore the time to copy its bytes, and figures are about the clients. There are
//! lists, whole and by pages, watches, and label selectors.

mod follow;
mod list;
mod object;
mod selection;
mod store;

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;

pub(crate) use self::object::{Labels, Object, Resource};
use self::selection::Selection;
use self::store::Store;

/// The server.
#[derive(Debug)]
pub(crate) struct ApiServer(Arc<Store>);

impl ApiServer {
    /// A server without objects.
    pub(crate) fn new() -> Self {
        Self(Store::new())
    }

    /// Serves on a socket for as long as the runtime lives.
    pub(crate) fn serve(&self, listener: TcpListener) -> anyhow::Result<()> {
        let mut routes = Router::new();
        for root in ["/api/v1", "/apis/discovery.k8s.io/v1"] {
            let in_namespace = format!("{root}/namespaces/{{namespace}}/{{resource}}");
            routes = routes.route(&format!("{root}/{{resource}}"), get(in_all));
            routes = routes.route(&in_namespace, get(in_one));
        }
        let routes = routes.with_state(Arc::clone(&self.0));
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let listener = listener.tap_io(|stream| {
            // Go, which an API server is written in, sets the option, too. Without it an
            // event is only late.
            let _set = stream.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(())
    }

    /// Writes an object and wakes the watches.
    pub(crate) fn put(&self, object: Object) {
        self.put_all([object]);
    }

    /// Writes objects and wakes the watches once.
    pub(crate) fn put_all(&self, objects: impl IntoIterator<Item = Object>) {
        self.0.put_all(objects);
    }
}

async fn in_all(
    State(store): State<Arc<Store>>,
    Path(resource): Path<String>,
    Query(parameters): Query<Labels>,
) -> Response {
    answer(store, None, &resource, &parameters)
}

async fn in_one(
    State(store): State<Arc<Store>>,
    Path((namespace, resource)): Path<(String, String)>,
    Query(parameters): Query<Labels>,
) -> Response {
    answer(store, Some(namespace), &resource, &parameters)
}

fn answer(
    store: Arc<Store>,
    namespace: Option<String>,
    resource: &str,
    parameters: &Labels,
) -> Response {
    let mut resources = Resource::ALL.into_iter();
    let Some(resource) = resources.find(|of| of.names().0 == resource) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let selection = Selection {
        resource,
        namespace,
        selector: parameters.get("labelSelector").cloned().unwrap_or_default(),
    };
    let (code, body) = match parameters.get("watch").map(String::as_str) {
        Some("true" | "1") => (200, follow::watch(store, selection, parameters)),
        _ => match list::list(&store, &selection, parameters) {
            Ok(body) => (200, Body::from(body)),
            Err((code, status)) => (code, Body::from(status)),
        },
    };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
