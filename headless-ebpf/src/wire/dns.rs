//! The parts of a DNS message around the question.

use bytemuck::{Pod, Zeroable};

use super::Image;

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

/// Bytes of an OPT record without options (RFC 6891, section 6.1.2).
pub const OPT_LEN: usize = 11;

/// What a query's OPT record says, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Edns {
    /// Whether there is an OPT record: 1 or 0.
    present: u16,
    /// The client's UDP payload size as sent.
    pub size: u16,
    /// Low half of the TTL field: DO and the reserved bits.
    pub flags: u16,
}

impl Edns {
    /// No OPT record.
    #[inline(always)]
    pub const fn absent() -> Self {
        Self {
            present: 0,
            size: 0,
            flags: 0,
        }
    }

    /// Whether there is an OPT record.
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.present != 0
    }

    /// Bytes of the reply's OPT record.
    #[inline(always)]
    pub const fn reply_len(self) -> usize {
        // Without a branch, which would be two ways through all that follows.
        self.present as usize * OPT_LEN
    }

    /// Reads an OPT record without options and of version 0 at `offset`.
    #[inline(always)]
    pub fn parse(image: &Image, offset: usize) -> Option<Self> {
        // Root name and type 41; extended RCODE (ignored in a query) and
        // version; no options.
        let fits = image.u8_at(offset) == 0
            && image.be16_at(offset + 1) == qtype::OPT
            && image.u8_at(offset + 6) == 0
            && image.u16_at(offset + 9) == 0;
        fits.then(|| Self {
            present: 1,
            size: image.be16_at(offset + 3),
            flags: image.be16_at(offset + 7),
        })
    }

    /// Writes the OPT record of the reply: the client's own size and DO bit, as
    /// CoreDNS does (`request.go`, `SizeAndDo`: `Ttl &= 0xff00`).
    #[inline(always)]
    pub fn put(self, image: &mut Image, offset: usize) {
        image.put_u8(offset, 0);
        image.put_be16(offset + 1, qtype::OPT);
        image.put_be16(offset + 3, self.size);
        image.put_u16(offset + 5, 0);
        image.put_be16(offset + 7, self.flags & 0xff00);
        image.put_u16(offset + 9, 0);
    }
}

/// Bytes of the SOA record of a negative answer, see [`put_soa`].
pub const SOA_LEN: usize = 54;

/// Writes the zone's SOA record at `offset`: `ns.dns.<zone>`,
/// `hostmaster.<zone>`, refresh 7200, retry 1800, expire 86400, as CoreDNS has
/// it (`backend_lookup.go`, `SOA`).
///
/// `zone` is a compression pointer to the zone within the question, so that all
/// three names have the case in which the zone was asked.
///
/// In words, and so with two zeroes behind it: an array of bytes the compiler would
/// copy byte by byte.
#[inline(always)]
pub fn put_soa(image: &mut Image, offset: usize, zone: u16, ttl: u32, serial: u32, minimum: u32) {
    let Some(record) = image.window_mut::<{ SOA.len() }>(offset) else {
        return;
    };
    let zone = u64::from(zone.swap_bytes());
    let [ttl, serial, minimum] = [ttl, serial, minimum].map(|it| u64::from(it.swap_bytes()));
    // What changes: the zone at 0, 19 and 32, the others at 6, 34 and 50.
    let fields = [
        zone | ttl << 48,
        ttl >> 16,
        zone << 24,
        0,
        zone | serial << 16,
        0,
        minimum << 16,
    ];
    let words = record.as_chunks_mut().0.iter_mut();
    for ((to, constant), field) in words.zip(SOA.as_chunks().0).zip(fields) {
        *to = (u64::from_le_bytes(*constant) | field).to_le_bytes();
    }
}

/// The record with zeroes for what changes, and behind it.
const SOA: &[u8; 56] = b"\0\0\0\x06\0\x01\0\0\0\0\0\x2a\
    \x02ns\x03dns\0\0\x0ahostmaster\0\0\
    \0\0\0\0\0\0\x1c\x20\0\0\x07\x08\0\x01\x51\x80\0\0\0\0\0\0";

/// Class IN (RFC 1035, section 3.2.4).
pub const CLASS_IN: u16 = 1;

/// A compression pointer to `offset` from the start of the message (RFC 1035,
/// section 4.1.4).
#[inline(always)]
pub const fn pointer(offset: usize) -> u16 {
    0xc000 | offset as u16
}
