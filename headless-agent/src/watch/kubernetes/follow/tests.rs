//! Streams of a server that gives prepared answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::io;

use axum::body::Bytes;
use axum::http::{Request, Response};
use futures::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

use super::super::super::convert;
use super::super::hear::{Patience, listening};
use super::*;

/// An answer of the server: status, pieces of the body, and how the body goes on.
type Answer = (u16, &'static [&'static str], Rest);

/// How a body goes on behind its pieces.
#[derive(Clone, Copy)]
enum Rest {
    End,
    Break,
    Silence,
}

/// A server that gives these answers in turn.
fn server(answers: impl IntoIterator<Item = Answer>) -> Client {
    let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
    let service = tower::service_fn(move |_: Request<Body>| {
        let (status, pieces, rest) = answers.lock().pop_front().unwrap();
        let pieces = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let rest = match rest {
            Rest::End => stream::empty().boxed(),
            Rest::Break => stream::iter([Err(io::Error::other("broken"))]).boxed(),
            Rest::Silence => stream::pending().boxed(),
        };
        let body = stream::iter(pieces).chain(rest);
        let body = StreamBody::new(body.map(|piece| piece.map(Frame::data)));
        let response = Response::builder().status(status).body(body).unwrap();
        async { Ok::<_, tower::BoxError>(response) }
    });
    Client::new(service, "default")
}

const ADDED: &str = r#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a","resourceVersion":"1"}}}
"#;

const LISTED: &str = r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Namespace","metadata":{"resourceVersion":"2","annotations":{"k8s.io/initial-events-end":"true"}}}}
"#;

const PAGE: &str =
    r#"{"apiVersion":"v1","kind":"NamespaceList","metadata":{"resourceVersion":"2"},"items":[]}"#;

const BAD: &str = r#"{"apiVersion":"v1","kind":"Status","status":"Failure","message":"bad","reason":"BadRequest","code":400}"#;

const GONE: &str = r#"{"apiVersion":"v1","kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}"#;

/// Follows the server. The events have so many bytes of room.
fn follow(health: &Arc<Health>, server: Client, room: usize) -> mpsc::Receiver<Heard> {
    let (heard, events) = mpsc::channel(16);
    let (ear, overlong) = (health.listen("namespaces"), Overlong::default());
    let patience = Patience::within(Duration::from_mins(10));
    let follow = Follow {
        watch: Watch {
            name: "namespaces",
            kind: Kind::Namespace,
            resource: "namespaces",
            scope: None,
        },
        api: Api::<Namespace>::all(listening(server, &ear, &overlong, patience)),
        config: watcher::Config::default(),
        convert: |object: &Namespace, problems: &mut Problems| {
            convert::namespace(object, problems).map(Object::Namespace)
        },
        health: Arc::clone(health),
        ear,
        overlong,
        heard,
        room: Arc::new(Semaphore::new(room)),
    };
    tokio::spawn(follow.run());
    events
}

/// Follows the server until so many lists are complete. Returns the failures that count as
/// not over then, and the number of failures.
async fn after_lists(lists: usize, answers: impl IntoIterator<Item = Answer>) -> (usize, u64) {
    let health = Arc::<Health>::default();
    let mut events = follow(&health, server(answers), 1 << 20);
    let mut complete = 0;
    while complete < lists {
        let next = tokio::time::timeout(BACKOFF_MAX * 4, events.recv());
        let Heard { event, .. } = next.await.unwrap().unwrap();
        complete += usize::from(matches!(event, WatchEvent::Restarted));
    }
    drop(events);
    let reasons = crate::watch::health::FailureReason::ALL.into_iter();
    let failures = reasons.map(|reason| health.failures(Kind::Namespace, reason));
    (health.outages().len(), failures.sum())
}

#[tokio::test(start_paused = true)]
async fn a_list_by_pages_ends_the_failure_of_a_streamed_list() {
    let answers = [
        (200, &[ADDED][..], Rest::Break),
        // The library asks for a streamed list again before it says so.
        (200, &[], Rest::Silence),
        (200, &[PAGE], Rest::End),
        (200, &[], Rest::Silence),
    ];
    assert_eq!(after_lists(1, answers).await, (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_list_ends_the_failure_of_a_watch_from_an_old_version() {
    let answers = [
        (200, &[LISTED][..], Rest::End),
        (410, &[GONE], Rest::End),
        (200, &[LISTED], Rest::Silence),
    ];
    assert_eq!(after_lists(2, answers).await, (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_long_is_asked_for_with_fewer_objects() {
    // Nine times as much as a piece of a page, more than a page may have.
    let blank = &*" ".repeat(1 << 20).leak();
    let long = &*vec![blank; 9].leak();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = server([
        (400, &[BAD][..], Rest::End),
        (200, long, Rest::End),
        (200, long, Rest::End),
        (200, &[PAGE], Rest::End),
        (200, &[], Rest::Silence),
    ]);
    let limits = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let limit = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("limit="));
        limits.lock().extend(limit.map(str::to_owned));
        let answers = answers.clone();
        async move { answers.send(request).await }
    });
    let health = Arc::<Health>::default();
    let mut events = follow(&health, Client::new(service, "default"), 1 << 20);
    while !matches!(events.recv().await.unwrap().event, WatchEvent::Restarted) {}
    assert_eq!(*asked.lock(), ["500", "63", "8"]);
}

#[tokio::test(start_paused = true)]
async fn objects_wait_until_there_is_room() {
    let both = &*ADDED.repeat(2).leak();
    let answers = [(200, &*vec![both].leak(), Rest::Silence)];
    let health = Arc::<Health>::default();
    // Each object takes 256 bytes and a few for its name.
    let mut events = follow(&health, server(answers), 500);
    let _restart = events.recv().await.unwrap();
    let first = events.recv().await.unwrap();
    let second = tokio::time::timeout(BACKOFF_MAX, events.recv()).await;
    assert!(second.is_err(), "{second:?}");
    drop(first);
    let second = events.recv().await.unwrap();
    assert!(matches!(second.event, WatchEvent::Apply(..)));
}

#[test]
fn delays_double_up_to_a_limit_and_are_spread() {
    let mut backoff = Backoff(BACKOFF_MIN);
    let mut expected = BACKOFF_MIN;
    for _ in 0..12 {
        let delay = backoff.next();
        assert!(
            delay >= expected / 2 && delay <= expected * 3 / 2,
            "{delay:?}"
        );
        expected = (expected * 2).min(BACKOFF_MAX);
    }
    assert_eq!(expected, BACKOFF_MAX);
    backoff.reset();
    assert!(backoff.next() <= BACKOFF_MIN * 3 / 2);
}
