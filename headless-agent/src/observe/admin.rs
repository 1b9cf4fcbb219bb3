//! The HTTP endpoint for probes, metrics, `status` and `dump`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse as _, Json, Response};
use axum::{Router, routing::get};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Observed, metrics};

#[derive(Debug)]
struct Served {
    observed: Arc<Observed>,
    registry: Registry,
}

/// Binds, so that an address in use is known before anything is attached.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}/tcp"))
}

/// Serves until told to stop.
pub async fn serve(
    listener: TcpListener,
    observed: Arc<Observed>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let registry = metrics::registry(&observed);
    let served = Arc::new(Served { observed, registry });
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/dump.json", get(dump))
        .with_state(served);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("the admin endpoint failed")
}

async fn livez() -> &'static str {
    "ok\n"
}

/// 503 with what is missing, one a line.
async fn readyz(State(served): State<Arc<Served>>) -> (StatusCode, String) {
    let missing = served.observed.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".into())
    } else {
        let lines = missing.into_iter().map(|what| what + "\n").collect();
        (StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

async fn metrics(State(served): State<Arc<Served>>) -> Response {
    match metrics::render(&served.registry) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => failure(&error.into()),
    }
}

async fn status(State(served): State<Arc<Served>>) -> Response {
    match served.observed.status() {
        Ok(status) => Json(status).into_response(),
        Err(error) => failure(&error),
    }
}

#[derive(Debug, Deserialize)]
struct DumpQuery {
    name: Option<String>,
}

async fn dump(State(served): State<Arc<Served>>, Query(query): Query<DumpQuery>) -> Response {
    // A large cluster takes many system calls: not on a thread that others need.
    let dumped = tokio::task::spawn_blocking(move || served.observed.dump(query.name.as_deref()));
    match dumped.await {
        Ok(Ok(names)) => Json(names).into_response(),
        Ok(Err(error)) => failure(&error),
        Err(error) => failure(&error.into()),
    }
}

fn failure(error: &anyhow::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response()
}
