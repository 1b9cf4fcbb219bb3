//! How namespaces share the maps: how many elements each namespace holds, and which names
//! yield when a map is nearly full.
//!
//! The rule is max-min fairness. Nobody yields while a map has room. When a map is nearly full
//! ([`Room::high`]), the namespaces that hold the most of it yield their largest Services, down
//! to a common level, until the map is at [`Room::low`]. The level is never below an equal
//! share, so that a namespace with less than an equal share keeps everything.
//!
//! The writer counts every element here as it writes it, so a plan visits the Services that the
//! maps hold, and neither the index nor the maps.

mod plan;
mod room;
mod worth;

use std::collections::HashMap;

use headless_ebpf::abi::KeyClass;
use slab::Slab;

pub(in crate::maps) use self::room::{Elements, Room, elements};

/// What the maps hold of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::maps) enum Level {
    /// Its names and its hints for reverse names.
    #[default]
    Whole,
    /// Its names.
    Unpointed,
    /// Its own record, which leaves it and all names below it to userspace.
    Passing,
}

/// A Service with a number, and the elements that it holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::maps) struct Held {
    pub(in crate::maps) namespace: u32,
    /// The Service's number in the index, where it was last seen. Another Service may have the
    /// number by now.
    pub(in crate::maps) index_number: u32,
    pub(in crate::maps) level: Level,
    /// The class of its own record.
    class: KeyClass,
    elements: Elements,
}

impl Held {
    /// How many elements the Service gives up if it only keeps its own record.
    fn below(&self, room: Room) -> u32 {
        let own = u32::from(room == Room::of_class(self.class));
        self.elements[room as usize].saturating_sub(own)
    }
}

/// The holder of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::maps) enum Holder {
    /// The Service with this number ([`headless_ebpf::abi::NameRecord::service`]).
    Service(u32),
    /// A namespace: its own record, and the records of its pods.
    Namespace(u32),
}

/// A namespace, and the elements that it and its Services hold.
#[derive(Debug, Default)]
struct Namespace {
    label: Box<[u8]>,
    elements: [u64; Room::ALL.len()],
    /// Number of its Services with a [`Level`] other than [`Level::Whole`].
    yielding: u32,
    /// Whether its record says that names may exist which the maps do not hold.
    marked: bool,
    /// Whether a name has been left out since the full pass began.
    left_out: bool,
    /// Whether the log has said that it yields.
    announced: bool,
    /// How often it has asked for room.
    asked: Asked,
}

impl Namespace {
    fn yields(&self) -> bool {
        self.marked || self.yielding > 0
    }
}

/// A namespace that yields, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::maps) struct Yielding {
    pub(in crate::maps) namespace: String,
    /// Number of its Services that yield and have a record.
    pub(in crate::maps) services: u32,
    /// Whether it has names without a record.
    pub(in crate::maps) marked: bool,
}

/// How much of a room a namespace should give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::maps) struct Share {
    pub(in crate::maps) namespace: u32,
    pub(in crate::maps) elements: u64,
}

/// How often a namespace has asked for room, by room, in the batch with this number.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    batch: u64,
    times: [u8; Room::ALL.len()],
}

/// The fill of the rooms after the last plan or full pass, from which follows whether another one
/// is worth its cost.
#[derive(Debug, Default)]
struct Worth {
    /// The number of the batch of names that is being written.
    batch: u64,
    /// By room: the elements after a plan that has left the room above its high mark. Another
    /// plan would find nothing more to give up.
    exhausted: [Option<u64>; Room::ALL.len()],
    /// By room: if it has fewer elements than this, names that yield may find room again.
    drained: [u64; Room::ALL.len()],
}

/// The elements that each namespace and Service holds, and the Services that yield.
#[derive(Debug, Default)]
pub(in crate::maps) struct Budget {
    namespaces: Slab<Namespace>,
    ids: HashMap<Box<[u8]>, u32>,
    /// By the numbers in the Services' records.
    services: HashMap<u32, Held>,
    /// Number of namespaces with [`Namespace::marked`].
    marked: u32,
    /// Number of Services with [`Level::Unpointed`] or [`Level::Passing`].
    yielding: u32,
    /// When more work is worth its cost.
    worth: Worth,
    /// Whether [`Self::all_yielding`] has changed since it was last published.
    pub(in crate::maps) changed: bool,
    /// Number of Services that all plans together have looked at.
    pub(in crate::maps) visited: u64,
}

impl Budget {
    /// The number of a namespace, by its folded label.
    pub(in crate::maps) fn namespace(&mut self, label: &[u8]) -> u32 {
        if let Some(id) = self.ids.get(label) {
            return *id;
        }
        let id = self.namespaces.insert(Namespace {
            label: label.into(),
            ..Namespace::default()
        }) as u32;
        self.ids.insert(label.into(), id);
        id
    }

    /// The label of a namespace.
    pub(in crate::maps) fn label(&self, namespace: u32) -> &[u8] {
        self.namespaces
            .get(namespace as usize)
            .map_or(&[], |namespace| &namespace.label)
    }

    /// Notes a new Service: its number, its namespace, and the class of its own key.
    pub(in crate::maps) fn enter(&mut self, number: u32, namespace: &[u8], class: KeyClass) {
        if self.services.contains_key(&number) {
            return;
        }
        let namespace = self.namespace(namespace);
        let held = Held {
            namespace,
            index_number: 0,
            level: Level::Whole,
            class,
            elements: Elements::default(),
        };
        self.services.insert(number, held);
    }

    /// Notes a Service's number in the index.
    pub(in crate::maps) fn note_index_number(&mut self, number: u32, index_number: u32) {
        if let Some(held) = self.services.get_mut(&number) {
            held.index_number = index_number;
        }
    }

    /// Forgets a Service without a record. Elements that the maps still have of it belong to
    /// nobody.
    pub(in crate::maps) fn leave(&mut self, number: u32) {
        self.set_level(number, Level::Whole);
        let Some(held) = self.services.remove(&number) else {
            return;
        };
        if let Some(namespace) = self.namespaces.get_mut(held.namespace as usize) {
            for (all, own) in namespace.elements.iter_mut().zip(held.elements) {
                *all = all.saturating_sub(own.into());
            }
        }
    }

    /// A Service by its number.
    pub(in crate::maps) fn held(&self, number: u32) -> Option<Held> {
        self.services.get(&number).copied()
    }

    /// What the maps hold of a Service.
    pub(in crate::maps) fn level(&self, number: u32) -> Level {
        self.services
            .get(&number)
            .map_or(Level::Whole, |held| held.level)
    }

    /// Changes what the maps hold of a Service.
    pub(in crate::maps) fn set_level(&mut self, number: u32, level: Level) {
        let Some(held) = self.services.get_mut(&number) else {
            return;
        };
        let (before, now) = (held.level != Level::Whole, level != Level::Whole);
        held.level = level;
        if before == now {
            return;
        }
        self.changed = true;
        let count = |count: &mut u32| {
            *count = if now {
                *count + 1
            } else {
                count.saturating_sub(1)
            }
        };
        count(&mut self.yielding);
        if let Some(namespace) = self.namespaces.get_mut(held.namespace as usize) {
            count(&mut namespace.yielding);
        }
    }

    /// Counts new elements of a holder, or elements that are gone.
    pub(in crate::maps) fn add(&mut self, holder: Holder, room: Room, mut difference: i64) {
        let namespace = match holder {
            Holder::Namespace(namespace) => namespace,
            Holder::Service(number) => {
                let Some(held) = self.services.get_mut(&number) else {
                    return;
                };
                // Elements that a Service does not hold are not taken from its namespace either.
                let elements = &mut held.elements[room as usize];
                let before = i64::from(*elements);
                *elements = u32::try_from(before + difference).unwrap_or_default();
                difference = i64::from(*elements) - before;
                held.namespace
            }
        };
        if let Some(namespace) = self.namespaces.get_mut(namespace as usize) {
            let elements = &mut namespace.elements[room as usize];
            *elements = elements.saturating_add_signed(difference);
        }
    }

    /// Whether a namespace has names that the maps do not hold, by its folded label.
    pub(in crate::maps) fn is_marked(&self, label: &[u8]) -> bool {
        self.marked > 0
            && self
                .ids
                .get(label)
                .and_then(|id| self.namespaces.get(*id as usize))
                .is_some_and(|namespace| namespace.marked)
    }

    /// Notes whether the record of a namespace says that names may exist which the maps do not
    /// hold. Returns whether any namespace's record does.
    pub(in crate::maps) fn set_marked(&mut self, namespace: u32, marked: bool) -> bool {
        if let Some(namespace) = self.namespaces.get_mut(namespace as usize)
            && namespace.marked != marked
        {
            namespace.marked = marked;
            self.changed = true;
            self.marked = if marked {
                self.marked + 1
            } else {
                self.marked - 1
            };
        }
        self.marked > 0
    }

    /// Notes that the maps lack a name of a marked namespace, by its folded label.
    pub(in crate::maps) fn leave_out(&mut self, label: &[u8]) {
        if let Some(id) = self.ids.get(label) {
            self.leave_out_of(*id);
        }
    }

    /// [`Self::leave_out`] by the number of the namespace. From now on the full pass that is
    /// under way does not end the mark.
    pub(in crate::maps) fn leave_out_of(&mut self, namespace: u32) {
        if let Some(namespace) = self.namespaces.get_mut(namespace as usize) {
            namespace.left_out = true;
        }
    }

    /// Begins a full pass, which finds out which names are left out.
    pub(in crate::maps) fn begin_pass(&mut self) {
        self.forget_exhausted();
        for (_, namespace) in &mut self.namespaces {
            namespace.left_out = false;
        }
    }

    /// The marked namespaces of which the full pass has written every name.
    pub(in crate::maps) fn complete(&self) -> Vec<u32> {
        let namespaces = self.namespaces.iter();
        let complete = namespaces.filter(|(_, it)| it.marked && !it.left_out);
        complete.map(|(id, _)| id as u32).collect()
    }

    /// Forgets namespaces of which the maps hold nothing.
    pub(in crate::maps) fn forget_empty(&mut self) {
        let ids = &mut self.ids;
        let has_services: std::collections::HashSet<u32> =
            self.services.values().map(|held| held.namespace).collect();
        self.namespaces.retain(|id, namespace| {
            let is_empty = namespace.elements == [0; Room::ALL.len()]
                && !namespace.yields()
                && !namespace.announced
                && !has_services.contains(&(id as u32));
            if is_empty {
                ids.remove(&namespace.label);
            }
            !is_empty
        });
    }

    /// Elements of a room that a namespace and its Services hold.
    pub(in crate::maps) fn elements(&self, namespace: u32, room: Room) -> u64 {
        let found = self.namespaces.get(namespace as usize);
        found.map_or(0, |namespace| namespace.elements[room as usize])
    }

    /// The elements of every namespace that holds any, by the namespace's label.
    #[cfg(test)]
    pub(in crate::maps) fn holdings(
        &self,
    ) -> impl Iterator<Item = (String, [u64; Room::ALL.len()])> {
        let namespaces = self.namespaces.iter().map(|(_, namespace)| namespace);
        let holding = namespaces.filter(|it| it.elements != [0; Room::ALL.len()]);
        holding.map(|it| (it.label.escape_ascii().to_string(), it.elements))
    }

    /// Number of Services that yield, and of namespaces that are marked.
    pub(in crate::maps) fn yielding(&self) -> (u32, u32) {
        (self.yielding, self.marked)
    }

    /// The namespaces that yield, in the order of their names.
    pub(in crate::maps) fn all_yielding(&self) -> Vec<Yielding> {
        let namespaces = self.namespaces.iter().map(|(_, namespace)| namespace);
        let mut yielding: Vec<_> = namespaces
            .filter(|namespace| namespace.yields())
            .map(Yielding::of)
            .collect();
        yielding.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        yielding
    }

    /// The namespaces of these shares that yield, unless the log has said so already.
    pub(in crate::maps) fn announce(&mut self, shares: &[Share]) -> Vec<Yielding> {
        let mut new = Vec::new();
        for share in shares {
            if let Some(namespace) = self.namespaces.get_mut(share.namespace as usize)
                && namespace.yields()
                && !std::mem::replace(&mut namespace.announced, true)
            {
                new.push(Yielding::of(namespace));
            }
        }
        new
    }

    /// The namespaces that do not yield any more, although the log says that they do.
    pub(in crate::maps) fn recovered(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for (_, namespace) in &mut self.namespaces {
            if namespace.announced && !namespace.yields() {
                namespace.announced = false;
                names.push(namespace.label.escape_ascii().to_string());
            }
        }
        names
    }
}

impl Yielding {
    fn of(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.label.escape_ascii().to_string(),
            services: namespace.yielding,
            marked: namespace.marked,
        }
    }
}
