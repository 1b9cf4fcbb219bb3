//! Names in the zone whose questions pass because of CoreDNS's configuration, though other names
//! are answered.

use core::fmt;

use bytemuck::{Pod, Zeroable};

use super::{
    digest::describe,
    hash::{HASH_NAME, HashKey, KeyedHash},
    key::{KeyClass, NameKey},
    state::State,
};

/// Most names in [`PassedNames`].
pub const PASSED_MAX: usize = 64;

/// The names as keyed hashes. If another name has the same hash, its questions pass, too.
///
/// The names need not exist, and have any number of labels before the zone. So the names are no
/// name records.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PassedNames {
    /// Number of slots in use, empty ones among them.
    pub slots: u64,
    /// [`Self::hash`] of each name; 0 in an empty slot.
    pub hashes: [u64; PASSED_MAX],
}

describe!(PassedNames {
    slots: u64,
    hashes: [u64; PASSED_MAX],
});

impl PassedNames {
    /// The hash of the name with these labels before the zone. `None` where they are too long.
    pub fn hash<'a>(key: &HashKey, labels: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
        let (name, len) = NameKey::from_labels(labels)?;
        let words = name.words(KeyClass::of_len(len));
        Some(Self::finish(KeyedHash::new().words(key, HASH_NAME, words)))
    }

    /// The hash that has taken in the words of a name's key. It is never 0.
    #[inline(always)]
    pub const fn finish(hash: KeyedHash) -> u64 {
        hash.finish() | 1
    }

    /// Whether the name with this hash passes.
    #[inline(always)]
    pub fn has(&self, hash: u64) -> bool {
        let mut found = 0;
        for (i, slot) in self.hashes.iter().enumerate() {
            if i as u64 >= self.slots {
                break;
            }
            let difference = slot ^ hash;
            // The highest bit is set only if the difference is zero.
            found |= difference.wrapping_sub(1) & !difference;
        }
        found >> 63 != 0
    }

    /// [`State::PASS_NAMES`] if there are names.
    pub const fn flag(&self) -> u32 {
        if self.slots == 0 {
            0
        } else {
            State::PASS_NAMES
        }
    }

    /// The set with exactly these hashes. Hashes that stay keep their slots, so that a program
    /// which reads the slots meanwhile finds them. `None` where they are more than [`PASSED_MAX`].
    #[must_use]
    pub fn with(mut self, hashes: &[u64]) -> Option<Self> {
        for slot in &mut self.hashes {
            if !hashes.contains(slot) {
                *slot = 0;
            }
        }
        for hash in hashes {
            if !self.hashes.contains(hash) {
                *self.hashes.iter_mut().find(|slot| **slot == 0)? = *hash;
            }
        }
        let last = self.hashes.iter().rposition(|slot| *slot != 0);
        self.slots = last.map_or(0, |last| last as u64 + 1);
        Some(self)
    }
}

impl fmt::Debug for PassedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.hashes.iter().filter(|slot| **slot != 0);
        write!(f, "PassedNames({})", names.count())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;

    use std::{string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn hash(name: &str) -> u64 {
        let labels = name.split('.').filter(|label| !label.is_empty());
        PassedNames::hash(&HashKey::from_seed(1), labels.map(str::as_bytes)).unwrap()
    }

    #[test]
    fn names_that_stay_keep_their_slots() {
        let names = ["", "a", "db.default.svc", "a.b.c.d.e.f"].map(hash);
        let first = PassedNames::zeroed().with(&names).unwrap();
        assert!(names.iter().all(|name| first.has(*name)));
        assert!(!first.has(hash("b")));
        let next = first.with(&[names[3], hash("b"), names[1]]).unwrap();
        assert_eq!(next.hashes[1], first.hashes[1]);
        assert_eq!(next.hashes[3], first.hashes[3]);
        assert!(next.has(hash("b")) && !next.has(names[0]) && !next.has(names[2]));
        assert_eq!(next.slots, 4);
        let none = next.with(&[]).unwrap();
        assert_eq!(none, PassedNames::zeroed());
        assert!(!none.has(0), "an empty slot is no name");
    }

    #[test]
    fn no_more_than_the_most_names_pass() {
        let many: Vec<_> = (0..=PASSED_MAX as u64).map(|i| 2 * i + 1).collect();
        let full = PassedNames::zeroed().with(&many[1..]).unwrap();
        assert!(many[1..].iter().all(|name| full.has(*name)) && !full.has(many[0]));
        assert_eq!(full.with(&many), None);
    }

    proptest! {
        /// A name is found in any case, and no other name is.
        #[test]
        fn only_names_of_the_set_are_found(
            names in prop::collection::btree_set("[a-c]{1,2}(\\.[a-c]{1,20}){0,4}", 1..=8),
            others in prop::collection::vec("[a-c]{1,2}(\\.[a-c]{1,20}){0,4}", 20),
        ) {
            let hashes: Vec<_> = names.iter().map(|name| hash(name)).collect();
            let set = PassedNames::zeroed().with(&hashes).unwrap();
            for name in &names {
                prop_assert!(set.has(hash(&name.to_ascii_uppercase())));
            }
            for other in others.iter().chain(&[String::new()]) {
                prop_assert_eq!(set.has(hash(other)), names.contains(other));
            }
        }
    }
}
