//! The loop after the start.

use super::*;

#[test]
fn deleted_names_are_gone_from_the_maps() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, cluster());
    assert!(installed(&keeper, b"\x0810-0-0-1\x03web\x07default"));
    apply(&mut keeper, batch(vec![slice("web", &[[10, 0, 0, 2]])]));
    assert!(!installed(&keeper, b"\x0810-0-0-1\x03web\x07default"));
    assert!(installed(&keeper, b"\x0810-0-0-2\x03web\x07default"));
    let reference = crate::watch::ObjectRef {
        kind: Kind::Service,
        namespace: "default".into(),
        name: "web".into(),
    };
    apply(&mut keeper, batch(vec![Event::Delete(reference)]));
    assert!(!installed(&keeper, b"\x03web\x07default"));
    assert_eq!(
        mirror.snapshot().events(Kind::Service, EventKind::Delete),
        1
    );
    assert_eq!(
        mirror
            .snapshot()
            .events(Kind::EndpointSlice, EventKind::Apply),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_denied_while_the_source_is_silent_for_too_long() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let ear = mirror.source().listen("services");
    take(&mut keeper, cluster()).await;
    let mut denies = || {
        keeper.beat().unwrap();
        let told = keeper.writer.sink().state.flags & State::COMPLETE != 0;
        assert_eq!(told, mirror.index().may_deny());
        assert_eq!(told, mirror.snapshot().current);
        told
    };
    assert!(denies());
    tokio::time::advance(Duration::from_secs(119)).await;
    assert!(denies());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!denies());
    ear.heard();
    assert!(denies());
}

#[test]
fn a_heartbeat_tells_which_names_are_left_to_coredns() {
    use headless_ebpf::abi::{PASSED_MAX, PassedNames};

    use crate::corefile::Left;
    use crate::corefile::standing::{Report, Standing};

    let standing = Arc::new(Standing::default());
    let zone = Name::from_str("cluster.local.").unwrap();
    let mirror = Mirror::new(Index::new(Settings::new(zone)), config());
    let mut keeper = keeper(&Arc::new(mirror.standing_by(Arc::clone(&standing))));
    let mut told = |names: &[&str]| {
        let left = Left {
            names: names.iter().map(|name| (*name).into()).collect(),
            ..Left::NOTHING
        };
        standing.set(Report {
            left,
            ..Report::default()
        });
        keeper.beat().unwrap();
        let sink = keeper.writer.sink();
        let config = sink.config.unwrap();
        let has = |labels: &[&str]| {
            let labels = labels.iter().map(|label| label.as_bytes());
            let hash = PassedNames::hash(&config.hash_key, labels).unwrap();
            config.passed.has(hash)
        };
        let passed = [has(&["a"]), has(&["b", "default", "svc"])];
        (
            sink.state.flags & (State::PASSES | State::PASS_NAMES),
            passed,
        )
    };
    let flag = State::PASS_NAMES;
    assert_eq!(told(&[]), (0, [false, false]));
    assert_eq!(told(&["a"]), (flag, [true, false]));
    assert_eq!(told(&["a", "b.default.svc"]), (flag, [true, true]));
    assert_eq!(told(&["b.default.svc"]), (flag, [false, true]));
    let many: Vec<_> = (0..=PASSED_MAX).map(|i| format!("n{i}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(told(&many).0, flag | State::PASS_ZONE, "they do not fit");
    assert_eq!(told(&[]), (0, [false, false]));
}

#[tokio::test]
async fn the_end_of_the_source_ends_the_loop() {
    let keeper = keeper(&mirror());
    let (sender, batches) = mpsc::channel(1);
    drop(sender);
    let error = keeper.run(batches).await.unwrap_err();
    assert!(error.to_string().contains("source"), "{error}");
}

/// The loop wakes up for a large Service that had to rest.
#[tokio::test(start_paused = true)]
async fn a_large_service_is_settled_after_its_rest_without_another_change() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let addresses = |last: usize| -> Vec<_> {
        (0..2000 + last)
            .map(|i| [10, 1, (i >> 8) as u8, i as u8])
            .collect()
    };
    let endpoints = || {
        let data = mirror.index().name(b"\x03web\x07default");
        data.unwrap().ipv4.len()
    };
    take(&mut keeper, cluster()).await;
    keeper
        .take(batch(vec![slice("web", &addresses(0))]))
        .await
        .unwrap();
    assert_eq!(endpoints(), 2000, "the first change is settled at once");
    let (sender, batches) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(batches));
    sender
        .send(batch(vec![slice("web", &addresses(1))]))
        .await
        .unwrap();
    let due = loop {
        if let Some(due) = mirror.index().large_due() {
            break due;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(endpoints(), 2000, "it rests");
    assert!(due > tokio::time::Instant::now().into_std());
    tokio::time::sleep_until(due.into()).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(endpoints(), 2001);
    drop(sender);
    assert!(running.await.unwrap().is_err());
}

#[tokio::test]
async fn the_loop_beats_as_soon_as_it_runs() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let counts = Arc::clone(&keeper.writer.counts);
    take(&mut keeper, cluster()).await;
    let before = counts.beat_ns.load(Ordering::Relaxed);
    let (sender, batches) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(batches));
    while counts.beat_ns.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    assert!(counts.complete());
    drop(sender);
    assert!(running.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn names_come_back_soon_after_a_room_has_drained() {
    let capacities = Capacities {
        table_slots: 128,
        names_short: 128,
        names_medium: 16,
        names_long: 16,
        chunks: 1024,
        endpoint_buckets: 16,
        reverse_buckets: 0,
    };
    let mirror = mirror();
    let mut keeper = keeper_with(Intake::new(Arc::clone(&mirror)), capacities);
    take(&mut keeper, cluster()).await;
    let number = |i: u8| ServiceKind::ClusterIp(Box::new([IpAddr::from([10, 97, 0, i])]));
    let names = 0..=255;
    let services = names.map(|i| service("default", &format!("s{i}"), number(i)));
    take(&mut keeper, batch(services.collect())).await;
    let counts = Arc::clone(&keeper.writer.counts);
    let yielding = || counts.yielding_namespaces.load(Ordering::Relaxed);
    let passes = || counts.reconciles.load(Ordering::Relaxed);
    assert_eq!(yielding(), 1);

    let before = passes();
    let (sender, batches) = mpsc::channel(1);
    let running = tokio::spawn(keeper.run(batches));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(passes(), before, "no name can come back");
    let gone = |i| {
        Event::Delete(crate::watch::ObjectRef {
            kind: Kind::Service,
            namespace: "default".into(),
            name: format!("s{i}").into(),
        })
    };
    sender
        .send(batch((0..200).map(gone).collect()))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!((passes(), yielding()), (before + 1, 0));
    drop(sender);
    assert!(running.await.unwrap().is_err());
}
