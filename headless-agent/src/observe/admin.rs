//! The HTTP endpoint for probes, metrics, `status` and `dump`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse as _, Json, Response};
use axum::{Router, routing::get};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::probes::Signs;
use super::status::Status;
use super::{Sources, metrics};

/// The data that requests are answered from.
#[derive(Debug)]
struct Page {
    sources: Arc<Sources>,
    registry: Registry,
}

/// Binds the address. The agent does this first, so that it ends early if the address is in
/// use.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}/tcp"))
}

/// Serves the endpoint until the agent stops.
pub async fn serve(
    listener: TcpListener,
    sources: Arc<Sources>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let probes = probes(sources.signs.clone());
    let registry = metrics::registry(&sources);
    let page = Arc::new(Page { sources, registry });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/dump.json", get(dump))
        .with_state(page)
        .merge(probes);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("the admin endpoint failed")
}

/// `/livez` and `/readyz`.
pub(super) fn probes(signs: Signs) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(signs)
}

/// 200, or 503 with one line for each problem.
fn verdict(wrong: impl IntoIterator<Item = String>) -> (StatusCode, String) {
    let lines: String = wrong.into_iter().map(|what| what + "\n").collect();
    if lines.is_empty() {
        (StatusCode::OK, "ok\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

async fn livez(State(signs): State<Signs>) -> (StatusCode, String) {
    verdict(signs.vitals().stuck())
}

async fn readyz(State(signs): State<Signs>) -> (StatusCode, String) {
    verdict(signs.vitals().unready())
}

async fn metrics(State(page): State<Arc<Page>>) -> Response {
    match metrics::render(&page.registry) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => failure(&error.into()),
    }
}

async fn status(State(page): State<Arc<Page>>) -> Response {
    // Problems of a large cluster take some time, which other requests must not wait for.
    let status = tokio::task::spawn_blocking(move || {
        let snapshot = page.sources.look()?;
        Ok(Status::new(&snapshot, page.sources.object_problems()))
    });
    answer(status.await)
}

/// The result of blocking work as JSON.
fn answer<T: Serialize>(result: Result<anyhow::Result<T>, JoinError>) -> Response {
    match result {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(error)) => failure(&error),
        Err(error) => failure(&error.into()),
    }
}

#[derive(Debug, Deserialize)]
struct DumpQuery {
    name: Option<String>,
}

async fn dump(State(page): State<Arc<Page>>, Query(query): Query<DumpQuery>) -> Response {
    let name = query.name;
    let dumped = tokio::task::spawn_blocking(move || page.sources.dump(name.as_deref()));
    answer(dumped.await)
}

fn failure(error: &anyhow::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response()
}
