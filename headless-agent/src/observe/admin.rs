//! The admin endpoint: `/livez`, `/readyz` and `/metrics` over TCP, for kubelet and
//! Prometheus. The agent serves it from a thread and a runtime of its own, so that neither a
//! busy agent holds up the probes nor many requests hold up the agent.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::get};
use prometheus_client::registry::Registry;
use socket2::{Domain, Socket, Type};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::connections::{self, Limits};
use super::probes::Signs;
use super::socket::AdminSocket;
use super::{Sources, metrics, operator};

/// The bounds of the TCP endpoint. An idle connection costs a file and some 20 kB. A connection
/// lives at least as long as the next 256 take to be accepted, which is several milliseconds.
const LIMITS: Limits = Limits {
    connections: 256,
    head: Duration::from_secs(2),
    whole: Duration::from_secs(5),
};

/// Connections that may wait to be accepted, at most `net.core.somaxconn`. The kernel drops
/// others, and their clients try again only after a second.
const BACKLOG: i32 = 4096;

/// How long the page of metrics counts as new, so that requests in any number cost little.
const METRICS_FRESH: Duration = Duration::from_millis(200);

/// The bound addresses. The agent binds them first, so that it ends early if one is in use.
#[derive(Debug)]
pub struct Endpoints {
    tcp: TcpListener,
    socket: AdminSocket,
}

impl Endpoints {
    /// Binds the TCP address and the admin socket.
    ///
    /// # Errors
    /// Where the TCP address is in use or not the node's, and as [`AdminSocket::bind`]. The
    /// error names the address or the path.
    pub fn bind(tcp: SocketAddr, socket: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            tcp: bind(tcp).with_context(|| format!("cannot listen on {tcp}/tcp"))?,
            socket: AdminSocket::bind(socket)?,
        })
    }

    /// Serves the endpoints until the agent stops.
    ///
    /// # Errors
    /// Outside of a runtime with I/O.
    pub async fn serve(self, sources: Arc<Sources>, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { tcp, socket } = self;
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        let listener = socket.listener()?;
        let probes = connections::serve(tcp, pages(&sources), LIMITS, stop.clone());
        let operator = operator::pages(sources);
        let operator = connections::serve(listener, operator, operator::LIMITS, stop);
        tokio::join!(probes, operator);
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Old connections must not keep the next agent from the address.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The pages of the TCP endpoint.
fn pages(sources: &Arc<Sources>) -> Router {
    let probes = probes(sources.signs.clone());
    let registry = metrics::registry(sources);
    let page = MetricsPage {
        registry: Arc::new(registry),
        rendered: Arc::default(),
    };
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(page)
        .merge(probes)
        .fallback(elsewhere)
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
    let vitals = signs.vitals();
    let (status, mut text) = verdict(vitals.unready());
    // The lines of a Corefile do not make the agent unready: a rollout would wait for ever, and
    // the pods get all answers.
    for line in vitals.standing.problems() {
        text.push_str(&line);
        text.push('\n');
    }
    (status, text)
}

/// The answer for the pages that this endpoint does not have.
async fn elsewhere() -> (StatusCode, &'static str) {
    let text = "There are /livez, /readyz and /metrics. The admin socket (--admin-socket) has the \
                state and the names: use `headless-agent status` or `headless-agent dump`.\n";
    (StatusCode::NOT_FOUND, text)
}

/// A rendered page, and when it was.
type Rendered = Option<(Instant, Result<Bytes, String>)>;

/// The page of metrics.
#[derive(Clone, Debug)]
struct MetricsPage {
    registry: Arc<Registry>,
    rendered: Arc<Mutex<Rendered>>,
}

impl MetricsPage {
    /// The page, which may be [`METRICS_FRESH`] old. It is rendered once at a time.
    async fn text(self) -> Result<Bytes, String> {
        let mut rendered = self.rendered.lock().await;
        if let Some((at, page)) = &*rendered
            && at.elapsed() < METRICS_FRESH
        {
            return page.clone();
        }
        let at = Instant::now();
        let registry = self.registry;
        let page = tokio::task::spawn_blocking(move || metrics::render(&registry)).await;
        let page = match page {
            Ok(Ok(text)) => Ok(Bytes::from(text)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        *rendered = Some((at, page.clone()));
        page
    }
}

async fn metrics(State(page): State<MetricsPage>) -> Response {
    // The page is rendered in a task of its own, which goes on when the client is gone.
    // Otherwise clients that go would cause many pages to be rendered at once.
    let text = tokio::spawn(page.text()).await;
    match text {
        Ok(Ok(text)) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => failure(error),
        Err(error) => failure(error.to_string()),
    }
}

fn failure(error: String) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error + "\n").into_response()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fmt;
    use std::sync::atomic::{AtomicU64, Ordering};

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;
    use tokio::task::JoinHandle;

    use super::*;

    /// Counts how often it is rendered, which takes a while.
    #[derive(Clone, Debug, Default)]
    struct Slow(Arc<AtomicU64>);

    impl Collector for Slow {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        }
    }

    #[tokio::test]
    async fn many_requests_for_metrics_render_one_page() {
        let slow = Slow::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(slow.clone()));
        let page = MetricsPage {
            registry: Arc::new(registry),
            rendered: Arc::default(),
        };
        let asked = (0..1000).map(|_| tokio::spawn(metrics(State(page.clone()))));
        let asked: Vec<_> = asked.collect();
        // Clients that go make no difference.
        asked.iter().step_by(2).for_each(JoinHandle::abort);
        for asked in asked.into_iter().skip(1).step_by(2) {
            assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
        }
        assert_eq!(slow.0.load(Ordering::Relaxed), 1);
        tokio::time::sleep(METRICS_FRESH).await;
        metrics(State(page)).await;
        assert_eq!(slow.0.load(Ordering::Relaxed), 2);
    }
}
