//! Operations on names in wire form.

use bytemuck::{Pod, Zeroable};

/// The offsets in a name at which the last eight labels before the zone start. The lowest byte
/// holds the offset of the label next to the zone, the next byte that of the label left of it,
/// and so on.
///
/// The number of labels is not stored. The verifier would know a stored number exactly on each
/// of the 127 control-flow paths out of the loop, and would follow each path to the program's
/// end. The offsets tell the number: only the first label starts at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct LabelOffsets(u64);

impl LabelOffsets {
    /// Adds a label that starts at `offset`, right of all others.
    #[inline(always)]
    #[must_use]
    pub const fn push(self, offset: usize) -> Self {
        Self(self.0 << 8 | offset as u64)
    }

    /// The offset of the label with `n` labels between itself and the zone. `n` is at most 7.
    /// 0 where the name has no such label.
    #[inline(always)]
    pub const fn from_right(self, n: u32) -> usize {
        ((self.0 >> (8 * n)) & 0xff) as usize
    }
}

/// Folds eight bytes: turns ASCII capitals into small letters.
///
/// Length bytes are at most 63, and letters start at 65. So a name in wire form can be folded
/// without looking at its labels. Bytes over 127 become other bytes over 127, which matters to
/// nobody: names in Kubernetes have none, and a zone with such bytes never matches.
#[inline(always)]
pub const fn fold(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    // The highest bit of each byte is set in `from_a` where the byte is at least `A`, and in
    // `past_z` where the byte is greater than `Z`. No byte carries into the next byte.
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
