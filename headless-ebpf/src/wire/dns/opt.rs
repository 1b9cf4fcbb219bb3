//! The OPT record of EDNS (RFC 6891).

use bytemuck::{Pod, Zeroable};

use super::{
    numbers::{OPT_FLAGS_ECHOED, OPT_LEN, qtype},
    options::OPTIONS_LEN_MAX,
};
use crate::{
    verifier,
    wire::bytes::{Image, NameBytes},
};

/// The OPT record of a query, or its absence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Edns {
    /// Bytes of the reply's OPT record with its options. 0 where the query has no OPT record.
    reply_len: u16,
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
            reply_len: 0,
            size: 0,
            flags: 0,
        }
    }

    /// Whether the query has an OPT record.
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.reply_len != 0
    }

    /// Bytes of the reply's OPT record with its options. 0 without an OPT record.
    #[inline(always)]
    pub const fn reply_len(self) -> usize {
        self.reply_len as usize
    }

    /// Whether the message that ends at `end` ends with an OPT record without options.
    #[inline(always)]
    pub fn is_bare(image: &Image, end: usize) -> bool {
        let opt = end.wrapping_sub(OPT_LEN);
        is_opt(image, opt) && image.u16_at(opt + 9) == 0
    }

    /// Offset behind the options of the OPT record at `offset`. `None` where another record is
    /// there.
    #[inline(always)]
    pub fn options_end(image: &Image, offset: usize) -> Option<usize> {
        let len = usize::from(image.be16_at(offset + 9));
        is_opt(image, offset).then_some(offset + OPT_LEN + len)
    }

    /// Stores in the OPT record at `offset` of a query how many bytes of options the reply
    /// repeats. [`Self::parse`] reads this number.
    #[inline(always)]
    pub fn put_echoed_len(image: &mut Image, offset: usize, len: usize) {
        image.put_be16(offset + 9, len as u16);
    }

    /// Reads the OPT record at `offset`, which is bare or has [`Self::put_echoed_len`]. `None`
    /// where its version is not 0.
    #[inline(always)]
    pub fn parse(image: &Image, offset: usize) -> Option<Self> {
        // Bytes: root name 1, type 2, size 2, extended RCODE 1 (without meaning in a query),
        // version 1, flags 2, length of the options 2.
        (image.u8_at(offset + 6) == 0).then(|| Self {
            reply_len: OPT_LEN as u16 + image.be16_at(offset + 9),
            size: image.be16_at(offset + 3),
            flags: image.be16_at(offset + 7),
        })
    }

    /// The record with a size of at most `max` bytes (below 2^31), as CoreDNS's plugin `bufsize`
    /// changes it.
    #[inline(always)]
    #[must_use]
    pub fn lowered(mut self, max: u32) -> Self {
        let (size, max) = (usize::from(self.size), max as usize);
        // A mask instead of a branch (habit 2 of `verifier`).
        let over = size.wrapping_sub(max) & !verifier::ones_if_below(size, max);
        self.size = size.wrapping_sub(over) as u16;
        self
    }

    /// Writes the reply's OPT record. CoreDNS repeats the client's size and DO bit
    /// (`request.go`, `SizeAndDo`). The record's options are at the start of `options`.
    #[inline(always)]
    pub fn put(self, image: &mut Image, offset: usize, options: &NameBytes) {
        image.put_u8(offset, 0);
        image.put_be16(offset + 1, qtype::OPT);
        image.put_be16(offset + 3, self.size);
        image.put_u16(offset + 5, 0);
        image.put_be16(offset + 7, self.flags & OPT_FLAGS_ECHOED);
        image.put_be16(offset + 9, self.reply_len.wrapping_sub(OPT_LEN as u16));
        if self.reply_len != OPT_LEN as u16 {
            // The bytes behind the options are behind the reply, too.
            for i in 0..OPTIONS_LEN_MAX / 8 {
                image.put_u64(offset + OPT_LEN + i * 8, options.u64_at(i * 8));
            }
        }
    }
}

/// Whether the name and the type at `offset` are those of an OPT record.
#[inline(always)]
fn is_opt(image: &Image, offset: usize) -> bool {
    image.u8_at(offset) == 0 && image.be16_at(offset + 1) == qtype::OPT
}
