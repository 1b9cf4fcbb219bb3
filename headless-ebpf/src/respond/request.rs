//! The parameters that every step of an answer needs.

use crate::abi::Config;

/// The message that is being answered, the configuration, and the maps.
#[derive(Debug)]
pub(super) struct Request<'a, L> {
    /// Offset of the message in the image.
    pub(super) start: usize,
    /// Most bytes of a reply that the packet can carry.
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
