//! Large Services leave time for small ones.

use std::time::{Duration, Instant};

use super::*;
use crate::watch::{Endpoint, EndpointSlice, Object};

/// Entries of a large Service, in slices of 100 endpoints.
const SLICES: u32 = 40;
const ENTRIES: usize = SLICES as usize * 101;

/// The rest after each change.
const REST: Duration = Duration::from_millis(250);

/// A slice of 100 endpoints, of which `version` is a part of the addresses.
fn part(service: &str, number: u32, version: u8) -> Event {
    let endpoint = |i: u8| Endpoint {
        address: IpAddr::from([10, version, number as u8, i]),
        name: None,
    };
    Event::Apply(Object::EndpointSlice(EndpointSlice {
        namespace: "default".into(),
        name: format!("{service}-{number}").into(),
        service: service.into(),
        ports: Box::default(),
        aliases: Box::default(),
        partial: false,
        selected: true,
        endpoints: (0..100).map(endpoint).collect(),
    }))
}

/// An index with large headless Services `l0`, `l1` and so on, and a small one.
fn cluster(large: usize) -> Index {
    let mut events = vec![namespace("default")];
    events.extend(nginx());
    for name in (0..large).map(|i| format!("l{i}")) {
        events.push(service("default", &name, "None", WEB));
        events.extend((0..SLICES).map(|number| part(&name, number, 0)));
    }
    index(settings(), events)
}

fn take(index: &mut Index, event: Event) {
    let mut events = [event].into_iter();
    while index.take(&mut events, usize::MAX) {}
}

/// A part of the loop: small Services, then one large Service. Returns the names that have
/// changed with either.
fn turn(index: &mut Index, now: Instant) -> [Vec<NameChange>; 2] {
    let [mut small, mut large] = [Vec::new(), Vec::new()];
    while index.settle_small(4096, now, Some(&mut small)) {}
    if let Some(number) = index.settle_large(now, Some(&mut large)) {
        index.rest_large(number, now, now + REST);
    }
    while index.settle_small(4096, now, Some(&mut large)) {}
    [small, large]
}

#[test]
fn large_services_leave_time_for_small_ones() {
    const LARGE: usize = 64;
    const UPDATES: u32 = 1000;
    let mut index = cluster(LARGE);
    let begin = Instant::now();
    let (mut settled, mut work) = (0, 0);
    for update in 0..UPDATES {
        let now = begin + update * Duration::from_secs(1) / UPDATES;
        let name = format!("l{}", update as usize % LARGE);
        take(
            &mut index,
            part(&name, 0, 1 + (update / LARGE as u32) as u8),
        );
        let address = format!("10.1.0.{}=web-0", update % 250);
        take(
            &mut index,
            slice("default/nginx-1", "nginx", WEB, &[&address]),
        );
        let before = index.work();
        let mut small = Vec::new();
        index.settle_small(4096, now, Some(&mut small));
        assert!(index.work() - before < 10);
        assert!(shown(&small)[0].starts_with("+nginx.default"), "{update}");
        let [_, large] = turn(&mut index, now);
        settled += usize::from(!large.is_empty());
        work += index.work() - before;
    }
    // The first change is settled at once, and another one after each rest.
    let rests = (Duration::from_secs(1).as_millis() / REST.as_millis()) as usize;
    assert!(
        (LARGE..=LARGE * (1 + rests)).contains(&settled),
        "{settled}"
    );
    assert!(work < settled * 2 * (ENTRIES + 1) + UPDATES as usize * 10);
    let mut now = begin + Duration::from_secs(1);
    while let Some(due) = index.large_due() {
        now = now.max(due);
        turn(&mut index, now);
    }
    assert!(now < begin + Duration::from_secs(2));
    assert!(!index.is_unsettled());
    let version = 1 + (UPDATES - 1) / LARGE as u32;
    let last = [&format!("10-{version}-0-0"), "l0", "default"];
    let last = RelativeName::from_labels(last).unwrap();
    assert!(index.name(last.as_bytes()).is_some());
}

#[test]
fn a_large_service_is_settled_at_once_after_a_rest() {
    let mut index = cluster(1);
    let begin = Instant::now();
    take(&mut index, part("l0", 0, 1));
    assert_ne!(turn(&mut index, begin)[1], []);
    take(&mut index, part("l0", 0, 2));
    let rest = REST;
    assert_eq!(turn(&mut index, begin + rest / 2), [[], []]);
    assert_eq!(index.large_due(), Some(begin + rest));
    assert_ne!(turn(&mut index, begin + rest)[1], []);
    take(&mut index, part("l0", 0, 3));
    assert_ne!(turn(&mut index, begin + 3 * rest)[1], []);
    assert_eq!(index.large_due(), None);
}

/// A Namespace is gone, and a list is complete, after the large Services that have changed
/// before. Later changes do not delay them.
#[test]
fn what_follows_waits_for_large_services_that_have_changed_before() {
    let mut index = cluster(2);
    let begin = Instant::now();
    let mut names: BTreeMap<_, _> = index
        .names()
        .map(|(name, _)| (name.clone(), index.detailed(name.as_bytes()).unwrap()))
        .collect();
    take(&mut index, part("l0", 0, 1));
    let [_, mut changes] = turn(&mut index, begin);
    take(&mut index, delete(Kind::Namespace, "default"));
    index.listed = [false; Kind::ALL.len()];
    take(&mut index, Event::Restarted(Kind::Service));
    let [small, large] = turn(&mut index, begin);
    assert!(small.len() == 3 && small.iter().all(|change| change.data.is_none()));
    assert_eq!(large.len(), 1 + 4000, "l1, which did not rest");
    changes.extend(small.into_iter().chain(large));
    let end = RelativeName::from_labels(["default"]).unwrap();
    assert!(changes.iter().all(|change| change.name != end));
    assert!(!index.listed[Kind::Service as usize]);
    // A change that comes later.
    take(&mut index, part("l1", 0, 1));
    let now = index.large_due().unwrap();
    let [small, large] = turn(&mut index, now);
    assert_eq!(small, []);
    assert_eq!(large.len(), 1 + 4000 + 1);
    assert_eq!(large.last().unwrap().name, end);
    assert!(index.listed[Kind::Service as usize]);
    assert!(index.is_unsettled(), "l1 waits");
    changes.extend(large);
    changes.extend(turn(&mut index, now + Duration::from_secs(1)).concat());
    check(&index, &mut names, &changes);
    assert!(names.is_empty() && !index.is_unsettled());
}
