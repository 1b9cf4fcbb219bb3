//! From what watches tell to batches.

use std::time::{Duration, Instant};

use super::*;

use crate::watch::{Keep, Namespace, Problem, Reason, ServiceRef};

const NAMESPACES: Watch = Watch::new("namespaces", Kind::Namespace, "namespaces");

fn reference(name: &str) -> ObjectRef {
    ObjectRef {
        kind: Kind::Namespace,
        namespace: "".into(),
        name: name.into(),
    }
}

fn heard(event: WatchEvent) -> Heard {
    Heard {
        watch: NAMESPACES,
        arrived: Instant::now(),
        event,
        problems: Problems::default(),
        memory: None,
    }
}

fn apply(name: &str) -> Heard {
    let object = Object::Namespace(Namespace { name: name.into() });
    heard(WatchEvent::Apply(reference(name), Some(object), 1))
}

fn unusable(name: &str, reason: Reason) -> Heard {
    Heard {
        problems: Problems::from(Problem {
            object: format!("Namespace {name}"),
            field: "metadata.name".into(),
            reason,
        }),
        ..heard(WatchEvent::Apply(reference(name), None, 1))
    }
}

#[test]
fn a_batch_keeps_order_and_first_arrival() {
    let mut collector = Collector::new(&[]);
    let mut late = apply("b");
    let first = late.arrived;
    late.arrived = first + Duration::from_secs(1);
    let mut early = heard(WatchEvent::Restart);
    early.arrived = first;
    let end = heard(WatchEvent::Restarted);
    let batch = collector.batch([late, early, apply("a"), end].into_iter());
    assert_eq!(batch.arrived, Some(first));
    let namespace = |name: &str| {
        let name = name.into();
        Event::Apply(Object::Namespace(Namespace { name }))
    };
    assert_eq!(
        batch.events,
        [
            namespace("b"),
            Event::Restart(Kind::Namespace),
            namespace("a"),
            Event::Restarted(Kind::Namespace)
        ]
    );
}

/// The reports of a batch of these events: `+` with the number of problems, `-`
/// where nothing is wrong any more.
fn reported(collector: &mut Collector, heard: impl IntoIterator<Item = Heard>) -> Vec<String> {
    let batch = collector.batch(heard.into_iter());
    let reports = batch.reports.iter();
    let shown = reports.map(|Report { about, problems }| match problems.kept().len() {
        0 => format!("-{about}"),
        count => format!("+{about} {count}"),
    });
    shown.collect()
}

fn too_long(name: &str, len: usize) -> Heard {
    unusable(name, Reason::LabelTooLong(len))
}

#[test]
fn a_problem_is_reported_once_until_it_changes_or_its_object_goes() {
    let mut collector = Collector::new(&[]);
    let mut reported = |heard| reported(&mut collector, [heard]);
    assert_eq!(reported(too_long("a", 64)), ["+Namespace a 1"]);
    assert_eq!(reported(too_long("a", 65)), ["+Namespace a 1"]);
    assert_eq!(reported(too_long("a", 65)), [""; 0]);
    let gone = WatchEvent::Delete(reference("a"));
    assert_eq!(reported(heard(gone)), ["-Namespace a"]);
    assert_eq!(reported(too_long("a", 65)), ["+Namespace a 1"]);
    assert_eq!(reported(apply("a")), ["-Namespace a"]);
    assert_eq!(reported(apply("a")), [""; 0]);
    assert_eq!(reported(too_long("a", 65)), ["+Namespace a 1"]);
}

#[test]
fn a_problem_ends_with_an_object_that_is_missing_in_a_new_list() {
    let mut collector = Collector::new(&[]);
    let first = [too_long("a", 64), too_long("b", 64), apply("c")];
    assert_eq!(reported(&mut collector, first).len(), 2);
    let again = [
        heard(WatchEvent::Restart),
        too_long("b", 64),
        heard(WatchEvent::Restarted),
    ];
    assert_eq!(reported(&mut collector, again), ["-Namespace a"]);
    assert_eq!(collector.reported.len(), 1);
}

#[test]
fn an_object_that_becomes_unusable_is_as_if_deleted() {
    let mut collector = Collector::new(&[]);
    let batch = collector.batch([apply("a"), too_long("a", 64)].into_iter());
    assert_eq!(batch.events[1], Event::Delete(reference("a")));
}

#[test]
fn the_selectors_of_slices_exclude_each_other() {
    let selection = Selection {
        slices: SliceSelection::Headless,
        pods: false,
        cluster_dns: ServiceRef {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
        },
        keep: Keep::default(),
    };
    let selectors: Vec<_> = watches::slices(&selection)
        .into_iter()
        .map(|(_, namespace, selector)| (namespace, selector.unwrap_or_default()))
        .collect();
    let headless = "service.kubernetes.io/headless";
    let managed_by = "endpointslice.kubernetes.io/managed-by";
    let controller = "endpointslice-controller.k8s.io";
    assert_eq!(
        selectors,
        [
            (None, headless.to_owned()),
            (None, format!("!{headless},{managed_by}!={controller}")),
            (
                Some("kube-system".to_owned()),
                format!(
                    "kubernetes.io/service-name=kube-dns,!{headless},{managed_by}={controller}"
                )
            ),
        ]
    );
    let all = Selection {
        slices: SliceSelection::All,
        ..selection
    };
    assert_eq!(watches::slices(&all), [(Scope::Main, None, None)]);
    // The addresses of the cluster's DNS are served even if no endpoint has a name.
    let none = Selection {
        slices: SliceSelection::None,
        ..all
    };
    let own = "kubernetes.io/service-name=kube-dns".to_owned();
    let namespace = "kube-system".to_owned();
    assert_eq!(
        watches::slices(&none),
        [(Scope::ClusterDns, Some(namespace), Some(own))]
    );
}
