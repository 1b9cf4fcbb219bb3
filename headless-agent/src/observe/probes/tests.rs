//! A loop that hangs, as a probe sees it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::str::FromStr as _;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use headless_ebpf::abi::{Config, HashKey, PodsMode};
use hickory_proto::rr::Name;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt as _;

use super::*;
use crate::maps::capacity::{self, EntryCounts};
use crate::maps::memory::MemorySink;
use crate::maps::writer::Writer;
use crate::mirror::{Intake, Keeper, Policy};
use crate::observe::admin;
use crate::records::{Index, Settings};
use crate::watch::{Batch, Event, Namespace, Object, ServiceRef};

/// Much longer than a machine takes.
const DEADLINE: Duration = Duration::from_mins(1);

async fn get(signs: &Signs, path: &str) -> (StatusCode, String) {
    let router = admin::probes(signs.clone());
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Waits until the path has this status; what it says then.
async fn until(signs: &Signs, path: &str, status: StatusCode) -> String {
    let start = Instant::now();
    loop {
        let (found, text) = get(signs, path).await;
        if found == status {
            return text;
        }
        assert!(start.elapsed() < DEADLINE, "{path} says {found}: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_loop_is_not_alive_until_it_goes_on() {
    let zone = Name::from_str("cluster.local.").unwrap();
    let config = Config::new(
        "cluster.local",
        30,
        PodsMode::Insecure,
        &HashKey::from_seed(1),
    )
    .unwrap();
    let mirror = Arc::new(Mirror::new(Index::new(Settings::new(zone)), config));
    let writes = Arc::<WriteCounts>::default();
    let policy = Policy {
        lease: Duration::from_secs(30),
        source_max_age_deny: Duration::from_mins(2),
        cluster_dns: ServiceRef {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        },
        listen: Vec::new(),
    };
    let capacities = capacity::capacities(&EntryCounts::LEAST, u64::MAX).capacities;
    let sink = MemorySink::new(config, capacities);
    let filling = Writer::open(sink, Arc::clone(&writes)).unwrap();
    let attached = Arc::new(Snapshot {
        compared: true,
        ..Snapshot::default()
    });
    let signs = Signs {
        mirror: Arc::clone(&mirror),
        writes,
        datapath: watch::channel(attached).1,
    };
    assert_eq!(get(&signs, "/livez").await.0, StatusCode::OK, "not begun");
    let keeper = Keeper::new(Intake::new(Arc::clone(&mirror)), filling, policy);
    let (sender, batches) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(batches));
    until(&signs, "/livez", StatusCode::OK).await;

    // The loop waits for this reader as soon as it has something to write.
    let (stuck, free) = (Arc::clone(&mirror), mpsc::channel::<()>(1));
    let (release, mut released) = free;
    let (held, holds) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let index = stuck.index();
        held.send(()).unwrap();
        released.blocking_recv();
        drop(index);
    });
    holds.recv().unwrap();
    let event = Event::Apply(Object::Namespace(Namespace {
        name: "default".into(),
    }));
    let batch = Batch {
        events: vec![event],
        ..Batch::default()
    };
    sender.send(batch).await.unwrap();
    let text = until(&signs, "/livez", StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(
        text.contains("the loop is stuck: no heartbeat for"),
        "{text}"
    );
    let (_, text) = get(&signs, "/readyz").await;
    assert!(text.contains("the loop is stuck"), "{text}");
    assert!(signs.vitals().heartbeat_age.unwrap() >= STUCK_AFTER);

    release.send(()).await.unwrap();
    reader.join().unwrap();
    until(&signs, "/livez", StatusCode::OK).await;
    drop(sender);
    running.await.unwrap().unwrap_err();
}

/// Vitals of an agent that is ready.
fn ready() -> Vitals {
    Vitals {
        mirror: Arc::new(mirror::Snapshot {
            current: true,
            ..mirror::Snapshot::default()
        }),
        heartbeat_age: Some(Duration::from_millis(900)),
        source_age: Duration::ZERO,
        silence: Some(Silence {
            watch: "services",
            age: Duration::from_mins(1),
        }),
        outages: Vec::new(),
        attached: true,
        standing: Arc::default(),
    }
}

#[test]
fn what_is_missing_is_said_with_the_reason() {
    assert_eq!(ready().unready(), [""; 0]);
    let mut vitals = ready();
    vitals.mirror = Arc::new(mirror::Snapshot {
        missing: vec!["services"],
        current: true,
        ..mirror::Snapshot::default()
    });
    assert_eq!(vitals.unready(), ["services synced"]);
    vitals.outages = vec![(Kind::Service, "forbidden".into())];
    assert_eq!(vitals.unready(), ["services synced: forbidden"]);
}

#[test]
fn silence_matters_once_the_loop_withholds_denials() {
    let mut vitals = ready();
    vitals.mirror = Arc::new(mirror::Snapshot::default());
    let silence = vitals.silence.as_mut().unwrap();
    silence.age = Duration::from_secs(121);
    assert_eq!(
        vitals.unready(),
        [
            "the API server has sent nothing on the watch of services for 121 s: negative answers \
             are withheld"
        ]
    );
}
