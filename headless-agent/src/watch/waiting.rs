//! The memory that objects may take while they wait for the mirror.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

/// Most bytes of slim objects that wait. The agent should never have more than 256 MB, and a
/// server can send objects faster than the mirror writes their names.
pub(super) const WAITING_MAX: u32 = 32 << 20;

/// The memory that the events of a batch take while they wait. It is free again once the
/// last clone is gone. A batch has the same content with and without it.
#[derive(Clone, Debug, Default)]
pub struct WaitingMemory(
    #[expect(dead_code, reason = "held until the batch has been applied")]
    Option<Arc<OwnedSemaphorePermit>>,
);

impl WaitingMemory {
    pub(super) fn of(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self(permit.map(Arc::new))
    }
}

impl PartialEq for WaitingMemory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for WaitingMemory {}
