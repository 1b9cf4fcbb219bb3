//! The wait for a restart, with a made-up server and a clock that runs ahead.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use axum::http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;

/// Slices by their name, each with the UIDs of its pods.
fn list(slices: &[(&str, &str)]) -> Value {
    let endpoint = |uid: &str| {
        json!({
            "addresses": ["10.0.0.1"], "conditions": { "ready": false },
            "targetRef": { "kind": "Pod", "name": "x", "uid": uid },
        })
    };
    let slice = |(name, uids): &(&str, &str)| {
        let endpoints: Vec<_> = uids.split_whitespace().map(endpoint).collect();
        json!({ "metadata": { "name": name }, "addressType": "IPv4", "endpoints": endpoints })
    };
    let items: Vec<_> = slices.iter().map(slice).collect();
    json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {},
        "items": items,
    })
}

/// A server whose list a test changes. `null` is a server that does not answer.
#[derive(Clone, Default)]
struct Server {
    list: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Server {
    fn restart(&self) -> Restart {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let uri = request.uri().to_string();
            assert!(uri.starts_with("/apis/discovery.k8s.io/v1/namespaces/kube-system/"));
            assert!(uri.ends_with("labelSelector=kubernetes.io%2Fservice-name%3Dkube-dns"));
            server.asked.lock().push(Instant::now());
            let list = server.list.lock().clone();
            async move {
                if list.is_null() {
                    return std::future::pending().await;
                }
                let code = list["code"].as_u64().unwrap_or(200);
                let mut response = Response::new(Body::from(list.to_string().into_bytes()));
                *response.status_mut() = u16::try_from(code).unwrap().try_into().unwrap();
                Ok::<_, BoxError>(response)
            }
        });
        let service_ref = ServiceRef {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        };
        Restart::new(Client::new(service, "default"), service_ref, Waits::CLUSTER)
    }

    /// Shows this list for some seconds. Returns whether the wait has ended.
    async fn show(&self, restart: &mut Restart, list: Value, seconds: u64) -> bool {
        *self.list.lock() = list;
        let time = Duration::from_secs(seconds);
        timeout(time, restart.over()).await.is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_once_all_pods_are_new() {
    let server = Server::default();
    let mut restart = server.restart();
    assert!(
        restart
            .advice()
            .contains("three minutes after the change or later")
    );
    let first = list(&[("v4", "a b"), ("v6", "a b")]);
    assert!(!server.show(&mut restart, first, 60).await);
    assert!(restart.advice().ends_with("old pods left: 2"));
    let early = list(&[("v4", "c d"), ("v6", "c d")]);
    assert!(
        !server.show(&mut restart, early, 120).await,
        "still the old text"
    );
    assert!(
        !server
            .show(&mut restart, list(&[("v4", "c e f")]), 60)
            .await
    );
    assert!(restart.advice().ends_with("old pods left: 1"));
    assert!(!server.show(&mut restart, list(&[]), 60).await);
    assert!(server.show(&mut restart, list(&[("v6", "e f")]), 60).await);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_asked_again() {
    let server = Server::default();
    let mut restart = server.restart();
    assert!(!server.show(&mut restart, Value::Null, 100).await);
    let advice = restart.advice();
    assert!(advice.contains("has not answered within 30 s"), "{advice}");
    let refused = json!({
        "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "no right", "metadata": {},
    });
    assert!(!server.show(&mut restart, refused, 100).await);
    let advice = restart.advice();
    assert!(
        advice.contains("look at them") && advice.contains("no right"),
        "{advice}"
    );
    assert!(!server.show(&mut restart, list(&[("v4", "a")]), 60).await);
    assert!(server.show(&mut restart, list(&[("v4", "b")]), 60).await);
}

#[tokio::test(start_paused = true)]
async fn no_restart_is_missed_three_minutes_after_the_change() {
    let old = || list(&[("v4", "a")]);
    let refused = || json!({ "kind": "Status", "status": "Failure", "code": 500, "metadata": {} });
    // The moments of the looks are random.
    for _ in 0..50 {
        let server = Server::default();
        let mut restart = server.restart();
        assert!(!server.show(&mut restart, old(), 136).await);
        assert!(server.show(&mut restart, list(&[("v4", "b")]), 46).await);
        let server = Server::default();
        let mut restart = server.restart();
        assert!(!server.show(&mut restart, refused(), 160).await);
        assert!(!server.show(&mut restart, old(), 20).await);
        assert!(server.show(&mut restart, list(&[("v4", "b")]), 46).await);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_name_no_pod_end_the_looks_and_not_the_wait() {
    let with = |field: &str, value: Value| {
        let mut list = list(&[("v4", "a")]);
        *list
            .pointer_mut(&format!("/items/0/endpoints/0/{field}"))
            .unwrap() = value;
        list
    };
    for unnamed in [
        with("targetRef/kind", json!("Node")),
        with("targetRef/uid", json!("")),
        with("targetRef", Value::Null),
    ] {
        let server = Server::default();
        let mut restart = server.restart();
        assert!(!server.show(&mut restart, unnamed, 200).await);
        let advice = restart.advice();
        assert!(advice.contains("then this agent"), "{advice}");
        assert!(
            advice.ends_with("of the EndpointSlice v4 names no pod"),
            "{advice}"
        );
        assert!(!server.show(&mut restart, list(&[("v4", "b")]), 200).await);
        assert!(!server.show(&mut restart, list(&[("v4", "c")]), 200).await);
        assert_eq!(server.asked.lock().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn agents_look_more_rarely_the_longer_they_wait() {
    let start = Instant::now();
    let server = Server::default();
    let mut restart = server.restart();
    assert!(
        !server
            .show(&mut restart, list(&[("v4", "a")]), 86_400)
            .await
    );
    let asked = server.asked.lock();
    // The look for the last old pods comes at a time of its own.
    let asked: Vec<_> = asked.iter().filter(|it| **it - start >= FRESH).collect();
    let gaps = asked.windows(2).map(|pair| *pair[1] - *pair[0]);
    let (least, most) = (gaps.clone().min().unwrap(), gaps.max().unwrap());
    assert!(least >= Duration::from_secs(15), "{least:?}");
    assert!(most <= Duration::from_secs(451), "{most:?}");
    assert!(asked.len() < 600, "{} looks in a day", asked.len());
}
