//! Readings of the Corefile by what the API server says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::{Request, Response, StatusCode};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use kube::core::Status;
use serde_json::json;
use tokio::time::{Instant, advance, timeout};
use tower::BoxError;

use super::super::Kind;
use super::super::health::{FORBIDDEN_FOR, FailureReason};
use super::requests::Seen;
use super::*;

fn reference(name: &str) -> ServiceRef {
    ServiceRef {
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
    }
}

fn sought() -> Sought {
    Sought {
        corefile: reference("coredns"),
        imports: vec![(
            "/etc/coredns/custom".to_owned(),
            reference("coredns-custom"),
        )],
    }
}

fn map(key: &str, text: &str) -> ConfigMap {
    ConfigMap {
        data: Some([(key.to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    }
}

fn failed(code: u16) -> Seen {
    let status = Status::failure("no", "").with_code(code);
    Seen::Failed(kube::Error::Api(status.boxed()))
}

fn followed(name: &str) -> Followed {
    Followed::new(&reference(name), Arc::default())
}

#[tokio::test(start_paused = true)]
async fn a_config_map_stays_as_it_was_until_the_server_has_refused_it_for_long() {
    for is_there in [false, true] {
        let mut followed = followed("coredns");
        followed.take(failed(500));
        assert!(matches!(followed.found, Found::Waiting), "{followed:?}");
        followed.take(Seen::Listed(is_there.then(|| map(KEY, "a"))));
        let stays = |followed: &Followed| match followed.found {
            Found::Absent => !is_there,
            Found::Map(..) => is_there,
            _ => false,
        };
        let almost = FORBIDDEN_FOR.mul_f64(0.9);
        for code in [500, 401, 403, 503, 403] {
            advance(almost).await;
            followed.take(failed(code));
            assert!(stays(&followed), "{code}: {followed:?}");
        }
        // A list succeeds in between.
        advance(almost).await;
        followed.take(Seen::Listed(None));
        advance(FORBIDDEN_FOR.mul_f64(0.2)).await;
        followed.take(failed(403));
        assert!(stays(&followed), "{followed:?}");
        advance(FORBIDDEN_FOR).await;
        followed.take(failed(403));
        let Found::Unreadable(reason) = &followed.found else {
            panic!("{followed:?}");
        };
        assert!(reason.contains("kube-system/coredns (403)"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_kubelet_empties_the_folder_of_an_optional_config_map_that_is_gone() {
    let optional = || Followed::optional(&reference("coredns-custom"), Arc::default());
    for gone in [|| Seen::Deleted, || Seen::Listed(None), || failed(404)] {
        for is_refused in [false, true] {
            for (mut followed, stays) in [(followed("coredns"), true), (optional(), false)] {
                followed.take(Seen::Listed(Some(map(KEY, "a"))));
                if is_refused {
                    followed.take(failed(403));
                    advance(FORBIDDEN_FOR).await;
                    followed.take(failed(403));
                    followed.take(failed(500));
                    assert!(matches!(followed.found, Found::Unreadable(_)));
                }
                followed.take(gone());
                let is_kept = match &followed.found {
                    Found::Map(files, _) => files[KEY] == "a",
                    Found::Absent => false,
                    other => panic!("{other:?}"),
                };
                assert_eq!(is_kept, stays, "{followed:?}");
            }
        }
    }
}

#[test]
fn files_that_are_no_text_are_files_all_the_same() {
    let mut custom = map("a.override", "dns64");
    let bytes = ByteString(b"rewrite name b c # \xe9".to_vec());
    custom.binary_data = Some([("b.override".to_owned(), bytes)].into());
    let mut followed = followed("coredns-custom");
    followed.take(Seen::Applied(custom));
    let Found::Map(files, _) = &followed.found else {
        panic!("{followed:?}");
    };
    assert_eq!(files["a.override"], "dns64");
    assert_eq!(files["b.override"], "rewrite name b c # \u{fffd}");
}

#[test]
fn a_reading_waits_for_every_config_map() {
    let sought = sought();
    let mut all = [followed("coredns"), followed("coredns-custom")];
    all[0].take(Seen::Listed(Some(map(KEY, "a"))));
    all[1].take(failed(403));
    assert_eq!(compose(&sought, &all), None);
    all[1].take(Seen::Listed(None));
    let Some(Reading::Text { text, .. }) = compose(&sought, &all) else {
        panic!("{all:?}");
    };
    assert_eq!(text, "a");
    all[0].take(Seen::Deleted);
    all[0].take(Seen::Listed(None));
    all[0].take(failed(500));
    let reading = compose(&sought, &all);
    assert!(matches!(reading, Some(Reading::Text { .. })), "{reading:?}");
}

#[test]
fn a_config_map_that_was_made_again_has_changed() {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
    use k8s_openapi::jiff::Timestamp;

    let at = |seconds| Time(Timestamp::from_second(seconds).unwrap());
    let mut made = map(KEY, "a");
    made.metadata.creation_timestamp = Some(at(20));
    for (fields, last) in [(&[][..], 20), (&[20], 20), (&[10], 20), (&[20, 30], 30)] {
        let entry = |seconds: &i64| ManagedFieldsEntry {
            time: Some(at(*seconds)),
            ..ManagedFieldsEntry::default()
        };
        made.metadata.managed_fields = Some(fields.iter().map(entry).collect());
        let mut all = [followed("coredns"), followed("coredns-custom")];
        all[0].take(Seen::Listed(Some(made.clone())));
        all[1].take(Seen::Listed(None));
        let reading = compose(&sought(), &all);
        let Some(Reading::Text { changed, .. }) = reading else {
            panic!("{reading:?}");
        };
        assert_eq!(changed, Some(SystemTime::from(at(last).0)), "{fields:?}");
    }
}

#[test]
fn a_missing_config_map_is_absent_and_a_failure_is_not() {
    let sought = sought();
    for (none, is_absent) in [
        (Seen::Listed(None), true),
        (failed(404), true),
        (failed(500), false),
        (failed(403), false),
    ] {
        let mut all = [followed("coredns"), followed("coredns-custom")];
        all[1].take(Seen::Listed(None));
        all[0].take(none);
        all[0].give_up();
        let reading = compose(&sought, &all);
        match reading {
            Some(Reading::Absent) => assert!(is_absent),
            Some(Reading::Unreadable(_)) => assert!(!is_absent),
            _ => panic!("{reading:?}"),
        }
        all[0].take(Seen::Applied(map("other", "")));
        let reading = compose(&sought, &all);
        assert!(
            matches!(reading, Some(Reading::Unreadable(_))),
            "{reading:?}"
        );
    }
}

/// A server that refuses every request with the code in `refuses`, if that is not 0, and else has
/// the Corefile `text` in every `ConfigMap`. With the code 1 it does not answer, with the code 2 it
/// has the Corefile `later`. Its watches end after a second. It allows lists always if `lists` says
/// so.
fn server(refuses: &Arc<AtomicU16>, lists: bool) -> Client {
    let refuses = Arc::clone(refuses);
    let service = tower::service_fn(move |request: Request<Body>| {
        let is_watch = request.uri().to_string().contains("watch=");
        let code = match refuses.load(Ordering::Relaxed) {
            2 => 2,
            _ if lists && !is_watch => 0,
            code => code,
        };
        async move {
            if code == 1 {
                std::future::pending::<()>().await;
            }
            let (code, body) = match code {
                0 | 2 if is_watch => {
                    sleep(Duration::from_secs(1)).await;
                    (200, bookmark())
                }
                0 => (200, list("text")),
                2 => (200, list("later")),
                code => (code, refusal(code)),
            };
            let mut response = Response::new(Body::from(body.into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code)?;
            Ok::<_, BoxError>(response)
        }
    });
    Client::new(service, "default")
}

fn list(text: &str) -> String {
    json!({
        "kind": "ConfigMapList", "apiVersion": "v1", "metadata": { "resourceVersion": "5" },
        "items": [{ "metadata": { "name": "coredns" }, "data": { KEY: text } }],
    })
    .to_string()
}

fn bookmark() -> String {
    let object = json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "resourceVersion": "6" },
    });
    json!({ "type": "BOOKMARK", "object": object }).to_string() + "\n"
}

fn refusal(code: u16) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "x", "message": "no", "code": code,
    })
    .to_string()
}

/// A server that starts refuses for some seconds, and so do its watches that begin again.
#[tokio::test(start_paused = true)]
async fn a_refusal_for_a_moment_changes_nothing_and_a_long_one_ends() {
    let is_text = |reading: &Option<Reading>| matches!(reading, Some(Reading::Text { .. }));
    let is_unreadable = |reading: &Option<Reading>| matches!(reading, Some(Reading::Unreadable(_)));
    for lists in [false, true] {
        let refuses = Arc::default();
        let (sender, mut readings) = watch::channel(None);
        let following = tokio::spawn(follow(
            server(&refuses, lists),
            sought(),
            Arc::default(),
            sender,
        ));
        readings.wait_for(is_text).await.unwrap();
        for code in [403, 401, 410, 500] {
            refuses.store(code, Ordering::Relaxed);
            sleep(FORBIDDEN_FOR.mul_f64(0.8)).await;
            refuses.store(0, Ordering::Relaxed);
            sleep(Duration::from_mins(2)).await;
            assert!(!readings.has_changed().unwrap(), "{code}");
        }
        refuses.store(403, Ordering::Relaxed);
        readings.wait_for(is_unreadable).await.unwrap();
        sleep(Duration::from_mins(2)).await;
        assert!(is_unreadable(&readings.borrow_and_update()), "it stays so");
        refuses.store(0, Ordering::Relaxed);
        readings.wait_for(is_text).await.unwrap();
        following.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_reading_comes_in_time() {
    for (code, why) in [(403, "(403)"), (500, "no"), (1, "has not answered")] {
        let refuses = Arc::new(AtomicU16::new(code));
        let (sender, mut readings) = watch::channel(None);
        let following = tokio::spawn(follow(
            server(&refuses, false),
            sought(),
            Arc::default(),
            sender,
        ));
        let start = Instant::now();
        let reading = readings.wait_for(Option::is_some).await.unwrap().clone();
        assert!(start.elapsed() >= FIRST, "{code}: {:?}", start.elapsed());
        assert!(
            start.elapsed() < FIRST + LOOK,
            "{code}: {:?}",
            start.elapsed()
        );
        let Some(Reading::Unreadable(reason)) = reading else {
            panic!("{reading:?}");
        };
        assert!(reason.contains(why), "{reason}");
        following.abort();
    }
}

/// A load balancer whose backend is gone accepts requests, and nobody answers.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_asked_again() {
    let is_text = |reading: &Option<Reading>, said: &str| matches!(reading, Some(Reading::Text { text, .. }) if text == said);
    for lists in [false, true] {
        let refuses = Arc::default();
        let (sender, mut readings) = watch::channel(None);
        let health = Arc::<Health>::default();
        let client = server(&refuses, lists);
        let following = tokio::spawn(follow(client, sought(), Arc::clone(&health), sender));
        readings.wait_for(|it| is_text(it, "text")).await.unwrap();
        refuses.store(1, Ordering::Relaxed);
        sleep(Duration::from_mins(2)).await;
        let mut outages = health.outages();
        let (_, why) = outages.remove(0);
        let told = "cannot read the ConfigMap kube-system/coredns: ";
        assert!(why.starts_with(told), "{why}");
        assert!(why.ends_with("has not answered within 30 s"), "{why}");
        assert_eq!(outages.len(), 1, "the imported one, too");
        let failures = health.failures(Kind::ConfigMap, FailureReason::Unreachable);
        assert!((2..20).contains(&failures), "{failures}");
        assert!(
            is_text(&readings.borrow(), "text"),
            "the last text stays: {:?}",
            readings.borrow()
        );
        refuses.store(2, Ordering::Relaxed);
        let later = timeout(
            Duration::from_mins(2),
            readings.wait_for(|it| is_text(it, "later")),
        );
        later.await.unwrap().unwrap();
        sleep(Duration::from_mins(1)).await;
        assert_eq!(health.outages(), [], "both run again");
        following.abort();
    }
}
