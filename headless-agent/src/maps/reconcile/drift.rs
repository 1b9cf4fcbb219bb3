//! The differences that a full pass has found and corrected.

/// Number of entries that a full pass has corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Names of the index that the maps did not have.
    pub missing: u64,
    /// Names and hints that differed.
    pub differing: u64,
    /// Names, hints and runs of chunks that the index does not have.
    pub stale: u64,
}

impl Drift {
    /// Number of all corrected entries.
    pub fn total(self) -> u64 {
        self.missing + self.differing + self.stale
    }
}
