//! Objects of one kind, as a watch lists and changes them.

use std::collections::BTreeMap;

use crate::watch::{Kind, ObjectRef};

/// The objects of one kind.
#[derive(Clone, Debug)]
pub(super) struct Listed<T> {
    objects: BTreeMap<ObjectRef, (u32, T)>,
    /// Number of the current list.
    list: u32,
    /// Whether a list has been complete.
    complete: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            list: 0,
            complete: false,
        }
    }
}

impl<T> Listed<T> {
    /// The object exists; `None` where nothing of it is kept.
    pub(super) fn put(&mut self, reference: ObjectRef, object: Option<T>) {
        match object {
            Some(object) => {
                self.objects.insert(reference, (self.list, object));
            }
            None => self.delete(&reference),
        }
    }

    /// The object is gone.
    pub(super) fn delete(&mut self, reference: &ObjectRef) {
        self.objects.remove(reference);
    }

    /// Whether a list has been complete.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The objects, in order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &T)> {
        self.objects
            .iter()
            .map(|(reference, (_, object))| (reference, object))
    }

    /// The objects of one namespace.
    pub(super) fn in_namespace(
        &self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = &T> + Clone {
        let first = ObjectRef {
            kind,
            namespace: namespace.into(),
            name: "".into(),
        };
        let from = self.objects.range(first.clone()..);
        let of = move |(reference, _): &(&ObjectRef, &(u32, T))| {
            reference.kind == first.kind && reference.namespace == first.namespace
        };
        from.take_while(of).map(|(_, (_, object))| object)
    }

    /// Whether the current list has the object.
    pub(super) fn is_current(&self, reference: &ObjectRef) -> bool {
        let object = self.objects.get(reference);
        object.is_some_and(|(list, _)| *list == self.list)
    }

    /// The object with this name, if something of it is kept.
    pub(super) fn get(&self, reference: &ObjectRef) -> Option<&T> {
        self.objects.get(reference).map(|(_, object)| object)
    }
}

/// A list of objects of any kind.
pub(super) trait List {
    /// A list begins.
    fn restart(&mut self);

    /// The list is complete: an object that it did not have is gone.
    fn restarted(&mut self);
}

impl<T> List for Listed<T> {
    fn restart(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    fn restarted(&mut self) {
        let list = self.list;
        self.objects.retain(|_, (of, _)| *of == list);
        self.complete = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> ObjectRef {
        ObjectRef {
            kind: Kind::Pod,
            namespace: "default".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_list_replaces_what_it_does_not_have() {
        let mut listed = Listed::default();
        assert!(!listed.is_complete());
        listed.restart();
        for name in ["a", "b", "c"] {
            listed.put(reference(name), Some(1));
        }
        listed.restarted();
        assert!(listed.is_complete());
        listed.delete(&reference("c"));
        listed.restart();
        listed.put(reference("a"), Some(2));
        let all = |listed: &Listed<i32>| listed.iter().map(|(_, it)| *it).collect::<Vec<_>>();
        assert_eq!(all(&listed), [2, 1], "b stays until the list is complete");
        listed.restarted();
        assert_eq!(all(&listed), [2]);
        listed.put(reference("a"), None);
        assert_eq!(listed.get(&reference("a")), None);
    }
}
