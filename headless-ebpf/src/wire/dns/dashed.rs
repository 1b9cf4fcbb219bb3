//! Addresses as labels: `10-0-0-22`, `fd00--1`.

use bytemuck::{Pod, Zeroable};

use super::name::fold;
use crate::{
    abi::Address,
    verifier,
    wire::bytes::{Image, LabelBytes},
};

/// Longest label that is an address: eight groups of four digits.
const LABEL_MAX: usize = 39;

/// Groups of an IPv6 address.
const GROUPS: u32 = 8;

/// The parser of dashed addresses, and its only one: IPv4 (`10-0-0-22`) and IPv6
/// (`fd00--1`).
///
/// A structure in memory that is read anew for each byte, see [`verifier`]: in registers,
/// the ways through the bytes would multiply for the verifier.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Dashed {
    /// The groups behind the two dashes, or all of them, as one number.
    tail: Groups,
    /// The groups before the two dashes.
    head: Groups,
    /// The decimal numbers before the last dash, one byte each.
    address: u32,
    /// The decimal number behind it.
    number: u32,
    /// The hexadecimal number behind it.
    group: u32,
    /// How many digits that has.
    digits: u32,
    dashes: u32,
    /// How many times two dashes are neighbours.
    gaps: u32,
    /// How many groups there are in both.
    groups: u32,
    /// How many of them are in the head.
    heads: u32,
    /// Not zero where it is no IPv4 address.
    wrong_ipv4: u32,
    /// Not zero where it is no IPv6 address.
    wrong_ipv6: u32,
}

/// Up to 128 bits.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Groups {
    high: u64,
    low: u64,
}

impl Groups {
    /// One group further left, with `group` behind.
    #[inline(always)]
    const fn push(self, group: u64) -> Self {
        Self {
            high: self.high << 16 | self.low >> 48,
            low: self.low << 16 | group,
        }
    }
}

impl Dashed {
    /// Reads the label whose length byte is at `label`. `false` where it is too long to
    /// be an address.
    #[inline(always)]
    pub fn read(&mut self, image: &Image, label: usize) -> bool {
        let len = usize::from(image.u8_at(label));
        if len > LABEL_MAX {
            return false;
        }
        *verifier::reread(&mut *self) = Self::zeroed();
        for i in 0..LABEL_MAX {
            if i >= len {
                break;
            }
            let byte = fold(u64::from(image.u8_at(label + 1 + i))) as u32;
            verifier::reread(&mut *self).take(byte, i == 0);
        }
        verifier::reread(&mut *self).end();
        true
    }

    /// The IPv4 address, four bytes in network byte order as one word of the machine's
    /// own order, whose dashed form the label is: four decimal numbers without leading
    /// zeroes, so that each address has one label.
    #[inline(always)]
    pub fn ipv4(&mut self) -> Option<u32> {
        let read = verifier::reread(self);
        if read.is_ipv4() && read.wrong_ipv4 == 0 {
            Some(read.address.to_be())
        } else {
            None
        }
    }

    /// The address that the label is of a pod.
    ///
    /// As CoreDNS reads it (`findPods`): three dashes, no two of them
    /// neighbours, stand for the dots of an IPv4 address as Go's `netip` takes it,
    /// that is without leading zeroes; else all dashes stand for the colons of an
    /// IPv6 address (RFC 4291, section 2.2). An IPv4 address mapped into IPv6 is that
    /// IPv4 address.
    #[inline(always)]
    pub fn address(&mut self) -> Option<Address> {
        let read = verifier::reread(&mut *self);
        if read.is_ipv4() {
            return self.ipv4().map(Address::from_ipv4_word);
        }
        read.join();
        let read = verifier::reread(self);
        (read.wrong_ipv6 == 0).then_some(Address {
            first: read.tail.high.to_be(),
            last: read.tail.low.to_be(),
        })
    }

    /// Whether the label would be an IPv4 address rather than an IPv6 address.
    #[inline(always)]
    const fn is_ipv4(&self) -> bool {
        self.dashes == 3 && self.gaps == 0
    }

    /// Takes in the next byte, folded.
    #[inline(always)]
    fn take(&mut self, byte: u32, is_first: bool) {
        const DASH: u32 = b'-' as u32;
        let digit = byte.wrapping_sub(u32::from(b'0'));
        let letter = byte.wrapping_sub(u32::from(b'a'));
        if byte == DASH {
            self.dashes += 1;
            self.wrong_ipv4 |= u32::from(self.digits == 0);
            if self.digits != 0 {
                self.end_number();
            } else if !is_first {
                // The second of two. A third is a gap as well.
                self.gaps += 1;
                self.head = self.tail;
                self.tail = Groups::zeroed();
                self.heads = self.groups;
            }
            self.digits = 0;
            self.number = 0;
            self.group = 0;
            return;
        }
        // A dash at the start has another one behind it.
        let alone = u32::from(self.dashes == 1) & u32::from(self.groups == 0);
        self.wrong_ipv6 |= alone & u32::from(self.digits == 0);
        if digit < 10 {
            // A zero that more digits follow.
            self.wrong_ipv4 |= u32::from(self.digits != 0) & u32::from(self.number == 0);
            self.number = (self.number * 10 + digit) & 0xffff;
            self.group = (self.group << 4 | digit) & 0xffff;
        } else {
            self.wrong_ipv4 = 1;
            self.wrong_ipv6 |= u32::from(letter >= 6);
            self.group = (self.group << 4 | (letter.wrapping_add(10) & 0xf)) & 0xffff;
        }
        self.digits += 1;
    }

    /// Appends the number behind the last dash to the numbers before it.
    #[inline(always)]
    fn end_number(&mut self) {
        self.wrong_ipv4 |= u32::from(self.digits > 3) | u32::from(self.number > 255);
        self.address = self.address << 8 | self.number & 0xff;
        self.wrong_ipv6 |= u32::from(self.digits > 4);
        self.tail = self.tail.push(u64::from(self.group));
        self.groups += 1;
    }

    /// Ends the label.
    #[inline(always)]
    fn end(&mut self) {
        if self.digits != 0 {
            self.end_number();
        } else {
            self.wrong_ipv4 = 1;
            // A dash at the end has another one before it.
            let gap_is_last = self.gaps == 1 && self.groups == self.heads;
            self.wrong_ipv6 |= u32::from(!gap_is_last);
        }
        let full = if self.gaps == 0 { GROUPS } else { GROUPS - 1 };
        let count = self.groups > full || (self.gaps == 0 && self.groups != GROUPS);
        self.wrong_ipv6 |= u32::from(count) | u32::from(self.gaps > 1);
    }

    /// Moves the head to the left of the address, and the tail to its right.
    #[inline(always)]
    fn join(&mut self) {
        for i in 0..GROUPS {
            let part = verifier::reread(&mut *self);
            if i + part.heads >= GROUPS {
                break;
            }
            part.head = part.head.push(0);
        }
        let part = verifier::reread(&mut *self);
        // Without a gap all of it is the tail, and the head is zero.
        part.tail.high |= part.head.high;
        part.tail.low |= part.head.low;
    }
}

/// The IPv4 address whose dashed form `label` is, without a length byte and in any case:
/// [`Dashed::ipv4`] for bytes in memory.
pub fn dashed_ipv4(label: &[u8]) -> Option<[u8; 4]> {
    if label.len() > LABEL_MAX {
        return None;
    }
    let mut dashed = Dashed::default();
    for (i, byte) in label.iter().enumerate() {
        dashed.take(u32::from(byte.to_ascii_lowercase()), i == 0);
    }
    dashed.end();
    dashed.ipv4().map(u32::to_ne_bytes)
}

/// The text of each octet with a dash behind it in the lower half, the number of
/// bytes of this text in the upper one.
///
/// A table rather than divisions: an octet is one read, and to the verifier all
/// octets are one way.
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

/// Writes the dashed label of an IPv4 address (four bytes in network byte order, read as
/// one word of the machine's own order), its length first. Returns how many bytes it has.
#[inline(always)]
pub fn put_dashed(label: &mut LabelBytes, address: u32) -> usize {
    let mut at = 1;
    for octet in 0..4 {
        let text = OCTETS.of(address >> (8 * octet));
        label.put_u32(at, text as u32);
        at += (text >> 32) as usize;
    }
    // The last dash is not the label's.
    label.put_u8(0, (at - 2) as u8);
    at - 1
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;

    use core::net::{IpAddr, Ipv4Addr};
    use std::{
        format,
        string::{String, ToString as _},
        vec::Vec,
    };

    use super::*;

    fn read(label: &str) -> Option<IpAddr> {
        let mut image = Image::default();
        // What follows the label does not belong to it.
        image.as_mut_slice().fill(b'1');
        image.put_u8(100, label.len() as u8);
        image.as_mut_slice()[101..][..label.len()].copy_from_slice(label.as_bytes());
        let mut dashed = Dashed::default();
        let found = dashed.read(&image, 100);
        let ipv4 = found.then(|| dashed.ipv4()).flatten();
        assert_eq!(dashed_ipv4(label.as_bytes()), ipv4.map(u32::to_ne_bytes));
        let address = found.then(|| dashed.address()).flatten().map(IpAddr::from);
        // A label is an IPv4 address's own, or an IPv6 address's that is mapped.
        let is_own = address.is_some_and(|it| it.to_string().replace('.', "-") == label);
        assert_eq!(
            ipv4.is_some(),
            is_own && label.matches('-').count() == 3,
            "{label}"
        );
        address
    }

    /// CoreDNS's own way, over text.
    fn plain(label: &str) -> Option<IpAddr> {
        let ipv4 = label.matches('-').count() == 3 && !label.contains("--");
        let text = label.replace('-', if ipv4 { "." } else { ":" });
        let address: IpAddr = text.parse().ok()?;
        Some(address.to_canonical())
    }

    #[test]
    fn reads_addresses_as_text_would() {
        let mut labels: Vec<String> = [
            "0-0-0-0",
            "255-255-255-255",
            "256-0-0-1",
            "1-2-3",
            "1-2-3-4-5",
            "01-2-3-4",
            "1-2-3-00",
            "1-2-3-1000",
            "1--3-4",
            "-1-2-3",
            "1-2-3-",
            "1-2-3-4a",
            "a-b-c-d",
            "web",
            "--1",
            "-1",
            "-1--2",
            "--",
            "fd00--1",
            "fd00--",
            "fd00-",
            "fd00-1-",
            "fd00-1--",
            "1-2-3-4-5-6-7-8",
            "1-2-3-4-5-6-7-8-9",
            "1-2-3-4-5-6-7--",
            "1-2-3-4-5-6-7-8--",
            "--1-2-3-4-5-6-7",
            "--1-2-3-4-5-6-7-8",
            "1-2-3-4--5-6-7-8",
            "1-2-3--5-6-7-8",
            "1--2--3",
            "12345--1",
            "2001-db8-0-0-0-0-0-1",
            "2001-db8-1111-2222-3333-4444-5555-6666",
            "2001-db8-1111-2222-3333-4444-5555-66666",
            "FD00--1",
            "fg00--1",
            "--ffff-102-304",
            "0-0-0-0-0-ffff-102-304",
            "--ffff-1-2-3",
            "---",
            "-",
            "----",
            "x-y-z-w",
            "_--1",
            "1-2-3-4.",
            "10-244-100-1000000",
            "0000000000000000000000000000000000000000",
        ]
        .map(String::from)
        .into();
        for octet in 0..=300 {
            labels.push(format!("10-{octet}-0-7"));
            labels.push(format!("10-0-0-{octet}"));
            labels.push(format!("{octet}-1-1-1"));
        }
        for label in &labels {
            assert_eq!(read(label), plain(label), "{label}");
        }
        assert_eq!(read("10-0-0-22"), Some(Ipv4Addr::new(10, 0, 0, 22).into()));
        assert_eq!(read("fd00--1"), Some("fd00::1".parse().unwrap()));
        assert_eq!(read("--ffff-102-304"), Some("1.2.3.4".parse().unwrap()));
    }

    /// All words of a few letters, by which every rule comes into play.
    #[test]
    fn reads_every_short_label() {
        const LETTERS: [u8; 4] = *b"-01f";
        for len in 1..=8_u32 {
            for number in 0..4_u32.pow(len) {
                let letter = |place: u32| LETTERS[(number >> (2 * place) & 3) as usize];
                let label: Vec<u8> = (0..len).map(letter).collect();
                let label = core::str::from_utf8(&label).unwrap();
                assert_eq!(read(label), plain(label), "{label}");
            }
        }
    }

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
