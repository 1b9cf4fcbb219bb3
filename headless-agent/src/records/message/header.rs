//! The header of a message (RFC 1035, section 4.1.1).

/// A header without the counts of its sections.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) id: u16,
    /// The second word without the RCODE.
    pub(super) flags: u16,
    /// The lower four bits of the RCODE.
    pub(super) rcode: u16,
}
