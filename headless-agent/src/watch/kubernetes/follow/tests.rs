//! Streams of a server that gives prepared answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::io;

use axum::body::Bytes;
use axum::http::{Request, Response};
use futures::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

use super::super::super::convert::{self, ReadNamespace};
use super::super::decoded::Decoded;
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

/// The end of a watch whose version is too old.
const EXPIRED: &str = r#"{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}}
"#;

/// Follows the server. The events have so many bytes of memory to wait in.
fn follow(health: &Arc<Health>, server: Client, memory: usize) -> mpsc::Receiver<Heard> {
    let (heard, events) = mpsc::channel(16);
    let (ear, overlong) = (health.listen("namespaces"), Overlong::default());
    let patience = Patience::within(Duration::from_mins(10));
    let follow = Follow {
        watch: Watch::new("namespaces", Kind::Namespace, "namespaces"),
        api: Api::<Decoded<ReadNamespace>>::all(listening(server, &ear, &overlong, patience)),
        config: watcher::Config::default(),
        convert: |object: &Decoded<ReadNamespace>, problems: &mut Problems| {
            let whole = |object: &ReadNamespace, problems: &mut Problems| {
                convert::namespace(object, problems).map(Object::Namespace)
            };
            object.slim(Kind::Namespace, whole, problems)
        },
        health: Arc::clone(health),
        ear,
        overlong,
        heard,
        memory: Arc::new(Semaphore::new(memory)),
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

/// A body of more than this many MiB.
fn long(mebibytes: usize) -> &'static [&'static str] {
    let blank = &*" ".repeat(1 << 20).leak();
    &*vec![blank; mebibytes + 1].leak()
}

/// The server, and the limits of the lists that it is asked for.
fn limits(server: Client) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let limits = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let limit = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("limit="));
        limits.lock().extend(limit.map(str::to_owned));
        let server = server.clone();
        async move { server.send(request).await }
    });
    (Client::new(service, "default"), asked)
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_long_is_asked_for_with_fewer_objects() {
    let (server, asked) = limits(server([
        (400, &[BAD][..], Rest::End),
        (200, long(8), Rest::End),
        (200, long(8), Rest::End),
        (200, &[PAGE], Rest::End),
        (200, &[EXPIRED], Rest::End),
        (200, &[PAGE], Rest::End),
        (200, &[], Rest::Silence),
    ]));
    let health = Arc::<Health>::default();
    let mut events = follow(&health, server, 1 << 20);
    for _ in 0..2 {
        while !matches!(events.recv().await.unwrap().event, WatchEvent::Restarted) {}
    }
    // The list after the watch has the usual pages again.
    assert_eq!(*asked.lock(), ["500", "63", "8", "500"]);
}

/// A page of one object may be longer. If it is too long as well, there is nothing shorter.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_too_long_is_an_outage_with_delays() {
    let shorter = [(200, long(8), Rest::End); 3];
    let single = [(200, long(16), Rest::End); 4];
    // Each failed list is one of the longer delays after the next.
    let end = [
        (200, &*[long(12), &[PAGE]].concat().leak(), Rest::End),
        (200, &[], Rest::Silence),
    ];
    let bad = [(400, &[BAD][..], Rest::End)];
    let answers = bad.into_iter().chain(shorter).chain(single).chain(end);
    let (server, asked) = limits(server(answers));
    let health = Arc::<Health>::default();
    let mut events = follow(&health, server, 1 << 20);
    let start = Instant::now();
    tokio::time::sleep(BACKOFF_MIN / 4).await;
    let [(Kind::Namespace, message)] = &*health.outages() else {
        panic!("{:?}", health.outages());
    };
    let expected = "cannot list namespaces: an object has more than 16 MiB of JSON";
    assert_eq!(message, expected);
    while !matches!(events.recv().await.unwrap().event, WatchEvent::Restarted) {}
    assert!(
        start.elapsed() >= BACKOFF_MIN / 2 * 15,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(*asked.lock(), ["500", "63", "8", "1", "1", "1", "1", "1"]);
    assert!(health.outages().is_empty());
}

/// Follows the server until an object of this name comes. Returns the names of all objects that
/// came, each with its number of problems, and the time that passed.
async fn until(
    name: &str,
    health: &Arc<Health>,
    answers: impl IntoIterator<Item = Answer>,
) -> (Vec<(String, usize)>, Duration) {
    let start = Instant::now();
    let mut events = follow(health, server(answers), 1 << 20);
    let mut came = Vec::new();
    while came.last().is_none_or(|(last, _)| last != name) {
        let next = tokio::time::timeout(BACKOFF_MAX * 4, events.recv());
        let Heard {
            event, problems, ..
        } = next.await.unwrap().unwrap();
        if let WatchEvent::Apply(reference, ..) = event {
            came.push((reference.name.to_string(), problems.kept().len()));
        }
    }
    (came, start.elapsed())
}

/// The metadata of this Namespace cannot be used as they are: their labels are a number.
const ODD: &str = r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","labels":{"kubernetes.io/service-name":7},"resourceVersion":"3"}}}
"#;

/// A date that no library of dates has, nesting that `serde_json` does not read, and an unread
/// field of another type.
fn hostile() -> String {
    let deep = format!("{}{}", r#"{"f:a":"#.repeat(200), "}".repeat(200));
    let deep = deep.replace(":}", ":{}}");
    format!(
        r#"{{"type":"MODIFIED","object":{{"metadata":{{"name":"b","resourceVersion":"4","managedFields":[{{"time":"9999-12-31T23:59:59Z","fieldsV1":{deep}}}]}},"spec":7}}}}
"#
    )
}

const LAST: &str = r#"{"type":"ADDED","object":{"metadata":{"name":"z","resourceVersion":"9"}}}
"#;

#[tokio::test(start_paused = true)]
async fn objects_that_do_not_decode_delay_no_others() {
    let health = Arc::<Health>::default();
    let bad = hostile().repeat(20).leak();
    let answers = [(200, &*vec![LISTED, ADDED, bad, LAST].leak(), Rest::Silence)];
    let (came, time) = until("z", &health, answers).await;
    assert_eq!((came.len(), time), (22, Duration::ZERO));
    assert_eq!(came[1], ("b".to_owned(), 0));
    assert!(health.outages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_decode_is_left_out_of_a_page() {
    let page = r#"{"metadata":{"resourceVersion":"2"},"items":[
        {"metadata":{"name":"a","resourceVersion":"1"}},
        {"metadata":{"name":7}},
        7,
        {"metadata":{"name":"z","resourceVersion":"1"}}]}"#;
    let answers = [
        (400, &[BAD][..], Rest::End),
        (200, &*vec![page].leak(), Rest::End),
        (200, &[], Rest::Silence),
    ];
    let health = Arc::<Health>::default();
    let (came, time) = until("z", &health, answers).await;
    let problems: Vec<_> = came.iter().map(|(name, count)| (&**name, *count)).collect();
    assert_eq!(problems, [("a", 0), ("", 1), ("", 1), ("z", 0)]);
    assert_eq!(time, Duration::ZERO);
}

/// An object without a version ends the watch, and the list brings everything again.
#[tokio::test(start_paused = true)]
async fn metadata_that_do_not_decode_lead_to_a_list() {
    let answers = [
        (200, &[LISTED, ODD, ADDED][..], Rest::Silence),
        (200, &[ADDED, LAST, LISTED], Rest::Silence),
    ];
    let (came, _) = until("z", &Arc::default(), answers).await;
    assert_eq!(came, [("a".to_owned(), 0), ("z".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_event_delays_no_others_and_a_list_follows() {
    let health = Arc::<Health>::default();
    let damaged = "{\"type\":\"ADDED\",\"object\":]}\n".repeat(20).leak();
    let first = &*vec![LISTED, ADDED, damaged, LAST].leak();
    let again = &*vec![ADDED, LAST, LISTED].leak();
    let answers = [(200, first, Rest::Silence), (200, again, Rest::Silence)];
    let start = Instant::now();
    let mut events = follow(&health, server(answers), 1 << 20);
    let mut lists = Vec::new();
    let mut last = None;
    while lists.len() < 2 {
        match events.recv().await.unwrap().event {
            WatchEvent::Restarted => lists.push(start.elapsed()),
            WatchEvent::Apply(reference, ..) if &*reference.name == "z" && last.is_none() => {
                last = Some(start.elapsed());
                // One change is lost until the list.
                assert_eq!(health.outages().len(), 1);
            }
            _ => {}
        }
    }
    assert_eq!(last, Some(Duration::ZERO));
    assert!(lists[1] >= BACKOFF_MAX / 2, "{lists:?}");
    assert!(health.outages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_with_a_damaged_event_is_not_complete() {
    let answers = [
        (200, &["{]\n", LISTED][..], Rest::Silence),
        (200, &[ADDED, LISTED], Rest::Silence),
    ];
    let health = Arc::<Health>::default();
    let mut events = follow(&health, server(answers), 1 << 20);
    let mut applied = 0;
    loop {
        match events.recv().await.unwrap().event {
            WatchEvent::Restarted => break,
            WatchEvent::Apply(..) => applied += 1,
            _ => {}
        }
    }
    assert_eq!((applied, health.outages().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn objects_wait_until_there_is_memory() {
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
