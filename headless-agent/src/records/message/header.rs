//! The header of a message (RFC 1035, section 4.1.1).

/// Length of a header in bytes.
pub(super) const HEADER_LEN: usize = 12;

// Bits of the second word. AD and CD are of RFC 4035, section 3.2.
pub(super) const QR: u16 = 1 << 15;
pub(super) const OPCODE: u16 = 0xf << 11;
pub(super) const AA: u16 = 1 << 10;
pub(super) const TC: u16 = 1 << 9;
pub(super) const RD: u16 = 1 << 8;
pub(super) const RA: u16 = 1 << 7;
pub(super) const AD: u16 = 1 << 5;
pub(super) const CD: u16 = 1 << 4;

/// A header without the counts of its sections.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) id: u16,
    /// The second word without the RCODE.
    pub(super) flags: u16,
    /// The lower four bits of the RCODE.
    pub(super) rcode: u8,
}
