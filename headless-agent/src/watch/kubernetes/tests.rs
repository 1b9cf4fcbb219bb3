//! From what watches tell to batches.

use std::time::{Duration, Instant};

use super::*;
use crate::watch::{Namespace, Reason};

const NAMESPACES: Watch = Watch {
    name: "namespaces",
    kind: Kind::Namespace,
    resource: "namespaces",
    scope: None,
};

fn reference(name: &str) -> ObjectRef {
    ObjectRef {
        kind: Kind::Namespace,
        namespace: "".into(),
        name: name.into(),
    }
}

fn heard(change: Change) -> Heard {
    Heard {
        watch: NAMESPACES,
        arrived: Instant::now(),
        change,
        problems: Vec::new(),
    }
}

fn apply(name: &str) -> Heard {
    let object = Object::Namespace(Namespace { name: name.into() });
    heard(Change::Apply(reference(name), Some(object), 1))
}

fn unusable(name: &str, reason: Reason) -> Heard {
    Heard {
        problems: vec![Problem {
            object: format!("Namespace {name}"),
            field: "metadata.name".into(),
            reason,
        }],
        ..heard(Change::Apply(reference(name), None, 1))
    }
}

#[test]
fn a_batch_keeps_order_and_first_arrival() {
    let mut collector = Collector::new(&[]);
    let mut late = apply("b");
    let first = late.arrived;
    late.arrived = first + Duration::from_secs(1);
    let mut early = heard(Change::Restart);
    early.arrived = first;
    let end = heard(Change::Restarted);
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

#[test]
fn a_problem_is_reported_once_until_it_changes_or_its_object_goes() {
    let mut collector = Collector::new(&[]);
    let mut reported = |heard| {
        let batch = collector.batch([heard].into_iter());
        assert_eq!(batch.events.len(), usize::from(batch.problems.is_empty()));
        batch.problems.len()
    };
    let long = |len| unusable("a", Reason::LabelTooLong(len));
    assert_eq!(reported(long(64)), 1);
    assert_eq!(reported(long(65)), 1);
    assert_eq!(reported(heard(Change::Delete(reference("a")))), 0);
    assert_eq!(reported(long(65)), 1);
    assert_eq!(reported(apply("a")), 0);
    assert_eq!(reported(long(65)), 1);
    let batch = collector.batch([long(65)].into_iter());
    assert_eq!((batch.events.len(), batch.problems.len()), (0, 0));
}

#[test]
fn the_selectors_of_slices_exclude_each_other() {
    let selection = Selection {
        all_endpoints: false,
        pods: false,
        cluster_dns: ("kube-system".into(), "kube-dns".into()),
        keep: Keep::default(),
    };
    let selectors: Vec<_> = slices(&selection)
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
        all_endpoints: true,
        ..selection
    };
    assert_eq!(slices(&all), [(Scope::Main, None, None)]);
}
