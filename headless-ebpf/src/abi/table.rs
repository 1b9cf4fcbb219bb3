//! The table of short names: what a hash map does, in arrays.
//!
//! A look-up in the kernel's hash map is three or four calls that return, which costs
//! more than all the rest of the decision where returns are guarded against
//! speculation; one in an array map is a few instructions of the program's own.
//!
//! A name is in one of two buckets (of the two the emptier one when it came), where a
//! hint leads to its slot. What has no room, or the hint of another, is in
//! [`super::map::NAMES_SHORT`], and [`super::Config::spilled`] says that there is any.
//! Names are told apart by their whole keys, as everywhere.

use bytemuck::{Pod, Zeroable};

use super::{KeyClass, NameRecord, Seal};

/// Hints of a bucket.
pub const TABLE_HINTS: usize = 4;

/// Hints in no order.
pub type TableBucket = [TableHint; TABLE_HINTS];

/// Half of a key's hash in the upper half, the number of its slot in the lower one:
/// from 1, since zero is an empty hint.
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
        let mut slot = 0;
        let mut i = 0;
        while i < TABLE_HINTS {
            let hint = bucket[i].0;
            let difference = hint >> 32 ^ place.tag as u64;
            let is_same = difference.wrapping_sub(1) >> 63;
            slot |= hint as u32 & 0_u32.wrapping_sub(is_same as u32);
            i += 1;
        }
        slot
    }
}

/// Where a name's hint can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// The number of either bucket.
    pub buckets: [u32; 2],
    /// What tells it from others of its bucket.
    pub tag: u32,
}

impl TablePlace {
    /// The place of the name whose words `key` has taken in, in a table of so many
    /// buckets, a power of two.
    #[inline(always)]
    pub const fn of(key: Seal, buckets: u32) -> Self {
        // The sum's upper bits depend on all of the key, the lower ones do not.
        let sum = key.sum();
        let hash = (sum ^ sum >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let tag = (hash ^ hash >> 29) as u32;
        let mask = buckets.wrapping_sub(1);
        let first = (hash >> 32) as u32;
        let second = first ^ tag.wrapping_mul(0x5bd1_e995) >> 8;
        Self {
            buckets: [first & mask, second & mask],
            tag,
        }
    }
}

/// A name and what is known of it; all zero where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TableSlot {
    /// The key.
    pub key: [u64; KeyClass::Short.words()],
    /// Its record.
    pub record: NameRecord,
}

const _: () = assert!(size_of::<TableSlot>() == 72);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_with_the_tag_is_chosen() {
        let place = TablePlace::of(Seal::new(7).word(9), 8);
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
}
