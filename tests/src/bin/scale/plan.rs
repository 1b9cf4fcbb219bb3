//! The plan of a benchmark, which `cargo xtask bench scale` gives.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The cluster, the changes, and how long to wait.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Number of Services.
    pub(crate) services: usize,
    /// One Service of so many is headless, and the others have a cluster IP. With 1 all are
    /// headless, and the agent is measured beside CoreDNS; else its endpoint scopes are.
    pub(crate) headless_every: usize,
    /// Number of their endpoints.
    pub(crate) endpoints: usize,
    /// Number of endpoints of the largest Service.
    pub(crate) largest: usize,
    /// Number of changes of other Services, first one after the other, then at once.
    pub(crate) changes: usize,
    /// Number of changes of the largest Service.
    pub(crate) large_changes: usize,
    /// Seconds for which a peer is left alone before its memory is read: allocators give
    /// back after a while what loading needed.
    pub(crate) settling: u64,
}

impl Plan {
    /// See the field of this name.
    pub(crate) fn settling(&self) -> Duration {
        Duration::from_secs(self.settling)
    }
}
