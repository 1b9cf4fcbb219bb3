//! The pages of the admin socket, which the commands `status` and `dump` ask for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse as _, Json, Response};
use axum::{Router, routing::get};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::Sources;
use super::connections::Limits;
use super::dump::Name;
use super::status::Status;

/// The bounds of the admin socket, to which only the agent's user connects. A dump may take long,
/// because an operator may read it page by page.
pub(super) const LIMITS: Limits = Limits {
    connections: 16,
    head: Duration::from_secs(5),
    whole: Duration::from_mins(10),
};

/// The path of the status in JSON.
pub(super) const STATUS: &str = "/status.json";

/// The path of the names, one JSON object a line.
pub(super) const DUMP: &str = "/dump.jsonl";

/// Lines of a dump are sent in pieces of about this many bytes.
const PIECE_BYTES: usize = 32 * 1024;

/// Pieces that may wait for the client.
const PIECES_WAITING: usize = 4;

/// The last line of a dump that could not be completed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unfinished {
    /// The reason.
    pub(super) error: String,
}

/// The data that requests are answered from.
#[derive(Clone, Debug)]
struct Operator {
    sources: Arc<Sources>,
    /// The right to make a whole dump, which costs processor time: one at a time.
    dumps: Arc<Semaphore>,
}

/// The pages.
pub(super) fn pages(sources: Arc<Sources>) -> Router {
    Router::new()
        .route(STATUS, get(status))
        .route(DUMP, get(dump))
        .with_state(Operator {
            sources,
            dumps: Arc::new(Semaphore::new(1)),
        })
}

async fn status(State(operator): State<Operator>) -> Response {
    // Problems of a large cluster take some time, which other requests must not wait for.
    let status = spawn_blocking(move || {
        let sources = operator.sources;
        let snapshot = sources.look()?;
        let (connections, problems) = (sources.connections()?, sources.object_problems());
        anyhow::Ok(Status::new(&snapshot, connections, problems))
    });
    match status.await.context("the status was not completed") {
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(error)) | Err(error) => failure(&error),
    }
}

#[derive(Debug, Deserialize)]
struct DumpQuery {
    name: Option<String>,
}

async fn dump(State(operator): State<Operator>, Query(query): Query<DumpQuery>) -> Response {
    let Operator { sources, dumps } = operator;
    if let Some(name) = query.name {
        let found = spawn_blocking(move || {
            let found = sources.dump_one(&name)?;
            found.as_ref().map_or(Ok(Vec::new()), line)
        });
        return match found.await.context("the dump was not completed") {
            Ok(Ok(line)) => lines(Body::from(line)),
            Ok(Err(error)) | Err(error) => failure(&error),
        };
    }
    if let Err(error) = sources.kernel() {
        return failure(&error);
    }
    let Ok(right) = dumps.try_acquire_owned() else {
        let text = "another dump is under way: try again once it has ended\n";
        return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    };
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    spawn_blocking(move || {
        let mut writer = Pieces {
            sender,
            piece: Vec::new(),
        };
        if let Err(error) = writer.write_all(&sources) {
            let error = format!("{error:#}");
            // A client that is gone needs no reason.
            let _unsent = line(&Unfinished { error }).map(|line| writer.add(&line));
        }
        writer.send();
        drop(right);
    });
    let pieces = stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    lines(Body::from_stream(pieces))
}

/// A value in JSON on a line of its own.
fn line(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn lines(body: Body) -> Response {
    ([(CONTENT_TYPE, "application/jsonl")], body).into_response()
}

fn failure(error: &anyhow::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response()
}

/// Sends lines in pieces.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Pieces {
    /// Sends all names, until the client goes.
    fn write_all(&mut self, sources: &Sources) -> anyhow::Result<()> {
        let mut failed = None;
        sources.dump(&mut |name: Name| match line(&name) {
            Ok(line) => self.add(&line),
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Adds a line. Returns whether the client is still there.
    fn add(&mut self, line: &[u8]) -> bool {
        self.piece.extend(line);
        self.piece.len() < PIECE_BYTES || self.send()
    }

    /// Sends the lines so far. Waits for the client where it is slow.
    fn send(&mut self) -> bool {
        let piece = std::mem::take(&mut self.piece);
        piece.is_empty() || self.sender.blocking_send(piece.into()).is_ok()
    }
}
