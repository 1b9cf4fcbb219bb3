//! Connections to the agent's HTTP endpoints, bounded in number and time.
//!
//! Any process on the node's network can connect to the admin endpoint. It must not keep the
//! kubelet's probes from their answers, whether it sends much or nothing. So a new connection
//! is always accepted. Where there are too many, the oldest is closed: an answer takes
//! milliseconds, so the oldest connection waits for something.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::pace::{Bucket, Pace};

/// The largest head of a request in bytes: the least that hyper takes as a limit.
const HEAD_BYTES_MAX: usize = 8192;

/// The pause after a connection could not be accepted and none was open that could be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How often the log tells that a connection could not be accepted.
const COMPLAINTS: Pace = Pace {
    burst: 1,
    every: Duration::from_mins(1),
};

/// The bounds of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most connections at once.
    pub(super) connections: usize,
    /// The time for the head of a request, from the beginning of the connection.
    pub(super) head: Duration,
    /// The time for the whole connection.
    pub(super) whole: Duration,
}

/// A listening socket.
pub(super) trait Listen {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(TcpListener::accept(self).await?.0)
    }
}

impl Listen for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(UnixListener::accept(self).await?.0)
    }
}

/// The open connections, by age: the number of each, and what closes it.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    closers: BTreeMap<u64, CancellationToken>,
}

impl Open {
    /// Closes the oldest connection. Returns whether there was one.
    fn close_oldest(&mut self) -> bool {
        let oldest = self.closers.pop_first();
        oldest.inspect(|(_, oldest)| oldest.cancel()).is_some()
    }
}

/// A connection's place among the open ones, which it leaves at its end.
struct Place {
    open: Arc<Mutex<Open>>,
    number: u64,
    closer: CancellationToken,
}

impl Place {
    /// A place for a new connection. Closes the oldest where `most` are open.
    fn take(open: &Arc<Mutex<Open>>, most: usize) -> Self {
        let mut table = open.lock();
        if table.closers.len() >= most {
            table.close_oldest();
        }
        let number = table.next;
        table.next += 1;
        let closer = CancellationToken::new();
        table.closers.insert(number, closer.clone());
        drop(table);
        Self {
            open: Arc::clone(open),
            number,
            closer,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.lock().closers.remove(&self.number);
    }
}

/// Answers requests by the router until `stop`. A connection carries one request.
pub(super) async fn serve(
    listener: impl Listen,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let open = Arc::<Mutex<Open>>::default();
    let mut complaint = Bucket::new(Instant::now());
    for number in 1_usize.. {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let accepted_none = accepted.is_err();
        match accepted {
            Ok(stream) => {
                let place = Place::take(&open, limits.connections);
                tokio::spawn(answer(stream, place, router.clone(), limits));
            }
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                if complaint.take(COMPLAINTS, Instant::now()) {
                    warn!("cannot accept a connection at the admin endpoint or socket: {error}");
                }
                // The reason may be the number of files, of which each connection is one.
                let closed = open.lock().close_oldest();
                if !closed {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Each connection gets its turn before so many come that it may be closed.
        if number.is_multiple_of(limits.connections.div_ceil(16)) || accepted_none {
            tokio::task::yield_now().await;
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: Place,
    router: Router,
    limits: Limits,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // An error is the client's: it is gone, slow, or does not speak HTTP.
    tokio::select! {
        () = place.closer.cancelled() => {}
        _ended = timeout(limits.whole, connection) => {}
    }
}

/// Whether an error of accepting concerns only the connection (`accept(2)`).
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Much longer than a machine takes.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// An endpoint that answers `/` with a page of this many bytes.
    async fn endpoint(limits: Limits, bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let page = "a".repeat(bytes);
        let router = Router::new().route("/", get(async move || page));
        tokio::spawn(serve(listener, router, limits, CancellationToken::new()));
        address
    }

    const LIMITS: Limits = Limits {
        connections: 8,
        head: DEADLINE,
        whole: DEADLINE,
    };

    /// The bytes that the server sends until it closes the connection.
    async fn rest(mut stream: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let ended = timeout(DEADLINE / 2, stream.read_to_end(&mut bytes)).await;
        assert!(ended.is_ok(), "the connection stays open");
        bytes
    }

    #[tokio::test]
    async fn a_new_connection_is_answered_among_any_number_of_silent_ones() {
        let address = endpoint(LIMITS, 10).await;
        let mut silent = Vec::new();
        for _ in 0..10 * LIMITS.connections {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        let answer = rest(client).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        // The oldest are closed, the youngest are not.
        assert!(rest(silent.remove(0)).await.is_empty());
        let mut last = silent.pop().unwrap();
        last.write_all(REQUEST).await.unwrap();
        assert!(rest(last).await.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn slow_readers_are_closed_for_new_connections() {
        // More than the kernel holds for a client that does not read.
        let address = endpoint(LIMITS, 64 << 20).await;
        let mut slow = Vec::new();
        for _ in 0..2 * LIMITS.connections {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST).await.unwrap();
            let mut first = [0; 15];
            client.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"HTTP/1.1 200 OK");
            slow.push(client);
        }
        assert!(rest(slow.remove(0)).await.len() < 64 << 20);
    }

    #[tokio::test]
    async fn time_and_size_are_bounded() {
        let short = Duration::from_millis(200);
        let start = Instant::now();
        let head = Limits {
            head: short,
            ..LIMITS
        };
        let address = endpoint(head, 10).await;
        let silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        assert!(rest(silent).await.is_empty());
        rest(slow).await;
        let mut large = TcpStream::connect(address).await.unwrap();
        // The server may have closed before all is written.
        let _sent = large.write_all(&vec![b'a'; 10 * HEAD_BYTES_MAX]).await;
        assert!(!rest(large).await.starts_with(b"HTTP/1.1 200"));

        let whole = Limits {
            whole: short,
            ..LIMITS
        };
        let address = endpoint(whole, 64 << 20).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(REQUEST).await.unwrap();
        tokio::time::sleep(2 * short).await;
        assert!(rest(slow).await.len() < 64 << 20);
        assert!(start.elapsed() < DEADLINE);
    }

    #[tokio::test]
    async fn a_connection_carries_one_request() {
        let address = endpoint(LIMITS, 10).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(&[REQUEST, REQUEST].concat())
            .await
            .unwrap();
        let answer = String::from_utf8(rest(client).await).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }
}
