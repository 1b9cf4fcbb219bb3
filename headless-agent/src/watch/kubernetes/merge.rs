//! Merges the events of several watches of EndpointSlices.

use std::collections::HashMap;

use super::super::{EndpointSlice, Event, Kind, Object, ObjectRef};

/// One of the watches of slices, by the slices that it selects; see [`super::watches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Slices of headless Services, or all.
    Main,
    /// Slices that the control plane's own controller did not make.
    Foreign,
    /// Slices of the cluster's DNS Service.
    ClusterDns,
}

impl Scope {
    /// All scopes.
    pub(super) const ALL: [Self; 3] = [Self::Main, Self::Foreign, Self::ClusterDns];
}

/// An event of one watch of slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SliceEvent {
    /// The slice exists and has this content and this resource version.
    Apply(EndpointSlice, u64),
    /// The watch no longer has the slice. Another watch may have it.
    Delete(ObjectRef),
    /// The list begins.
    Restart,
    /// The list is complete.
    Restarted,
}

/// A slice that at least one watch has.
#[derive(Debug)]
struct Held {
    /// For each watch that has the slice, the number of the list that it was last in.
    lists: [Option<u32>; Scope::ALL.len()],
    /// The watch from which the slice's data are.
    from: Scope,
    /// The version of the data.
    version: u64,
}

impl Held {
    /// Whether no watch has the slice.
    fn is_free(&self) -> bool {
        self.lists.iter().all(Option::is_none)
    }
}

/// Merges the watches' events into those of one kind.
///
/// The watches' selectors exclude each other. But a slice whose labels change moves
/// from one watch to another, and the events of these two watches come in any order.
/// So a slice is gone when no watch has it. If two watches have it, the later version
/// counts. A list can end only slices that its own watch had.
#[derive(Debug)]
pub(super) struct Merge {
    slices: HashMap<ObjectRef, Held>,
    /// Number of each watch's current list.
    lists: [u32; Scope::ALL.len()],
    /// Whether each watch, of those that run, has been listed.
    listed: [bool; Scope::ALL.len()],
}

impl Merge {
    /// For these watches.
    pub(super) fn new(scopes: &[Scope]) -> Self {
        Self {
            slices: HashMap::new(),
            lists: [0; Scope::ALL.len()],
            listed: Scope::ALL.map(|scope| !scopes.contains(&scope)),
        }
    }

    /// Takes in one event of a watch and adds what follows from it.
    pub(super) fn take(&mut self, scope: Scope, event: SliceEvent, events: &mut Vec<Event>) {
        match event {
            SliceEvent::Apply(slice, version) => self.apply(scope, slice, version, events),
            SliceEvent::Delete(reference) => {
                if let Some(held) = self.slices.get_mut(&reference) {
                    held.lists[scope as usize] = None;
                    if held.is_free() {
                        self.slices.remove(&reference);
                        events.push(Event::Delete(reference));
                    }
                }
            }
            SliceEvent::Restart => self.lists[scope as usize] += 1,
            SliceEvent::Restarted => self.restarted(scope, events),
        }
    }

    fn apply(&mut self, scope: Scope, slice: EndpointSlice, version: u64, events: &mut Vec<Event>) {
        let object = Object::EndpointSlice(slice);
        let list = self.lists[scope as usize];
        let held = self.slices.entry(object.reference()).or_insert(Held {
            lists: [None; Scope::ALL.len()],
            from: scope,
            version,
        });
        held.lists[scope as usize] = Some(list);
        // A version of the same watch is never older, unless the whole cluster
        // has been set back to an older state.
        let outdated = held.from != scope
            && held.lists[held.from as usize].is_some()
            && held.version > version;
        if !outdated {
            (held.from, held.version) = (scope, version);
            events.push(Event::Apply(object));
        }
    }

    fn restarted(&mut self, scope: Scope, events: &mut Vec<Event>) {
        let current = self.lists[scope as usize];
        self.slices.retain(|reference, held| {
            let list = &mut held.lists[scope as usize];
            if list.is_some_and(|list| list != current) {
                *list = None;
            }
            let free = held.is_free();
            if free {
                events.push(Event::Delete(reference.clone()));
            }
            !free
        });
        self.listed[scope as usize] = true;
        if self.listed == [true; Scope::ALL.len()] {
            // Every list says so: what is gone has been deleted already.
            events.push(Event::Restarted(Kind::EndpointSlice));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::watch::Endpoint;

    fn slice(name: &str, last: u8) -> EndpointSlice {
        EndpointSlice {
            namespace: "default".into(),
            name: name.into(),
            service: "web".into(),
            ports: Box::new([]),
            aliases: Box::default(),
            partial: false,
            selected: true,
            endpoints: [Endpoint {
                address: IpAddr::from([10, 0, 0, last]),
                name: None,
            }]
            .into(),
        }
    }

    fn apply(name: &str, last: u8) -> Event {
        Event::Apply(Object::EndpointSlice(slice(name, last)))
    }

    fn reference(name: &str) -> ObjectRef {
        Object::EndpointSlice(slice(name, 0)).reference()
    }

    fn gone(name: &str) -> Event {
        Event::Delete(reference(name))
    }

    struct Watches(Merge);

    impl Watches {
        fn new() -> Self {
            Self(Merge::new(&[Scope::Main, Scope::Foreign]))
        }

        fn tell(&mut self, scope: Scope, event: SliceEvent) -> Vec<Event> {
            let mut events = Vec::new();
            self.0.take(scope, event, &mut events);
            events
        }

        fn apply(&mut self, scope: Scope, name: &str, last: u8, version: u64) -> Vec<Event> {
            self.tell(scope, SliceEvent::Apply(slice(name, last), version))
        }

        fn delete(&mut self, scope: Scope, name: &str) -> Vec<Event> {
            self.tell(scope, SliceEvent::Delete(reference(name)))
        }
    }

    use Scope::{Foreign, Main};

    #[test]
    fn listed_when_every_watch_that_runs_is() {
        let mut watches = Watches::new();
        let end = [Event::Restarted(Kind::EndpointSlice)];
        assert_eq!(watches.tell(Main, SliceEvent::Restart), []);
        assert_eq!(watches.tell(Main, SliceEvent::Restarted), []);
        assert_eq!(watches.tell(Foreign, SliceEvent::Restarted), end);
        assert_eq!(watches.tell(Main, SliceEvent::Restarted), end);
    }

    #[test]
    fn a_list_ends_what_its_own_watch_had_and_nothing_else() {
        let mut watches = Watches::new();
        watches.tell(Foreign, SliceEvent::Restarted);
        watches.apply(Main, "a", 1, 1);
        watches.apply(Main, "b", 2, 1);
        watches.apply(Foreign, "c", 3, 1);
        watches.tell(Main, SliceEvent::Restart);
        assert_eq!(watches.apply(Main, "a", 4, 5), [apply("a", 4)]);
        assert_eq!(
            watches.tell(Main, SliceEvent::Restarted),
            [gone("b"), Event::Restarted(Kind::EndpointSlice)]
        );
        assert_eq!(watches.delete(Main, "b"), []);
        assert_eq!(watches.delete(Foreign, "c"), [gone("c")]);
    }

    #[test]
    fn a_slice_that_moves_between_watches_stays_in_either_order() {
        let mut watches = Watches::new();
        watches.apply(Foreign, "a", 1, 1);
        // The new watch tells first.
        assert_eq!(watches.apply(Main, "a", 2, 2), [apply("a", 2)]);
        assert_eq!(watches.delete(Foreign, "a"), []);
        assert_eq!(watches.delete(Main, "a"), [gone("a")]);
        // The old watch tells first.
        watches.apply(Foreign, "a", 1, 3);
        assert_eq!(watches.delete(Foreign, "a"), [gone("a")]);
        assert_eq!(watches.apply(Main, "a", 2, 4), [apply("a", 2)]);
    }

    #[test]
    fn a_watch_that_lags_does_not_bring_an_old_version_back() {
        let mut watches = Watches::new();
        watches.apply(Foreign, "a", 1, 1);
        watches.apply(Main, "a", 5, 5);
        assert_eq!(watches.apply(Foreign, "a", 3, 3), []);
        assert_eq!(watches.apply(Foreign, "a", 6, 6), [apply("a", 6)]);
        assert_eq!(watches.delete(Main, "a"), []);
        // A cluster that was set back counts from there.
        assert_eq!(watches.apply(Foreign, "a", 2, 2), [apply("a", 2)]);
    }

    #[test]
    fn a_list_of_one_watch_keeps_what_another_has_too() {
        let mut watches = Watches::new();
        watches.apply(Foreign, "a", 1, 1);
        watches.apply(Main, "a", 2, 2);
        watches.tell(Foreign, SliceEvent::Restart);
        assert_eq!(watches.tell(Foreign, SliceEvent::Restarted), []);
        assert_eq!(watches.delete(Main, "a"), [gone("a")]);
    }
}
