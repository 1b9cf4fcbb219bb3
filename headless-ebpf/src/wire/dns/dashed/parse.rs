//! Reads addresses from labels.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::Address,
    verifier,
    wire::{bytes::Image, dns::name::fold},
};

/// Bytes of the longest label that is an address: eight groups of four digits and seven
/// dashes.
const LABEL_MAX: usize = 39;

/// Groups of an IPv6 address.
const GROUPS: u32 = 8;

/// The parser of dashed addresses, IPv4 (`10-0-0-22`) and IPv6 (`fd00--1`).
///
/// The parser reads each byte once and keeps its state in memory, from which it is read
/// again for each byte (habit 1 of [`verifier`]). In registers, the control-flow paths through
/// the bytes would multiply for the verifier.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Dashed {
    /// The groups after the two adjacent dashes, as one number. All groups where no two dashes
    /// are adjacent.
    tail: Groups,
    /// The groups before the two adjacent dashes, as one number.
    head: Groups,
    /// The decimal numbers that have ended, one byte each.
    address: u32,
    /// The decimal number that has not ended.
    number: u32,
    /// The hexadecimal number that has not ended.
    group: u32,
    /// Number of digits of the number that has not ended.
    digits: u32,
    /// Number of dashes.
    dashes: u32,
    /// Number of pairs of adjacent dashes.
    gaps: u32,
    /// Number of groups in head and tail.
    groups: u32,
    /// Number of groups in the head.
    heads: u32,
    /// Not zero where the label is no IPv4 address.
    wrong_ipv4: u32,
    /// Not zero where the label is no IPv6 address.
    wrong_ipv6: u32,
}

/// Up to eight groups of an IPv6 address, 16 bits each; the last group is the lowest.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Groups {
    high: u64,
    low: u64,
}

impl Groups {
    /// Appends a group.
    #[inline(always)]
    const fn push(self, group: u64) -> Self {
        Self {
            high: self.high << 16 | self.low >> 48,
            low: self.low << 16 | group,
        }
    }
}

impl Dashed {
    /// Reads the label whose length byte is at offset `label`. Returns `false` where the label
    /// is too long to be an address.
    #[inline(always)]
    pub fn read(&mut self, image: &Image, label: usize) -> bool {
        let len = usize::from(image.u8_at(label));
        if len > LABEL_MAX {
            return false;
        }
        verifier::clear(verifier::reread(&mut *self));
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

    /// The IPv4 address whose dashed form the label is: four bytes in network byte order, read
    /// as one word of the machine's byte order. `None` where the label is none. Leading zeros
    /// are not allowed, so that each address has exactly one label.
    #[inline(always)]
    pub fn ipv4(&mut self) -> Option<u32> {
        let read = verifier::reread(self);
        if read.is_ipv4() && read.wrong_ipv4 == 0 {
            Some(read.address.to_be())
        } else {
            None
        }
    }

    /// The address for which the label stands in a pod's name.
    ///
    /// CoreDNS's rule (`findPods` in `kubernetes.go`): a label with three dashes, no two of
    /// which are adjacent, is an IPv4 address with dashes for dots. Go's `netip` reads it and
    /// refuses leading zeros. Any other label is an IPv6 address with dashes for colons (RFC
    /// 4291, section 2.2). An IPv4 address that is mapped into IPv6 counts as IPv4.
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

    /// Whether the label can only be an IPv4 address.
    #[inline(always)]
    const fn is_ipv4(&self) -> bool {
        self.dashes == 3 && self.gaps == 0
    }

    /// Reads the next byte, which is folded.
    #[inline(always)]
    fn take(&mut self, byte: u32, is_first: bool) {
        const DASH: u32 = b'-' as u32;
        let digit = byte.wrapping_sub(u32::from(b'0'));
        let letter = byte.wrapping_sub(u32::from(b'a'));
        // Masks instead of branches: the verifier checks the loop's body for each path.
        let no_digits = ones_if_zero(self.digits);
        if byte == DASH {
            self.dashes += 1;
            self.wrong_ipv4 |= no_digits;
            if self.digits != 0 {
                self.end_number();
            } else if !is_first {
                // The second of two adjacent dashes. A third counts as another pair.
                self.gaps += 1;
                self.head = self.tail;
                verifier::clear(&mut self.tail);
                self.heads = self.groups;
            }
            self.digits = 0;
            self.number = 0;
            self.group = 0;
            return;
        }
        // A dash at the start must be followed by another dash.
        self.wrong_ipv6 |= no_digits & ones_if_zero(self.dashes ^ 1) & ones_if_zero(self.groups);
        if digit < 10 {
            // A leading zero.
            self.wrong_ipv4 |= !no_digits & ones_if_zero(self.number);
            self.number = (self.number * 10 + digit) & 0xffff;
            self.group = (self.group << 4 | digit) & 0xffff;
        } else {
            self.wrong_ipv4 = 1;
            self.wrong_ipv6 |= ones_if_below(5, letter);
            self.group = (self.group << 4 | (letter.wrapping_add(10) & 0xf)) & 0xffff;
        }
        self.digits += 1;
    }

    /// Appends the number that has just ended to the address and the groups.
    #[inline(always)]
    fn end_number(&mut self) {
        self.wrong_ipv4 |= ones_if_below(3, self.digits) | ones_if_below(255, self.number);
        self.address = self.address << 8 | self.number & 0xff;
        self.wrong_ipv6 |= ones_if_below(4, self.digits);
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
            // A dash at the end must follow another dash.
            let gap_is_last = self.gaps == 1 && self.groups == self.heads;
            self.wrong_ipv6 |= u32::from(!gap_is_last);
        }
        let full = if self.gaps == 0 { GROUPS } else { GROUPS - 1 };
        let count = self.groups > full || (self.gaps == 0 && self.groups != GROUPS);
        self.wrong_ipv6 |= u32::from(count) | u32::from(self.gaps > 1);
    }

    /// Puts the head at the start of the address and the tail at its end.
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
        // Without a gap, the tail holds all groups, and the head is zero.
        part.tail.high |= part.head.high;
        part.tail.low |= part.head.low;
    }
}

/// [`verifier::ones_if_zero`] of half a word.
#[inline(always)]
fn ones_if_zero(number: u32) -> u32 {
    verifier::ones_if_zero(number) as u32
}

/// [`verifier::ones_if_below`] of half a word.
#[inline(always)]
fn ones_if_below(left: u32, right: u32) -> u32 {
    verifier::ones_if_below(left as usize, right as usize) as u32
}

/// The IPv4 address whose dashed form `label` is: [`Dashed::ipv4`] for bytes outside of an
/// image. `label` has no length byte. `None` where it is not an address.
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
        // The parser must not read the digits behind the label.
        image.as_mut_slice().fill(b'1');
        image.put_u8(100, label.len() as u8);
        image.as_mut_slice()[101..][..label.len()].copy_from_slice(label.as_bytes());
        let mut dashed = Dashed::default();
        let found = dashed.read(&image, 100);
        let ipv4 = found.then(|| dashed.ipv4()).flatten();
        assert_eq!(dashed_ipv4(label.as_bytes()), ipv4.map(u32::to_ne_bytes));
        let address = found.then(|| dashed.address()).flatten().map(IpAddr::from);
        // The IPv4 address can come from its own label or from a mapped IPv6 address.
        let is_own = address.is_some_and(|it| it.to_string().replace('.', "-") == label);
        assert_eq!(
            ipv4.is_some(),
            is_own && label.matches('-').count() == 3,
            "{label}"
        );
        address
    }

    /// The expected address, by CoreDNS's rule over text.
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

    /// All labels of up to eight letters out of four, which reach every rule.
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
}
