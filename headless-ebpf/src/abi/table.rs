//! The table of short keys: a hash table in the arrays [`super::map::TABLE_BUCKETS`] and
//! [`super::map::TABLE_SLOTS`].
//!
//! A look-up in the kernel's hash map makes three or four calls. Where the kernel guards returns
//! against speculation, these calls cost more than the rest of the decision. A look-up in an array
//! is a few instructions within the program.
//!
//! Each key has two buckets. A hint in one of them, the emptier one when the key came, leads to
//! the key's slot. A key that finds no free slot or hint is in [`super::map::NAMES_SHORT`], and
//! [`super::Config::has_names`] says whether this map is in use. The slot holds the whole key, so
//! that a wrong hint leads to no wrong answer.

use bytemuck::{Pod, Zeroable};

use super::{
    digest::describe,
    hash::{KeyedHash, bucket},
    key::KeyClass,
    record::NameRecord,
};

/// Number of hints in a bucket.
pub const TABLE_HINTS: usize = 4;

/// A bucket, an element of [`super::map::TABLE_BUCKETS`]: hints in no order.
pub type TableBucket = [TableHint; TABLE_HINTS];

/// A hint: the tag of a key in the upper half, the number of the key's slot in the lower half.
/// Slots are counted from 1 here, since zero is an empty hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct TableHint(pub u64);

impl TableHint {
    /// The hint that leads from the key at `place` to the slot at index `slot`, counted from 0.
    pub const fn new(place: TablePlace, slot: u32) -> Self {
        Self((place.tag as u64) << 32 | (slot + 1) as u64)
    }

    /// The index of the slot, counted from 0. `None` for an empty hint.
    pub const fn slot(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }

    /// Whether the hint has the tag of `place`.
    pub const fn is_of(self, place: TablePlace) -> bool {
        self.slot().is_some() && self.0 >> 32 == place.tag as u64
    }

    /// The lower half of the hint with the tag of `place`. Zero where no hint has this tag.
    ///
    /// All hints are compared without a branch, since a branch for each would multiply the
    /// control-flow paths. The agent never writes two hints with the same tag into a bucket.
    #[inline(always)]
    pub const fn choose(bucket: TableBucket, place: TablePlace) -> u32 {
        let tag = (place.tag as u64) << 32;
        let mut slot = 0;
        let mut i = 0;
        while i < TABLE_HINTS {
            // The upper half is zero where the tags are the same.
            let rest = bucket[i].0 ^ tag;
            // All ones where the upper half is zero.
            let is_same = (rest >> 32).wrapping_sub(1).cast_signed() >> 63;
            slot |= rest & is_same.cast_unsigned();
            i += 1;
        }
        slot as u32
    }
}

/// The place of a key in the table: the buckets of its hint, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// The indices of the two buckets.
    pub buckets: [u32; 2],
    /// Half of the key's hash, which tells it from other keys in the bucket.
    pub tag: u32,
}

impl TablePlace {
    /// The place of a key in a table of `buckets` buckets. `name` is the hash that has taken in
    /// the words of the key.
    #[inline(always)]
    pub const fn of(name: KeyedHash, buckets: u32) -> Self {
        let hash = name.finish();
        // The index of a bucket depends mostly on the upper 16 of its 32 bits. So the two buckets
        // take the two quarters of the hash's upper half, and the tag is the lower half.
        let high = (hash >> 32) as u32;
        Self {
            buckets: [bucket(high, buckets), bucket(high.rotate_left(16), buckets)],
            tag: hash as u32,
        }
    }
}

/// A slot, an element of [`super::map::TABLE_SLOTS`]: a key with its name record. All zeros where
/// the slot is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TableSlot {
    /// The key.
    pub key: [u64; KeyClass::Short.words()],
    /// The name record.
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
        // An empty hint belongs to no key, also not to a key with tag 0.
        assert_eq!(TableHint::choose(TableBucket::default(), other(0)), 0);
        assert!(!TableHint::default().is_of(other(0)));
    }

    /// Nearly all of the keys that fill half of the hints find a free hint in one of their two
    /// buckets.
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

    /// The hash of layout 4. It added the seed after mixing, so that two keys which collided under
    /// one seed collided under all seeds.
    fn layout_4(words: &[u64]) -> u64 {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let (mut sum, mut multiplier) = (0_u64, MULTIPLIER);
        for word in words {
            sum = sum.wrapping_add(word.wrapping_mul(multiplier));
            multiplier = multiplier.wrapping_mul(MULTIPLIER);
        }
        sum
    }

    /// Two names that had the same buckets, tag and seal in layout 4.
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

    /// Words that collide in layout 4: one word adds to the sum, and another word subtracts the
    /// same amount.
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
