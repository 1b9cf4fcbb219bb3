//! The sets of one namespace leave only short runs of chunks free. Other namespaces find room.

use super::*;
use crate::records::EndpointScope;

/// Namespace `a` has `count` Services of three chunks each, and has deleted the Services of one
/// chunk between them.
fn fragmented(count: u32) -> Scene {
    let capacities = Capacities {
        table_slots: 1024,
        endpoint_buckets: 512,
        reverse_buckets: 0,
        ..SMALL
    };
    // By default no ClusterIP Service has a name chunk.
    let mut scene = Scene::with(capacities, EndpointScope::Headless);
    for i in 0..count {
        scene.take(headless("a", &format!("s{i:02}"), 100 + i * 40, 40, false));
        scene.take(headless("a", &format!("gap{i:02}"), 10_000 + i, 1, false));
    }
    assert_eq!(scene.yields(), (0, 0), "there is room");
    for i in 0..count {
        scene.take([
            gone(Kind::EndpointSlice, "a", &format!("gap{i:02}-1")),
            gone(Kind::Service, "a", &format!("gap{i:02}")),
        ]);
    }
    scene
}

/// The largest number of chunks that follow each other.
fn longest_run(scene: &Scene) -> u32 {
    let extents = &scene.writer.sets.extents;
    (1..=SMALL.chunks)
        .take_while(|len| extents.has_run(*len))
        .last()
        .unwrap_or(0)
}

/// A Service whose set has so many chunks: 28 addresses in each, and its details in the last.
fn of_chunks(namespace: &str, name: &str, chunks: u32) -> [Event; 2] {
    headless(namespace, name, 1, (chunks - 1) * 28, false)
}

#[test]
fn short_runs_of_one_namespace_leave_room_for_longer_sets_of_others() {
    let mut scene = fragmented(28);
    assert_eq!(scene.writer.used(Room::Chunks), 3 * 28);
    let chunks = longest_run(&scene) + 1;
    scene.take(of_chunks("b", "new", chunks));
    assert!(scene.is_given("new.b"));
    scene.check();
    let kept = (0..28).filter(|i| scene.is_given(&format!("s{i:02}.a")));
    assert!(kept.count() * 3 >= 54, "a keeps an equal share");
}

#[test]
fn nobody_yields_for_a_run_below_an_equal_share() {
    let mut scene = fragmented(18);
    let chunks = longest_run(&scene) + 1;
    scene.take(of_chunks("b", "new", chunks));
    assert!(!scene.is_given("new.b"), "there is no run");
    assert_eq!(scene.yields(), (0, 0));
    scene.check();
}

/// Else a namespace could push out others by a set that is larger than all of theirs.
#[test]
fn nobody_yields_for_a_run_to_a_namespace_that_would_hold_more() {
    let mut scene = fragmented(28);
    scene.take(of_chunks("b", "new", 85));
    assert!(!scene.is_given("new.b"));
    assert_eq!(scene.yields(), (0, 0));
    scene.check();
}

#[test]
fn names_without_room_leave_others_of_their_batch_their_tries() {
    let mut scene = fragmented(28);
    let chunks = longest_run(&scene) + 1;
    let mut events = Vec::new();
    for i in 0..20 {
        events.extend(of_chunks("b", &format!("large{i}"), 100));
    }
    events.extend(of_chunks("c", "new", chunks));
    scene.take(events);
    assert!(scene.is_given("new.c"));
    scene.check();
}
