//! What every step needs to know.

use crate::abi::Config;

/// A message that is being answered, and what it is answered from.
#[derive(Debug)]
pub(super) struct Request<'a, L> {
    /// Where the message starts in the image.
    pub(super) start: usize,
    /// Most bytes of a reply that can be sent.
    pub(super) capacity: usize,
    pub(super) config: &'a Config,
    pub(super) lookup: &'a L,
}

impl<L> Clone for Request<'_, L> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Request<'_, L> {}
