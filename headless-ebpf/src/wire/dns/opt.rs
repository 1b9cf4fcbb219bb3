//! EDNS (RFC 6891).

use bytemuck::{Pod, Zeroable};

use super::header::qtype;
use crate::wire::bytes::Image;

/// Bytes of an OPT record without options (RFC 6891, section 6.1.2).
pub const OPT_LEN: usize = 11;

/// The OPT record of a query, if it has one.
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
