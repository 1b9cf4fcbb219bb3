//! Lists that begin again, and Namespaces that go.

use super::*;
use crate::watch::{Object, Pod};

#[test]
fn a_relist_is_a_difference() {
    let mut index = empty();
    assert!(!index.synced());
    assert_eq!(
        index.missing(),
        ["namespaces", "services", "endpointslices"]
    );
    index.apply_all(nginx());
    index.apply(service("default", "old", "10.96.0.1", WEB));
    index.apply_all(Kind::ALL.map(Event::Restarted));
    assert!(index.synced());

    // A list that is cut short deletes nothing.
    assert!(index.apply(Event::Restart(Kind::Service)).is_empty());
    assert!(
        index
            .apply(service("default", "old", "10.96.0.1", WEB))
            .is_empty()
    );
    assert!(index.synced(), "what was known stays known");
    // Only the next list counts.
    let changes = index.apply_all([
        Event::Restart(Kind::Service),
        service("default", "nginx", "None", WEB),
        service("default", "new", "10.96.0.2", WEB),
        Event::Restarted(Kind::Service),
    ]);
    let mut shown = shown(&changes);
    shown.sort();
    assert_eq!(
        shown,
        [
            format!("+new.default {} 10.96.0.2 own:80x1", CLUSTER_IP | UNKNOWN),
            "-old.default".to_owned()
        ]
    );

    for (kind, left) in [(Kind::EndpointSlice, 2), (Kind::Namespace, 0)] {
        index.apply_all([Event::Restart(kind), Event::Restarted(kind)]);
        assert_eq!(index.names().count(), left, "{kind:?}");
    }
}

#[test]
fn a_namespace_that_goes_takes_its_services_along() {
    let mut index = empty();
    let mut installed = BTreeMap::new();
    let changes = index.apply_all(nginx());
    check(&index, &mut installed, &changes);
    let changes = index.apply_all([namespace("other"), service("other", "x", "10.96.0.1", WEB)]);
    check(&index, &mut installed, &changes);
    let changes = index.apply(delete(Kind::Namespace, "default"));
    check(&index, &mut installed, &changes);
    assert_eq!(changes.last().unwrap().name.to_string(), "default");
    assert_eq!(installed.len(), 2);
    let changes = index.apply(namespace("default"));
    check(&index, &mut installed, &changes);
    assert_eq!(changes.first().unwrap().name.to_string(), "default");
    assert_eq!(installed.len(), 6);
}

/// The index is the same whether somebody follows its changes or not.
#[test]
fn an_index_without_followers_is_the_same() {
    let lists = || {
        let others = [
            pod("default", "a", "10.0.0.22"),
            service("default", "api", "10.96.0.1", WEB),
            delete(Kind::Service, "default/none"),
            Event::Restarted(Kind::EndpointSlice),
        ];
        nginx().into_iter().chain(others)
    };
    let settings = Settings {
        pods: PodsMode::Verified,
        ..all()
    };
    let mut followed = Index::new(settings.clone());
    let mut index = Index::new(settings);
    assert!(!followed.apply_all(lists()).is_empty());
    assert!(!followed.take_pointers().addresses.is_empty());
    index.absorb(lists());
    let names = |index: &Index| -> BTreeMap<_, _> { index.names().collect() };
    assert_eq!(names(&index), names(&followed));
    assert_eq!(names(&index).len(), 6);
    assert_eq!(index.pointers(), followed.pointers());
    assert_eq!(index.missing(), followed.missing());
    assert_eq!(index.take_pointers(), Pointers::default());
    let event = || slice("default/nginx-1", "nginx", WEB, &["10.0.0.22=web-0"]);
    assert_eq!(index.apply(event()), followed.apply(event()));
    assert_eq!(index.take_pointers(), followed.take_pointers());
}

/// The state of a pod that is terminating.
fn terminating(name: &str, address: &str) -> Event {
    let Event::Apply(Object::Pod(pod)) = pod("default", name, address) else {
        panic!("no pod");
    };
    Event::Apply(Object::Pod(Pod {
        terminating: true,
        ..pod
    }))
}

/// CoreDNS does not read a pod that is terminating. One that it has read before stays until it
/// is gone.
#[test]
fn pods_that_terminate_stay_if_they_were_there() {
    let mut index = Index::new(Settings {
        pods: PodsMode::Verified,
        ..settings()
    });
    let lists = |events: Vec<Event>| {
        let begin = Event::Restart(Kind::Pod);
        let end = Event::Restarted(Kind::Pod);
        [vec![begin], events, vec![end]].concat()
    };
    index.apply(namespace("default"));
    let changes = index.apply_all(lists(vec![
        pod("default", "a", "10.0.0.1"),
        terminating("b", "10.0.0.2"),
    ]));
    let a = format!("+10-0-0-1.default.pod.cluster {NAMESPACE} 10.0.0.1");
    assert_eq!(shown(&changes), [a], "`b` was not there");
    let revision = index.revision();
    for events in [
        vec![terminating("a", "10.0.0.1")],
        vec![terminating("a", "10.0.0.9"), terminating("b", "10.0.0.2")],
        lists(vec![
            terminating("a", "10.0.0.1"),
            terminating("b", "10.0.0.2"),
        ]),
    ] {
        assert_eq!(shown(&index.apply_all(events)), [""; 0]);
    }
    assert_eq!(index.revision(), revision, "nothing has changed");
    let gone = "-10-0-0-1.default.pod.cluster";
    assert_eq!(shown(&index.apply_all(lists(Vec::new()))), [gone]);
    assert!(index.apply(terminating("a", "10.0.0.1")).is_empty());
    index.apply(pod("default", "a", "10.0.0.1"));
    index.apply(terminating("a", "10.0.0.1"));
    let changes = index.apply(delete(Kind::Pod, "default/a"));
    assert_eq!(shown(&changes), [gone]);
    assert!(index.apply(terminating("elsewhere", "10.0.0.3")).is_empty());
}
