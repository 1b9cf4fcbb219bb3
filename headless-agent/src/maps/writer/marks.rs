//! Marks of a full pass: the entries that the index is known to have.

use std::collections::HashSet;

use headless_ebpf::abi::{ENDPOINT_ENTRIES, REVERSE_SLOTS, TABLE_HINTS};

use crate::maps::store::Arrays;

/// Entries that the index is known to have. Whatever has no mark at the end of a full pass
/// is deleted.
#[derive(Debug)]
pub(in crate::maps) struct Marks {
    /// Hints of the table, by their numbers.
    pub(in crate::maps) hints: Vec<bool>,
    /// Words of the keys of the hash maps. Their number says the class.
    pub(in crate::maps) keys: HashSet<Box<[u64]>>,
    /// Entries of regular endpoints, by the numbers of their places.
    pub(in crate::maps) endpoints: Vec<bool>,
    /// Slots of `REVERSE`, by their numbers.
    pub(in crate::maps) reverse: Vec<bool>,
}

impl Marks {
    /// No marks, for maps with these arrays.
    pub(in crate::maps) fn new(arrays: &Arrays) -> Self {
        let none = |buckets: u32, places: usize| vec![false; buckets as usize * places];
        Self {
            hints: none(arrays.table_buckets(), TABLE_HINTS),
            keys: HashSet::new(),
            endpoints: none(arrays.endpoint_buckets(), ENDPOINT_ENTRIES),
            reverse: none(arrays.reverse_buckets(), REVERSE_SLOTS),
        }
    }
}
