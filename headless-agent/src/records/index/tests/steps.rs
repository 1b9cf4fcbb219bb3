//! Names change in steps of bounded work.

use super::*;

#[test]
fn a_namespace_comes_and_goes_in_steps() {
    const SERVICES: usize = 3000;
    let mut index = Index::new(settings());
    index.apply_all((0..SERVICES).map(|i| service("default", &format!("s{i}"), "10.96.0.1", WEB)));
    for (event, last) in [
        (namespace("default"), SERVICES + 1),
        (delete(Kind::Namespace, "default"), 0),
    ] {
        let mut events = [event].into_iter();
        while index.take(&mut events, 100) {}
        let mut steps = 0;
        loop {
            let before = index.work();
            let mut changes = Vec::new();
            let more = index.settle(100, Some(&mut changes));
            assert!(index.work() - before <= 110 && changes.len() <= 110);
            steps += 1;
            if !more {
                break;
            }
        }
        assert!(steps >= SERVICES / 100, "{steps}");
        assert_eq!(index.names().count(), last);
    }
}

#[test]
fn many_namespaces_and_pods_come_and_go_in_steps() {
    const MANY: usize = 2000;
    let mut index = Index::new(Settings {
        pods: PodsMode::Verified,
        ..settings()
    });
    let mut names = BTreeMap::new();
    let address = |i: usize| format!("10.0.{}.{}", i / 250, i % 250);
    let come = (0..MANY).flat_map(|i| {
        let (spread, name) = (format!("ns{i}"), format!("pod{i}"));
        let one = pod("default", &name, &address(i));
        [namespace(&spread), pod(&spread, &name, "10.0.0.1"), one]
    });
    let come = [namespace("default")].into_iter().chain(come);
    let go = (0..MANY).flat_map(|i| {
        let (spread, name) = (format!("ns{i}"), format!("pod{i}"));
        let pod = |namespace: &str| delete(Kind::Pod, &format!("{namespace}/{name}"));
        [
            delete(Kind::Namespace, &spread),
            pod(&spread),
            pod("default"),
        ]
    });
    let go = go.chain([delete(Kind::Namespace, "default")]);
    for (mut events, last) in [
        (come.collect::<Vec<_>>().into_iter(), 3 * MANY + 1),
        (go.collect::<Vec<_>>().into_iter(), 0),
    ] {
        while index.take(&mut events, 100) {}
        let (mut all, mut steps, mut more) = (Vec::new(), 0, true);
        while more {
            let (before, known) = (index.work(), all.len());
            more = index.settle(100, Some(&mut all));
            assert!(index.work() - before <= 101 && all.len() - known <= 101);
            steps += 1;
        }
        assert!(steps >= 3 * MANY / 100, "{steps}");
        check(&index, &mut names, &all);
        assert_eq!(names.len(), last);
    }
    assert!(index.namespaces.is_empty());
}
