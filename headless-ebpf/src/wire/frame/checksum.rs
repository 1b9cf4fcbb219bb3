//! The internet checksum (RFC 1071).

use super::shape::frame_max;
use crate::wire::{bytes::Image, capacity::Capacity};

/// The sum of the bytes `from..to` of `image` as 32-bit words of the machine's byte order. The
/// byte order does not matter (RFC 1071, section 2 (B)). Sets the eight bytes at `to` to zero.
#[inline(always)]
pub(super) fn sum<C: Capacity>(image: &mut Image, from: usize, to: usize) -> u64 {
    image.put_u64(to, 0);
    let mut sum = 0_u64;
    for i in 0..frame_max::<C>().div_ceil(8) {
        if from + i * 8 >= to {
            break;
        }
        let word = image.u64_at(from + i * 8);
        // The sum of some thousand 32-bit words does not overflow.
        sum += (word & 0xffff_ffff) + (word >> 32);
    }
    sum
}

/// Folds a sum of less than 2^48 to 16 bits, by adding carries (RFC 1071, section 1).
#[inline(always)]
pub(super) const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
