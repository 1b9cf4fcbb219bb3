//! The header of a message (RFC 1035, section 4.1.1): checks of the query's header, and the
//! header of the reply.

use super::numbers::flags;
use crate::{abi::PassReason, wire::bytes::Image};

/// Offset of the second header word: flags, opcode and RCODE.
const FLAGS_AT: usize = 2;

/// Refuses messages that are not queries: responses, opcodes other than QUERY, and truncated
/// messages. `start` is the offset of the message in the image.
#[inline(always)]
pub fn check_query(image: &Image, start: usize) -> Result<(), PassReason> {
    let header = image.be16_at(start + FLAGS_AT);
    if header & (flags::QR | flags::OPCODE | flags::TC) == 0 {
        Ok(())
    } else if header & flags::QR != 0 {
        Err(PassReason::Response)
    } else if header & flags::OPCODE != 0 {
        Err(PassReason::Opcode)
    } else {
        Err(PassReason::Truncated)
    }
}

/// Turns the query's flags into the reply's flags. `more` holds TC and the RCODE.
///
/// CoreDNS sets the same flags in answers for its own zone (miekg/dns, `SetReply`): AA is
/// set, RD and CD are copied from the query, RA and AD are cleared.
#[inline(always)]
pub fn put_flags(image: &mut Image, start: usize, more: u16) {
    let query = image.be16_at(start + FLAGS_AT);
    let reply = flags::QR | flags::AA | query & (flags::RD | flags::CD) | more;
    image.put_be16(start + FLAGS_AT, reply);
}

/// The numbers of records in the sections of a reply.
#[derive(Clone, Copy, Debug, Default)]
pub struct SectionCounts {
    /// ANCOUNT.
    pub answers: u16,
    /// NSCOUNT.
    pub authorities: u16,
    /// ARCOUNT.
    pub additionals: u16,
}

/// Writes the counts of a reply. QDCOUNT stays 1, as in the query.
#[inline(always)]
pub fn put_counts(image: &mut Image, start: usize, counts: SectionCounts) {
    image.put_be16(start + 6, counts.answers);
    image.put_be16(start + 8, counts.authorities);
    image.put_be16(start + 10, counts.additionals);
}
