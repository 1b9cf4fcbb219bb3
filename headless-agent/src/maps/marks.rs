//! What a full pass has found.

use std::collections::HashSet;

use super::key::MapKey;

/// What a full pass corrected, in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Names that were not stored.
    pub missing: u64,
    /// Names and addresses that were stored otherwise.
    pub differing: u64,
    /// Names, chunks and addresses that should not have been there.
    pub stale: u64,
}

impl Drift {
    /// Entries in all.
    pub fn total(self) -> u64 {
        self.missing + self.differing + self.stale
    }
}

/// Entries that are known to be right, by their numbers or keys.
#[derive(Debug)]
pub(super) struct Marks {
    pub(super) hints: Vec<bool>,
    pub(super) keys: HashSet<MapKey>,
    pub(super) endpoints: Vec<bool>,
    pub(super) reverse: Vec<bool>,
}
