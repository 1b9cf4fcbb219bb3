//! The table of short names: a hash map of our own, in arrays.
//!
//! A look-up in the kernel's hash map is three or four calls that return, which costs
//! more than all the rest of the decision where returns are guarded against
//! speculation; one in an array map is a few instructions of the program's own.
//!
//! A name is in one of two buckets (when it came, in the emptier one), where a
//! hint leads to its slot. A name that finds no free slot or hint is in
//! [`super::map::NAMES_SHORT`], and [`super::Config::has_names`] says whether there are
//! any. Names are told apart by their whole keys, as everywhere.

use bytemuck::{Pod, Zeroable};

use super::{
    digest::describe,
    hash::{KeyedHash, bucket},
    key::KeyClass,
    record::NameRecord,
};

/// Hints of a bucket.
pub const TABLE_HINTS: usize = 4;

/// Hints in no order: an element of [`super::map::TABLE_BUCKETS`].
pub type TableBucket = [TableHint; TABLE_HINTS];

/// The tag of a name in the upper half, the number of its slot in the lower one: from
/// 1, since zero is an empty hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct TableHint(pub u64);

impl TableHint {
    /// The hint of a name in slot `slot`, counted from 0.
    pub const fn new(place: TablePlace, slot: u32) -> Self {
        Self((place.tag as u64) << 32 | (slot + 1) as u64)
    }

    /// The slot, counted from 0; `None` of an empty hint.
    pub const fn slot(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }

    /// Whether it may be of the name at this place.
    pub const fn is_of(self, place: TablePlace) -> bool {
        self.slot().is_some() && self.0 >> 32 == place.tag as u64
    }

    /// The lower half of the hint that has the tag of this place, zero where none has:
    /// all are looked at without a branch, which would be as many ways through the
    /// program. Two with the same tag are never in a bucket.
    #[inline(always)]
    pub const fn choose(bucket: TableBucket, place: TablePlace) -> u32 {
        let tag = (place.tag as u64) << 32;
        let mut slot = 0;
        let mut i = 0;
        while i < TABLE_HINTS {
            // The slot alone where the tag is the same.
            let rest = bucket[i].0 ^ tag;
            // All ones where the upper half is zero.
            let is_same = (rest >> 32).wrapping_sub(1).cast_signed() >> 63;
            slot |= rest & is_same.cast_unsigned();
            i += 1;
        }
        slot as u32
    }
}

/// Where a name's hint can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// The number of either bucket.
    pub buckets: [u32; 2],
    /// What tells the name from others of its bucket.
    pub tag: u32,
}

impl TablePlace {
    /// The place of a name in a table of `buckets` buckets. `name` has taken in the
    /// words of the name's key.
    #[inline(always)]
    pub const fn of(name: KeyedHash, buckets: u32) -> Self {
        let hash = name.finish();
        // A bucket's number uses the upper bits of 32. The second bucket has the other
        // 16 bits of the upper half there, and the tag the whole lower half.
        let high = (hash >> 32) as u32;
        Self {
            buckets: [bucket(high, buckets), bucket(high.rotate_left(16), buckets)],
            tag: hash as u32,
        }
    }
}

/// A name and what is known of it, an element of [`super::map::TABLE_SLOTS`]; all zero
/// where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TableSlot {
    /// The key.
    pub key: [u64; KeyClass::Short.words()],
    /// Its record.
    pub record: NameRecord,
}

const _: () = assert!(size_of::<TableSlot>() == 88);

describe!(TableSlot {
    key: [u64; KeyClass::Short.words()],
    record: NameRecord,
});

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;
    use crate::abi::{
        hash::{HASH_NAME, HashKey},
        key::NameKey,
    };

    #[test]
    fn the_hint_with_the_tag_is_chosen() {
        let key = HashKey::from_seed(7);
        let place = TablePlace::of(KeyedHash::new().word(&key, 0, 9), 8);
        let other = |tag| TablePlace { tag, ..place };
        let hint = TableHint::new(place, 5);
        assert_eq!(hint.slot(), Some(5));
        for at in 0..TABLE_HINTS {
            let mut bucket = TableBucket::default();
            assert_eq!(TableHint::choose(bucket, place), 0);
            for (i, hint) in (0..).zip(&mut bucket) {
                *hint = TableHint::new(other(place.tag ^ 1 << i), 77);
            }
            assert_eq!(TableHint::choose(bucket, place), 0);
            bucket[at] = hint;
            assert_eq!(TableHint::choose(bucket, place), 6);
        }
        // An empty hint is nobody's, whatever the tag.
        assert_eq!(TableHint::choose(TableBucket::default(), other(0)), 0);
        assert!(!TableHint::default().is_of(other(0)));
    }

    /// As many names as fill half of the hints find a free one among two buckets.
    #[test]
    fn names_spread_over_two_buckets() {
        let key = HashKey::from_seed(7);
        for buckets in [3_u32, 1000, 30_000, 100_000] {
            let mut used = vec![0; buckets as usize];
            let mut lost = 0;
            for i in 0..2 * buckets {
                let name = KeyedHash::new().word(&key, 0, u64::from(i));
                let place = TablePlace::of(name, buckets);
                let [first, second] = place.buckets.map(|at| at as usize);
                let at = if used[second] < used[first] {
                    second
                } else {
                    first
                };
                if used[at] < TABLE_HINTS {
                    used[at] += 1;
                } else {
                    lost += 1;
                }
            }
            assert!(
                lost <= buckets / 1000 + 1,
                "{lost} of {} names",
                2 * buckets
            );
        }
    }

    fn name(text: &str) -> NameKey {
        let labels = text.split('.').map(str::as_bytes);
        NameKey::from_labels(labels)
            .unwrap_or_else(|| panic!("{text}"))
            .0
    }

    /// The hash of layout 4, whose seed was added behind the mixing: what collided
    /// under one seed collided under all.
    fn layout_4(words: &[u64]) -> u64 {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let (mut sum, mut multiplier) = (0_u64, MULTIPLIER);
        for word in words {
            sum = sum.wrapping_add(word.wrapping_mul(multiplier));
            multiplier = multiplier.wrapping_mul(MULTIPLIER);
        }
        sum
    }

    /// Names that had one bucket, tag and seal.
    const COLLIDED: (&str, &str) = ("aa44aaaazdadaaaalinjaaaeon8eaaafrp.evil", "payments.prod");

    #[test]
    fn names_made_to_collide_in_layout_4_do_not() {
        let (evil, victim) = (name(COLLIDED.0), name(COLLIDED.1));
        assert_eq!(layout_4(&evil.words[..5]), layout_4(&victim.words[..5]));
        for seed in 0..1000 {
            let key = HashKey::from_seed(seed);
            let hash = |name: &NameKey| KeyedHash::new().words(&key, HASH_NAME, &name.words[..5]);
            let (evil, victim) = (hash(&evil), hash(&victim));
            assert_ne!(evil.finish() as u32, victim.finish() as u32);
            let place = |hash| TablePlace::of(hash, 1 << 16);
            assert_ne!(place(evil), place(victim));
        }
    }

    /// Other words: the amount that one word adds to the old sum another one takes away.
    #[test]
    fn words_made_to_collide_in_layout_4_do_not() {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        for i in 1..1000_u64 {
            let words = [i, i * i, 3, 4, 5];
            // The second word weighs `MULTIPLIER` times as much as the first.
            let other = [
                words[0].wrapping_add(i.wrapping_mul(MULTIPLIER)),
                words[1].wrapping_sub(i),
                3,
                4,
                5,
            ];
            assert_eq!(layout_4(&words), layout_4(&other));
            let key = HashKey::from_seed(i);
            let of = |words: &[u64]| KeyedHash::new().words(&key, HASH_NAME, words).finish() as u32;
            assert_ne!(of(&words), of(&other));
        }
    }
}
