//! The OPT record of EDNS (RFC 6891).

use bytemuck::{Pod, Zeroable};

use super::numbers::{OPT_FLAGS_ECHOED, OPT_LEN, qtype};
use crate::wire::bytes::Image;

/// The OPT record of a query, or its absence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Edns {
    /// 1 where the query has an OPT record, else 0.
    present: u16,
    /// UDP payload size in bytes as the client sent it. 0 without an OPT record.
    pub size: u16,
    /// Lower half of the TTL field: DO and reserved bits.
    pub flags: u16,
}

impl Edns {
    /// The value of a query without an OPT record.
    #[inline(always)]
    pub const fn absent() -> Self {
        Self {
            present: 0,
            size: 0,
            flags: 0,
        }
    }

    /// Whether the query has an OPT record.
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.present != 0
    }

    /// Bytes of the reply's OPT record: [`OPT_LEN`] or 0.
    #[inline(always)]
    pub const fn reply_len(self) -> usize {
        // A product instead of a branch, which would double the control-flow paths of
        // everything behind it (habit 3 of `verifier`).
        self.present as usize * OPT_LEN
    }

    /// Reads the OPT record at `offset`. `None` unless the record has version 0 and no options.
    #[inline(always)]
    pub fn parse(image: &Image, offset: usize) -> Option<Self> {
        // Bytes: root name 1, type 2, size 2, extended RCODE 1 (without meaning in a query),
        // version 1, flags 2, length of the options 2.
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

    /// Writes the reply's OPT record. CoreDNS repeats the client's size and DO bit
    /// (`request.go`, `SizeAndDo`).
    #[inline(always)]
    pub fn put(self, image: &mut Image, offset: usize) {
        image.put_u8(offset, 0);
        image.put_be16(offset + 1, qtype::OPT);
        image.put_be16(offset + 3, self.size);
        image.put_u16(offset + 5, 0);
        image.put_be16(offset + 7, self.flags & OPT_FLAGS_ECHOED);
        image.put_u16(offset + 9, 0);
    }
}
