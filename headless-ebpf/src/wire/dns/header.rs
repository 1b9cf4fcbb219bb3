//! The header of a message, and the numbers that every part of it uses.

use crate::{abi::PassReason, wire::bytes::Image};

/// Bytes of the DNS header (RFC 1035, section 4.1.1).
pub const DNS_HEADER_LEN: usize = 12;

/// Most bytes of a message to a client that does not say what it takes
/// (RFC 1035, section 4.2.1).
pub const UDP_PAYLOAD_MIN: usize = 512;

/// Class IN (RFC 1035, section 3.2.4).
pub const CLASS_IN: u16 = 1;

/// Offset of the second header word.
const FLAGS_AT: usize = 2;

/// Bits of the second header word (RFC 1035, section 4.1.1; CD by RFC 4035,
/// section 3.2.2).
pub mod flags {
    /// Response.
    pub const QR: u16 = 0x8000;
    /// The four bits of the opcode.
    pub const OPCODE: u16 = 0x7800;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
}

/// Response codes (RFC 1035, section 4.1.1).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
}

/// Types (IANA "DNS Resource Record TYPEs").
pub mod qtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Start of a zone of authority.
    pub const SOA: u16 = 6;
    /// Domain name pointer.
    pub const PTR: u16 = 12;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service location.
    pub const SRV: u16 = 33;
    /// EDNS option record: never a question.
    pub const OPT: u16 = 41;
    /// From here to [`MAILA`] stand transaction keys and transfers.
    pub const TKEY: u16 = 249;
    /// Last of the meta-types.
    pub const MAILA: u16 = 254;
}

/// A compression pointer to `offset` from the start of the message (RFC 1035,
/// section 4.1.4).
#[inline(always)]
pub const fn pointer(offset: usize) -> u16 {
    0xc000 | offset as u16
}

/// A compression pointer to the question's name.
pub const QUESTION_NAME: u16 = pointer(DNS_HEADER_LEN);

/// Refuses messages that are no queries: responses, other opcodes, truncated ones.
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

/// Turns the query's flags into the reply's, with `more` set: TC or a response code.
///
/// AA is set and RA is not, RD and CD are echoed, AD is cleared, as CoreDNS
/// answers for its own zone (miekg/dns, `SetReply`).
#[inline(always)]
pub fn put_flags(image: &mut Image, start: usize, more: u16) {
    let query = image.be16_at(start + FLAGS_AT);
    let reply = flags::QR | flags::AA | query & (flags::RD | flags::CD) | more;
    image.put_be16(start + FLAGS_AT, reply);
}

/// Numbers of records in a reply's sections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// ANCOUNT.
    pub answers: u16,
    /// NSCOUNT.
    pub authorities: u16,
    /// ARCOUNT.
    pub additionals: u16,
}

/// Writes the counts of a reply; there is one question, as in the query.
#[inline(always)]
pub fn put_counts(image: &mut Image, start: usize, counts: Counts) {
    image.put_be16(start + 6, counts.answers);
    image.put_be16(start + 8, counts.authorities);
    image.put_be16(start + 10, counts.additionals);
}
