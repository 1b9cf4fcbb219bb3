//! The numbers of the DNS protocol. Every crate of the workspace takes them from here.

use crate::abi::AnswerKind;

/// Bytes of the DNS header (RFC 1035, section 4.1.1).
pub const DNS_HEADER_LEN: usize = 12;

/// Most bytes of a message over UDP to a client without EDNS (RFC 1035, section 4.2.1). The
/// size in an OPT record counts from this number on (RFC 6891, section 6.2.3).
pub const UDP_PAYLOAD_MIN: usize = 512;

/// Class IN (RFC 1035, section 3.2.4).
pub const CLASS_IN: u16 = 1;

/// Bytes of the longest name in wire form, root included (RFC 1035, section 2.3.4).
pub const NAME_LEN_MAX: usize = 255;

/// Bytes of the longest label. A greater number in a length byte is a compression pointer or
/// has no meaning (RFC 1035, section 4.1.4).
pub const LABEL_LEN_MAX: usize = 63;

/// Labels of the longest name, root not counted: 127 labels of one byte.
pub const LABELS_MAX: usize = 127;

/// Bytes of an OPT record without options (RFC 6891, section 6.1.2).
pub const OPT_LEN: usize = 11;

/// The bit DO in the flags of an OPT record (RFC 6891, section 6.1.4).
pub const OPT_DO: u16 = 1 << 15;

/// The flags of an OPT record that CoreDNS's reply repeats: the byte with DO (`request.go`,
/// `SizeAndDo`: `Ttl &= 0xff00`).
pub const OPT_FLAGS_ECHOED: u16 = 0xff00;

/// The bits of the header's second word (RFC 1035, section 4.1.1; AD and CD are defined in RFC
/// 4035, section 3.2).
pub mod flags {
    /// The message is a response.
    pub const QR: u16 = 1 << 15;
    /// The four bits of the opcode.
    pub const OPCODE: u16 = 0xf << 11;
    /// The answer is authoritative.
    pub const AA: u16 = 1 << 10;
    /// The message is truncated.
    pub const TC: u16 = 1 << 9;
    /// Recursion is desired.
    pub const RD: u16 = 1 << 8;
    /// Recursion is available.
    pub const RA: u16 = 1 << 7;
    /// The data are authentic.
    pub const AD: u16 = 1 << 5;
    /// Checking is disabled.
    pub const CD: u16 = 1 << 4;
}

/// Response codes, the lowest four bits of the header's second word (RFC 1035, section 4.1.1).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The server cannot interpret the query.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
    /// The server does not implement this kind of query.
    pub const NOTIMP: u16 = 4;
}

/// Numbers of types (IANA, "DNS Resource Record TYPEs").
pub mod qtype {
    /// IPv4 address (RFC 1035).
    pub const A: u16 = 1;
    /// Name server (RFC 1035).
    pub const NS: u16 = 2;
    /// Start of a zone of authority (RFC 1035).
    pub const SOA: u16 = 6;
    /// Domain name pointer (RFC 1035).
    pub const PTR: u16 = 12;
    /// Text (RFC 1035).
    pub const TXT: u16 = 16;
    /// IPv6 address (RFC 3596).
    pub const AAAA: u16 = 28;
    /// Service location (RFC 2782).
    pub const SRV: u16 = 33;
    /// EDNS record (RFC 6891). It is never asked for.
    pub const OPT: u16 = 41;
    /// First of the meta-types with special handling: TKEY, TSIG, IXFR, AXFR, MAILB, MAILA.
    pub const TKEY: u16 = 249;
    /// Last of the meta-types with special handling.
    pub const MAILA: u16 = 254;
}

/// The kind under which counters count answers to questions of this type.
#[inline(always)]
pub const fn answer_kind(qtype: u16) -> AnswerKind {
    match qtype {
        qtype::A => AnswerKind::A,
        qtype::AAAA => AnswerKind::Aaaa,
        qtype::SRV => AnswerKind::Srv,
        qtype::PTR => AnswerKind::Ptr,
        _ => AnswerKind::Other,
    }
}

/// A compression pointer to the name at `offset` bytes from the start of the message (RFC 1035,
/// section 4.1.4). `offset` is less than 2^14.
#[inline(always)]
pub const fn pointer(offset: usize) -> u16 {
    0xc000 | offset as u16
}

/// A compression pointer to the question's name.
pub const QUESTION_NAME: u16 = pointer(DNS_HEADER_LEN);
