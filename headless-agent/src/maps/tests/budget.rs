//! One namespace needs more room than the maps have. The other namespaces keep theirs.

mod extents;
mod known;
mod scene;

use self::scene::{SMALL, Scene, cluster_ip, gone, headless, pod, small};
use super::*;
use crate::maps::budget::Room;
use crate::maps::reconcile::Reconcile;
use crate::watch::Kind;

#[test]
fn the_largest_services_of_the_largest_namespace_yield() {
    let mut scene = Scene::new(SMALL);
    small(&mut scene);
    scene.take(headless("a", "middle", 100, 30, true));
    scene.take(headless("a", "large", 200, 200, true));
    assert_eq!(scene.ask("large.a"), Err(PassReason::Userspace));
    assert_eq!(scene.ask("host-0.large.a"), Err(PassReason::Userspace));
    assert_eq!(scene.ask("10-97-0-201.large.a"), Err(PassReason::Userspace));
    assert_eq!(scene.ask("nope.large.a"), Err(PassReason::Userspace));
    assert_eq!(scene.yields(), (1, 0), "the other names fit");
    scene.is_unhurt("b");
    scene.is_unhurt("c");
    assert_eq!(
        scene.ask("nope.a"),
        Ok(Outcome::NxDomain),
        "the maps have each Service of a"
    );
    assert_eq!(scene.ask("middle.a"), Ok(Outcome::Truncated));
    assert_eq!(scene.ask("host-0.small.a"), Ok(Outcome::Data));
    scene.check();

    // b grows, and its names fit.
    scene.take(headless("b", "new", 100, 40, true));
    scene.is_unhurt("b");
    scene.check();

    // a shrinks, and its names come back with the next full pass.
    scene.take(headless("a", "large", 200, 10, true));
    assert_eq!(scene.ask("large.a"), Err(PassReason::Userspace));
    assert_eq!(scene.reconcile().total(), 0, "no drift");
    assert_eq!(scene.yields(), (0, 0));
    for namespace in ["a", "b", "c"] {
        scene.is_unhurt(namespace);
    }
    scene.check();
    assert_eq!(scene.reconcile().total(), 0);
}

#[test]
fn a_namespace_of_many_services_yields_some() {
    let mut scene = Scene::new(SMALL);
    small(&mut scene);
    for i in 0..300 {
        scene.take([cluster_ip("a", &format!("s{i}"), i)]);
    }
    assert_eq!(scene.yields().1, 1, "a is marked");
    assert_ne!(scene.writer.sink().state.flags & State::YIELDING, 0);
    scene.is_unhurt("b");
    scene.is_unhurt("c");
    let answered = (0..300).filter(|i| scene.ask(&format!("s{i}.a")) == Ok(Outcome::Data));
    let answered = answered.count();
    assert!(answered > 50, "a keeps its share: {answered}");
    assert_eq!(scene.ask("nope.a"), Err(PassReason::Userspace));
    assert_eq!(scene.ask("a"), Ok(Outcome::NoData));
    assert_eq!(scene.ask("nope"), Ok(Outcome::NxDomain), "no namespace");
    scene.check();
    for i in 0..30 {
        scene.take([cluster_ip("b", &format!("s{i}"), i)]);
    }
    scene.is_unhurt("b");
    scene.check();
    assert_eq!(scene.reconcile().total(), 0);
    scene.check();

    for i in 20..300 {
        scene.take([gone(Kind::Service, "a", &format!("s{i}"))]);
    }
    assert_eq!(scene.reconcile().total(), 0);
    assert_eq!(scene.yields(), (0, 0));
    assert_eq!(scene.writer.sink().state.flags & State::YIELDING, 0);
    for namespace in ["a", "b", "c"] {
        scene.is_unhurt(namespace);
    }
    scene.check();
}

#[test]
fn pods_yield_too() {
    let mut scene = Scene::new(SMALL);
    small(&mut scene);
    scene.take((2..300).map(|i| pod("a", i)));
    assert_eq!(scene.yields(), (0, 1));
    scene.is_unhurt("b");
    let answered = |scene: &Scene| {
        let names = (1..300).map(|i| format!("10-97-{}-{}.a.pod.cluster", i / 256, i % 256));
        names
            .filter(|name| scene.ask(name) == Ok(Outcome::Data))
            .count()
    };
    assert!(answered(&scene) > 50);
    assert_eq!(
        scene.ask("192-0-2-1.a.pod.cluster"),
        Err(PassReason::Userspace)
    );
    scene.check();
    scene.take((60..300).map(|i| gone(Kind::Pod, "a", &format!("pod-{i}"))));
    assert_eq!(scene.reconcile().total(), 0);
    assert_eq!((answered(&scene), scene.yields()), (59, (0, 0)));
    assert_eq!(scene.ask("192-0-2-1.a.pod.cluster"), Ok(Outcome::NxDomain));
    scene.check();
}

/// Names that yield while a full pass is under way keep their namespace marked at its end.
#[test]
fn a_namespace_that_yields_during_a_full_pass_stays_marked() {
    // Only the short records are few.
    let mut scene = Scene::new(Capacities {
        chunks: 1024,
        reverse_buckets: 128,
        ..SMALL
    });
    for i in 0..300 {
        scene.take([cluster_ip("a", &format!("s{i}"), i)]);
    }
    assert_eq!(scene.yields().1, 1, "a is marked");
    for i in 80..300 {
        scene.take([gone(Kind::Service, "a", &format!("s{i}"))]);
    }
    // The pass has visited all of a, and brought back its names.
    let mut pass = Reconcile::new();
    while (0..80).any(|i| scene.ask(&format!("s{i}.a")) != Ok(Outcome::Data)) {
        assert!(scene.step(&mut pass, 1), "the pass is under way");
    }
    // It has also visited the names that were there, and looks at buckets now.
    for _ in 0..100 {
        assert!(scene.step(&mut pass, 1), "the pass is under way");
    }
    // Now b grows, so that names of a yield again.
    for i in 0..60 {
        scene.take([cluster_ip("b", &format!("s{i}"), i)]);
    }
    let mut names = (0..80).map(|i| format!("s{i}.a"));
    assert!(names.any(|name| scene.ask(&name) == Err(PassReason::Userspace)));
    while scene.step(&mut pass, 1) {}
    scene.check();
}

/// A room that nobody could make emptier drains, and fills again with names that can yield.
#[test]
fn a_room_that_has_drained_is_kept_below_its_mark_again() {
    let mut scene = Scene::new(SMALL);
    let namespaces = 0..125;
    let namespace = |i: u32| crate::watch::Namespace {
        name: format!("n{i}").into(),
    };
    for i in namespaces.clone() {
        scene.take([Event::Apply(Object::Namespace(namespace(i)))]);
    }
    let high = Room::Short.high(128);
    assert!(scene.writer.used(Room::Short) > high, "their records stay");
    for i in namespaces.skip(60) {
        scene.take([gone(Kind::Namespace, "", &format!("n{i}"))]);
    }
    for i in 0..100 {
        scene.take([cluster_ip("a", &format!("s{i}"), i)]);
        assert!(scene.writer.used(Room::Short) <= high, "{i}");
    }
    assert!(scene.yields().1 > 0);
    scene.check();
}

/// Names come back without waiting if others have left a room that was nearly full.
#[test]
fn a_drained_room_is_worth_an_early_full_pass() {
    let mut scene = Scene::new(SMALL);
    small(&mut scene);
    for i in 0..300 {
        scene.take([cluster_ip("a", &format!("s{i}"), i)]);
    }
    scene.reconcile();
    assert!(
        !scene.writer.has_drained(),
        "the pass has brought back what fits"
    );
    for i in (0..300).rev() {
        let before = scene.writer.used(Room::Short);
        scene.take([gone(Kind::Service, "a", &format!("s{i}"))]);
        if before < 90 {
            break;
        }
    }
    assert!(scene.yields() != (0, 0) && scene.writer.has_drained());
    scene.reconcile();
    assert!(!scene.writer.has_drained());
}

/// The first fill of maps that are too small for the cluster.
#[test]
fn a_cluster_that_does_not_fit_yields_at_the_first_fill() {
    let mut scene = Scene::new(SMALL);
    let mut events = Vec::new();
    for namespace in ["a", "b", "c"] {
        events.extend(headless(namespace, "small", 1, 3, true));
    }
    events.extend(headless("a", "large", 100, 200, true));
    events.extend((0..200).map(|i| cluster_ip("a", &format!("s{i}"), i)));
    scene.index.absorb(events);
    let mut config = config();
    config.pods = PodsMode::Verified as u32;
    scene.writer = open(MemorySink::new(config, SMALL));
    scene.reconcile();
    scene.is_unhurt("b");
    scene.is_unhurt("c");
    assert_eq!(scene.ask("large.a"), Err(PassReason::Userspace));
    scene.check();

    // Another agent takes over the full maps.
    let before = read::names(scene.writer.sink()).unwrap();
    let sink = std::mem::replace(scene.writer.sink_mut(), MemorySink::new(config, SMALL));
    scene.writer = open(sink);
    let drift = scene.reconcile();
    assert_eq!(drift.total(), 0);
    let after = read::names(scene.writer.sink()).unwrap();
    assert!(before.is_subset(&after), "nothing is lost");
    scene.is_unhurt("b");
    scene.check();
}

/// Hints of one namespace do not fill the buckets of the others.
#[test]
fn hints_yield_before_the_buckets_are_full() {
    let mut scene = Scene::new(Capacities {
        table_slots: 512,
        endpoint_buckets: 64,
        chunks: 1024,
        reverse_buckets: 8,
        ..SMALL
    });
    small(&mut scene);
    for i in 0..30 {
        scene.take(headless("a", &format!("s{i}"), 100 + i * 4, 4, false));
    }
    let used = scene.writer.used(Room::Reverse);
    assert!(used <= 84, "{used} of 112 hints");
    assert!(scene.yields().0 > 3);
    for namespace in ["a", "b", "c"] {
        scene.is_unhurt(namespace);
    }
    scene.check();
    for i in 5..30 {
        scene.take([gone(Kind::Service, "a", &format!("s{i}"))]);
    }
    scene.reconcile();
    assert_eq!(scene.yields(), (0, 0));
    scene.check();
}

/// At the mark, changes neither flap nor visit every Service each time.
#[test]
fn churn_at_the_mark_visits_few_services() {
    let mut scene = Scene::new(Capacities {
        table_slots: 2000,
        names_short: 1000,
        chunks: 10_000,
        reverse_buckets: 1000,
        ..SMALL
    });
    small(&mut scene);
    for i in 0..4000 {
        scene.take([cluster_ip("a", &format!("s{i}"), i)]);
    }
    let filling = scene.writer.budget.visited;
    assert!(filling < 20 * 4000, "{filling} visits for 4000 Services");
    scene.reconcile();
    let (before, yielding) = (scene.writer.budget.visited, scene.yields());
    let names = read::names(scene.writer.sink()).unwrap();
    for turn in 0..2000 {
        let name = format!("s{}", 3990 + turn % 10);
        scene.take([gone(Kind::Service, "a", &name)]);
        scene.take([cluster_ip("a", &name, 3990 + turn % 10)]);
    }
    let visited = scene.writer.budget.visited - before;
    assert!(visited < 4 * 4000, "{visited} visits for 4000 changes");
    assert_eq!(scene.yields(), yielding);
    let now = read::names(scene.writer.sink()).unwrap();
    let moved = names.symmetric_difference(&now).count();
    assert!(moved <= 10, "{moved} names have moved");
    scene.is_unhurt("b");
    scene.check();
}

/// Whatever happens in tiny maps, no name that exists is denied, no failure withholds the
/// negative answers of other namespaces, and every element is counted. Full passes go in steps
/// between the changes.
#[test]
fn random_changes_deny_nothing() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.u32(4..40);
        let mut scene = Scene::new(Capacities {
            table_slots: size,
            names_short: 6 + size / 2,
            names_medium: 2 + size / 8,
            names_long: 2,
            chunks: 2 + size * [1, 8][rng.usize(..2)],
            endpoint_buckets: size / 8,
            reverse_buckets: size / 8,
        });
        // Few names with many endpoints, or many names.
        let names = [4, 20][rng.usize(..2)];
        let mut pass = None;
        for step in 0..90 {
            // The maps fill and drain by turns.
            if step / 15 % 2 == 1 {
                let namespace = ["a", "b", "c"][rng.usize(..3)];
                let name = |_| format!("s{}", rng.u32(..=names));
                let names: Vec<String> = (0..5).map(name).collect();
                scene.take(
                    names
                        .iter()
                        .map(|name| gone(Kind::Service, namespace, name)),
                );
            }
            if let Some(mut under_way) = pass.take()
                && scene.step(&mut under_way, rng.usize(1..10))
            {
                pass = Some(under_way);
            }
            scene.check();
            let namespace = ["a", "b", "c"][rng.usize(..3)];
            let long = "x".repeat(45);
            let name = match rng.u32(..=names) {
                0 => long,
                i => format!("s{i}"),
            };
            let name = name.as_str();
            let number = rng.u32(..20);
            match rng.u32(..9) {
                0 => scene.take([gone(Kind::Service, namespace, name)]),
                1 => scene.take([gone(Kind::EndpointSlice, namespace, &format!("{name}-1"))]),
                3 => scene.take([pod(namespace, number)]),
                4 => scene.take([gone(Kind::Pod, namespace, &format!("pod-{number}"))]),
                5 if step % 3 == 0 => {
                    pass = None;
                    scene.reconcile();
                }
                5 | 6 if pass.is_none() => pass = Some(Reconcile::new()),
                2 | 5 | 6 => scene.take([cluster_ip(namespace, name, number)]),
                _ => scene.take(headless(
                    namespace,
                    name,
                    number,
                    rng.u32(1..60),
                    rng.bool(),
                )),
            }
            scene.check();
        }
        let drift = scene.reconcile();
        assert_eq!(drift.total(), 0, "seed {seed}");
        scene.check();
    }
}
