//! Services whose endpoints become known. Meanwhile no endpoint is denied.

use super::*;
use crate::records::EndpointScope;
use crate::watch::Alias;

const ENDPOINTS: u32 = 6;

/// Changes a part of the events of a Service.
type Edit = fn(&mut Object);

fn edited(edit: Edit) -> Vec<Event> {
    let mut events = headless("a", "web", 1, ENDPOINTS, true);
    for event in &mut events {
        if let Event::Apply(object) = event {
            edit(object);
        }
    }
    events.into()
}

const UNKNOWN: [Edit; 4] = [
    |object| {
        if let Object::EndpointSlice(slice) = object {
            slice.partial = true;
        }
    },
    |object| {
        if let Object::Service(service) = object {
            service.partial = true;
        }
    },
    |object| {
        if let Object::EndpointSlice(slice) = object {
            slice.aliases = Box::new([Alias {
                target: "example.com".into(),
                name: "other".into(),
            }]);
        }
    },
    // The endpoints of a Service with a cluster IP are not watched.
    |object| {
        if let Object::Service(service) = object {
            service.kind = ServiceKind::ClusterIp(Box::new([IpAddr::from([10, 96, 0, 1])]));
        }
    },
];

/// Applies events, and checks after each write that no endpoint is denied. Returns the number of
/// writes.
fn take_one_by_one(scene: &mut Scene, events: Vec<Event>) -> usize {
    let changes = scene.index.apply_all(events);
    for change in &changes {
        scene
            .writer
            .write(std::slice::from_ref(change), &scene.index);
        beat(&mut scene.writer);
        for i in 0..ENDPOINTS {
            let name = if i % 3 == 0 {
                format!("host-{i}.web.a")
            } else {
                format!("10-97-0-{}.web.a", 1 + i)
            };
            assert_ne!(scene.ask(&name), Ok(Outcome::NxDomain), "{name} {change:?}");
        }
    }
    changes.len()
}

#[test]
fn endpoints_that_become_known_or_unknown_are_never_denied() {
    for edit in UNKNOWN {
        let mut scene = Scene::new(SMALL);
        scene.index = Index::new(Settings {
            endpoints: EndpointScope::Headless,
            ..scene.index.settings().clone()
        });
        let all = ["a", "b", "c"].map(|name| {
            let name = name.into();
            Event::Apply(Object::Namespace(crate::watch::Namespace { name }))
        });
        scene.take(all.into_iter().chain(Kind::ALL.map(Event::Restarted)));
        scene.take(edited(edit));
        for _ in 0..2 {
            let whole = take_one_by_one(&mut scene, edited(|_| {}));
            assert_eq!(whole, 1 + ENDPOINTS as usize);
            assert_eq!(scene.ask("nope.web.a"), Ok(Outcome::NxDomain));
            assert_eq!(scene.ask("host-0.web.a"), Ok(Outcome::Data));
            take_one_by_one(&mut scene, edited(edit));
            assert_ne!(scene.ask("nope.web.a"), Ok(Outcome::NxDomain));
        }
        scene.check();
    }
}
