//! Notices that the API server has become silent.
//!
//! A watch in a quiet cluster has nothing to say for hours, so a time limit on
//! reading would end healthy watches. The server does send bookmarks, about one a
//! minute (`defaultBookmarkFrequency` of kube-apiserver's watch cache), but does not
//! promise them: a server that has seen no change of a resource since its start sends
//! no bookmarks, and a server without a watch cache sends none either. So a watch that
//! has been quiet for longer than bookmarks take does not count as failed. The agent asks
//! for it anew, from the version that it has reached. A healthy server sends the head of its
//! answer at once. A hung server does not, and that is a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use futures::{Stream, StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;
use tower::BoxError;
use tracing::debug;

use super::super::health::Ear;

/// How long to wait for a server that sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The wait for the head of an answer.
    pub answer: Duration,
    /// The wait for the next piece of an answer's body.
    pub quiet: Duration,
}

impl Patience {
    /// Longest wait for the head of an answer. The API server ends a request that
    /// waits in its queues after 15 s (API priority and fairness).
    const ANSWER_MAX: Duration = Duration::from_secs(30);

    /// Longest wait for a piece of a body. Bookmarks come every 60 to 62 s.
    const QUIET_MAX: Duration = Duration::from_secs(80);

    /// The longest of both waits.
    pub(in crate::watch) const MAX: Self = Self {
        answer: Self::ANSWER_MAX,
        quiet: Self::QUIET_MAX,
    };

    /// The waits with which the agent asks a silent server anew, and notices its silence,
    /// within `age`.
    pub fn within(age: Duration) -> Self {
        Self {
            answer: (age / 4).min(Self::ANSWER_MAX),
            quiet: (age * 2 / 3).min(Self::QUIET_MAX),
        }
    }
}

/// The error of a request to which the server sent no head of an answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server has not answered within {} s", .0.as_secs_f32())]
struct Unanswered(Duration);

/// Most bytes of a page of a list. A page is read as a whole, in several times its own size,
/// and has as many objects as the client asks for, each of up to 1.5 MB.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Most bytes of a page with one object. Go writes `<`, `>`, `&` and U+2028 with six bytes
/// (`encoding/json`), so the 1.5 MiB that etcd takes of an object become 9.5 MB of text.
pub(super) const OBJECT_BYTES_MAX: usize = 16 << 20;

/// The error of a page with more bytes than this.
#[derive(Debug, thiserror::Error)]
#[error("a page of the list has more than {0} bytes")]
struct TooLong(usize);

/// Whether a page had too many bytes. The client's errors do not tell.
#[derive(Clone, Debug, Default)]
pub(in crate::watch) struct Overlong(Arc<AtomicBool>);

impl Overlong {
    /// Whether there was such a page since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A client that records in `ear` when the server sends something. It gives up a request
/// whose answer does not begin in time. If the body of an answer stays quiet for too long,
/// it ends the body as if the server had ended it. A page of a list that is too long is an
/// error, and recorded in `overlong`.
pub(in crate::watch) fn listening(
    client: Client,
    ear: &Ear,
    overlong: &Overlong,
    patience: Patience,
) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (ear, overlong) = (ear.clone(), overlong.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, ear, overlong) = (client.clone(), ear.clone(), overlong.clone());
        let query = request.uri().query().unwrap_or_default();
        let watches = query.split('&').any(|pair| pair.starts_with("watch="));
        let single = query.split('&').any(|pair| pair == "limit=1");
        let max = if single {
            OBJECT_BYTES_MAX
        } else {
            PAGE_BYTES_MAX
        };
        async move {
            let answer = timeout(patience.answer, client.send(request)).await;
            let response = answer.map_err(|_| Unanswered(patience.answer))??;
            if response.status().is_success() {
                ear.heard();
            }
            let quiet = patience.quiet;
            Ok::<_, BoxError>(response.map(|body| {
                let pieces = overheard(body, ear, quiet);
                let mut left = max;
                StreamBody::new(pieces.map(move |piece| {
                    let bytes = piece.as_ref().ok().and_then(Frame::data_ref);
                    let bytes = bytes.filter(|_| !watches).map_or(0, Bytes::len);
                    let Some(rest) = left.checked_sub(bytes) else {
                        overlong.0.store(true, Ordering::Relaxed);
                        return Err(kube::Error::Service(TooLong(max).into()));
                    };
                    left = rest;
                    piece
                }))
            }))
        }
    });
    Client::new(service, namespace)
}

/// The pieces of a body, each reported to `ear`, until none has come for `quiet`.
fn overheard(
    body: Body,
    ear: Ear,
    quiet: Duration,
) -> impl Stream<Item = kube::Result<Frame<Bytes>>> {
    let pieces = body.into_data_stream();
    stream::unfold((pieces, ear), move |(mut pieces, ear)| async move {
        let Ok(piece) = timeout(quiet, pieces.next()).await else {
            debug!("quiet for {} s, asking anew", quiet.as_secs_f32());
            return None;
        };
        let piece = piece?;
        if piece.is_ok() {
            ear.heard();
        }
        Some((piece.map(Frame::data), (pieces, ear)))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::convert::Infallible;

    use axum::http::Response;

    use super::super::super::health::Health;
    use super::*;

    const PATIENCE: Patience = Patience {
        answer: Duration::from_secs(30),
        quiet: Duration::from_secs(80),
    };

    /// A server that sends the head after `head`, then a piece after each of
    /// `pieces`, and then nothing for ever.
    fn server(head: u64, pieces: &'static [u64]) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            tokio::time::sleep(Duration::from_secs(head)).await;
            let pieces = stream::iter(pieces).then(|&after| async move {
                tokio::time::sleep(Duration::from_secs(after)).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{}\n")))
            });
            let body = StreamBody::new(pieces.chain(stream::pending()));
            Ok::<_, BoxError>(Response::new(body))
        });
        Client::new(service, "default")
    }

    async fn send(client: &Client) -> kube::Result<Response<Body>> {
        let request = Request::get("/").body(Body::empty()).unwrap();
        client.send(request).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_goes_on_while_something_comes_and_ends_when_nothing_does() {
        let health = Health::default();
        let ear = health.listen("pods");
        let client = listening(
            server(0, &[70, 70, 70]),
            &ear,
            &Overlong::default(),
            PATIENCE,
        );
        let response = send(&client).await.unwrap();
        let mut pieces = response.into_body().into_data_stream();
        for _ in 0..3 {
            pieces.next().await.unwrap().unwrap();
            assert_eq!(health.silence().unwrap().age, Duration::ZERO);
        }
        assert!(pieces.next().await.is_none());
        assert_eq!(health.silence().unwrap().age, PATIENCE.quiet);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_is_a_failure() {
        let health = Health::default();
        let ear = health.listen("pods");
        let client = listening(server(29, &[]), &ear, &Overlong::default(), PATIENCE);
        send(&client).await.unwrap();
        assert_eq!(health.silence().unwrap().age, Duration::ZERO);
        let client = listening(server(31, &[]), &ear, &Overlong::default(), PATIENCE);
        let error = send(&client).await.unwrap_err();
        assert!(format!("{error:?}").contains("Unanswered"), "{error:?}");
        assert_eq!(health.silence().unwrap().age, PATIENCE.answer);
    }

    #[test]
    fn silence_is_noticed_within_the_age() {
        for seconds in [10, 60, 120, 3600] {
            let age = Duration::from_secs(seconds);
            let Patience { answer, quiet } = Patience::within(age);
            assert!(answer + quiet < age, "{age:?}");
        }
        let Patience { answer, quiet } = Patience::within(Duration::from_mins(2));
        // More than bookmarks take, less than two minutes with the answer's.
        assert!(quiet > Duration::from_secs(65));
        assert!(answer + quiet < Duration::from_mins(2));
    }
}
