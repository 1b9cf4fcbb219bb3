//! Names in wire form.

use bytemuck::{Pod, Zeroable};

/// Longest name in wire form (RFC 1035, section 2.3.4).
pub const NAME_LEN_MAX: usize = 255;

/// Longest label; greater lengths are pointers or mean nothing (RFC 1035, section
/// 4.1.4).
pub const LABEL_LEN_MAX: usize = 63;

/// Most labels of a name without its root: 127 of one byte.
pub const LABELS_MAX: usize = 127;

/// Where the labels before the zone start: the offset of the last one in the
/// lowest byte, of the one before it in the next, and so on for eight labels.
///
/// A count would be a number that the verifier knows exactly on each of 127
/// ways out of the loop, and so follow each to the program's end. The count is
/// in the offsets: only the first label's is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct LabelOffsets(u64);

impl LabelOffsets {
    /// The same with one more label to the right, which starts at `offset`.
    #[inline(always)]
    #[must_use]
    pub const fn push(self, offset: usize) -> Self {
        Self(self.0 << 8 | offset as u64)
    }

    /// Offset of the label that has `n` labels between itself and the zone;
    /// `n` is at most 7.
    #[inline(always)]
    pub const fn from_right(self, n: u32) -> usize {
        ((self.0 >> (8 * n)) & 0xff) as usize
    }
}

/// Lower-cases the ASCII letters among eight bytes at once. Bytes over 127 become
/// others over 127: no name of Kubernetes has any, and a zone that has is never matched.
///
/// Length bytes are at most 63 and letters start at 65, so a name in wire form
/// can be folded without looking at its structure.
#[inline(always)]
pub const fn fold(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    // Each byte of `from_a` has its highest bit from `A` on, each of `past_z` from behind
    // `Z` on; no byte carries into the next.
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let past_z = low + (0x80 - b'Z' as u64 - 1) * ONES;
    word | ((from_a ^ past_z) >> 2 & (0x20 * ONES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_letters_and_nothing_else() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [0x5a, 0x41, 0x80, 0xff, 0, 0x40, 0x5b, 0x7a];
                bytes[place] = byte;
                let folded = fold(u64::from_le_bytes(bytes)).to_le_bytes();
                for (folded, byte) in folded.into_iter().zip(bytes) {
                    if byte.is_ascii() {
                        assert_eq!(folded, byte.to_ascii_lowercase(), "{byte:#x} at {place}");
                    } else {
                        assert!(!folded.is_ascii(), "{byte:#x} at {place}");
                    }
                }
            }
        }
    }

    #[test]
    fn labels_are_counted_from_the_right() {
        let labels = LabelOffsets::default().push(0).push(4).push(9);
        assert_eq!([0, 1, 2].map(|n| labels.from_right(n)), [9, 4, 0]);
    }
}
