//! Writes IPv4 addresses as labels.

use crate::wire::bytes::LabelBytes;

/// For each octet its decimal text followed by a dash, in the lower half, and the number of
/// bytes of this text, in the upper half.
///
/// A table instead of divisions: each octet costs one load, and the verifier sees one
/// control-flow path for all octets.
#[derive(Debug)]
struct Octets([u64; 256]);

static OCTETS: Octets = Octets::new();

impl Octets {
    const fn new() -> Self {
        let mut texts = [0; 256];
        let mut octet = 0;
        while octet < 256 {
            let (hundreds, tens, ones) = (octet / 100, octet / 10 % 10, octet % 10);
            let (h, t, o) = (
                b'0' as u64 + hundreds,
                b'0' as u64 + tens,
                b'0' as u64 + ones,
            );
            let dash = b'-' as u64;
            texts[octet as usize] = if octet > 99 {
                h | t << 8 | o << 16 | dash << 24 | 4 << 32
            } else if octet > 9 {
                t | o << 8 | dash << 16 | 3 << 32
            } else {
                o | dash << 8 | 2 << 32
            };
            octet += 1;
        }
        Self(texts)
    }

    #[inline(always)]
    const fn of(&self, octet: u32) -> u64 {
        self.0[(octet & 0xff) as usize]
    }
}

/// Writes the dashed label of an IPv4 address with its length byte. `address` is four bytes in
/// network byte order, read as one word of the machine's byte order. Returns the number of
/// bytes written.
#[inline(always)]
pub fn put_dashed(label: &mut LabelBytes, address: u32) -> usize {
    let mut at = 1;
    for octet in 0..4 {
        let text = OCTETS.of(address >> (8 * octet));
        label.put_u32(at, text as u32);
        at += (text >> 32) as usize;
    }
    // The dash after the last octet does not belong to the label.
    label.put_u8(0, (at - 2) as u8);
    at - 1
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::Ipv4Addr;
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn octets_are_decimal_numbers_without_leading_zeroes() {
        for octet in 0..=u8::MAX {
            for octets in [[octet, 0, 0, 1], [10, octet, 99, 100], [255, 1, 2, octet]] {
                let text = Ipv4Addr::from(octets).to_string().replace('.', "-");
                let mut label = LabelBytes::default();
                let len = put_dashed(&mut label, u32::from_ne_bytes(octets));
                assert_eq!(len, 1 + text.len());
                assert_eq!(usize::from(label.u8_at(0)), text.len());
                assert_eq!(&label.as_slice()[1..len], text.as_bytes());
            }
        }
    }
}
