//! The start: the cluster is read, then the maps are filled.

use super::*;

#[test]
fn maps_are_filled_once_every_kind_is_listed() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    apply(&mut keeper, batch(vec![namespace("default")]));
    assert!(!keeper.complete);
    assert_eq!(keeper.writer.sink().state.flags & State::COMPLETE, 0);
    apply(&mut keeper, cluster());
    assert!(keeper.complete);
    assert_ne!(keeper.writer.sink().state.flags & State::COMPLETE, 0);
    assert!(installed(&keeper, b"\x03web\x07default"));
    assert!(!installed(&keeper, b"\x03web\x05other"));
}

#[tokio::test]
async fn the_cluster_is_read_while_the_maps_are_made() {
    let mirror = mirror();
    let (sender, mut batches) = mpsc::channel(1);
    let mut intake = Intake::new(Arc::clone(&mirror));
    let (loaded, loading) = tokio::sync::oneshot::channel();
    let reading = async {
        sender.send(cluster()).await.unwrap();
        // The channel has capacity for one batch: the first one has been received.
        sender.send(batch(vec![namespace("late")])).await.unwrap();
        loaded.send(7).unwrap();
    };
    let ((), ready) = tokio::join!(reading, intake.until(loading, &mut batches));
    assert_eq!(ready.unwrap().unwrap(), 7);
    assert!(mirror.snapshot().synced());
    let mut keeper = keeper_of(intake);
    keeper.fill().await.unwrap();
    assert!(installed(&keeper, b"\x03web\x07default"));
    assert_eq!(keeper.writer.served().unwrap().len(), 2);
}

#[tokio::test]
async fn the_cluster_has_been_read_once_every_kind_was_listed() {
    let mirror = mirror();
    let (sender, mut batches) = mpsc::channel(2);
    let mut intake = Intake::new(Arc::clone(&mirror));
    let mut events = cluster().events;
    // The settings need no pods.
    let last = events.remove(events.len() - 2);
    sender.send(batch(events)).await.unwrap();
    let read = async {
        let reading = intake.until(mirror.read(), &mut batches);
        reading.await.unwrap();
    };
    let listing = async {
        while mirror.index().name(b"\x03web\x07default").is_none() {
            tokio::task::yield_now().await;
        }
        assert!(mirror.read().now_or_never().is_none());
        sender.send(batch(vec![last])).await.unwrap();
    };
    tokio::join!(read, listing);
    assert!(mirror.index().synced());
}

/// The first lists of a cluster with this many headless Services of 100 endpoints each.
fn large(services: usize) -> Batch {
    let mut batch = cluster();
    let lists = batch.events.split_off(batch.events.len() - Kind::ALL.len());
    for i in 0..services {
        let name = format!("s{i}");
        batch
            .events
            .push(service("default", &name, ServiceKind::Headless));
        let addresses: Vec<_> = (0..100)
            .map(|e| [10, 1 + (i >> 8) as u8, i as u8, e])
            .collect();
        batch.events.push(slice(&name, &addresses));
    }
    batch.events.extend(lists);
    batch
}

#[test]
fn a_large_batch_is_taken_and_settled_in_steps() {
    let mirror = mirror();
    let mut intake = Intake::new(Arc::clone(&mirror));
    let mut work = mirror.index().work();
    let mut grown = || {
        let before = std::mem::replace(&mut work, mirror.index().work());
        work - before
    };
    let mut events = large(200).events.into_iter();
    let mut steps = 0;
    while intake.take_step(&mut events) {
        steps += 1;
        assert!(grown() < WORK_MAX + 200);
    }
    grown();
    assert!(steps >= 4, "{steps}");
    steps = 0;
    assert!(!mirror.index().synced(), "names are missing");
    let mut names = 0;
    while let Some((changed, _)) = intake.settle_step() {
        names += changed.len();
        steps += 1;
        assert!(grown() < WORK_MAX + 200);
    }
    assert!(steps >= 4, "{steps}");
    assert_eq!(names, 2 + 2 + 2 + 200 * 101);
    assert!(mirror.index().synced());
}

#[tokio::test]
async fn others_run_and_the_loop_beats_between_the_pieces_of_a_batch() {
    let mirror = mirror();
    let mut keeper = keeper(&mirror);
    let counts = Arc::clone(&keeper.writer.counts);
    keeper.beaten_ago(Duration::from_secs(2));
    let mut taking = Box::pin(keeper.take(large(100)));
    assert!(futures::poll!(taking.as_mut()).is_pending());
    assert!(
        mirror.index.try_write().is_some(),
        "the index is not locked between two pieces"
    );
    assert!(
        !mirror.index().synced(),
        "only a part of the batch is applied"
    );
    assert!(!counts.complete());
    taking.await.unwrap();
    assert!(mirror.index().synced());
    assert!(
        !counts.complete(),
        "the maps may have entries of another agent"
    );
    keeper.fill().await.unwrap();
    assert!(counts.complete());
    assert!(mirror.index().name(b"\x03s99\x07default").is_some());
}
