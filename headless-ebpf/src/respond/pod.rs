//! The address in a pod's name: `10-0-0-22.default.pod.<zone>`.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::NameRecord,
    opaque,
    wire::{Image, fold},
};

/// Longest label that is an address: eight groups of four digits.
const LABEL_MAX: usize = 39;

/// Groups of an IPv6 address.
const GROUPS: u32 = 8;

/// What has been read of a label.
///
/// In memory and read anew for each byte, see [`super::Slot`]: in registers, the
/// ways through the bytes would multiply for the verifier.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Dashed {
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
    /// Makes the record of the pod whose label, length byte first, is at `label`;
    /// `false` where it is no address.
    ///
    /// As CoreDNS reads it (`findPods`): three dashes, no two of them
    /// neighbours, stand for the dots of an IPv4 address as Go's `netip` takes it,
    /// that is without leading zeroes; else all of them stand for the colons of an
    /// IPv6 address (RFC 4291, section 2.2).
    #[inline(always)]
    pub(super) fn read(&mut self, image: &Image, label: usize, record: &mut NameRecord) -> bool {
        let len = usize::from(image.u8_at(label));
        if len > LABEL_MAX {
            return false;
        }
        *opaque::memory(&mut *self) = Self::zeroed();
        for i in 0..LABEL_MAX {
            if i >= len {
                break;
            }
            let byte = fold(u64::from(image.u8_at(label + 1 + i))) as u32;
            opaque::memory(&mut *self).take(byte, i == 0);
        }
        opaque::memory(&mut *self).end();
        let read = opaque::memory(&mut *self);
        *record = NameRecord::zeroed();
        if read.dashes == 3 && read.gaps == 0 {
            put_ipv4(record, read.address);
            return read.wrong_ipv4 == 0;
        }
        read.join();
        let Groups { high, low } = opaque::memory(&mut *self).tail;
        if high == 0 && low >> 32 == 0xffff {
            // An IPv4 address mapped into IPv6 is that IPv4 address to CoreDNS.
            put_ipv4(record, low as u32);
        } else {
            record.ipv6 = 1;
            let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
            if let Some(inline) = record.inline.first_chunk_mut::<16>() {
                for i in 0..8 {
                    (inline[i], inline[8 + i]) = (high[i], low[i]);
                }
            }
        }
        self.wrong_ipv6 == 0
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
        // A dash at the start goes with another one.
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

    /// Takes the number behind the last dash to the others.
    #[inline(always)]
    fn end_number(&mut self) {
        self.wrong_ipv4 |= u32::from(self.digits > 3) | u32::from(self.number > 255);
        self.address = self.address << 8 | self.number & 0xff;
        self.wrong_ipv6 |= u32::from(self.digits > 4);
        self.tail = self.tail.push(u64::from(self.group));
        self.groups += 1;
    }

    /// The label is at its end.
    #[inline(always)]
    fn end(&mut self) {
        if self.digits != 0 {
            self.end_number();
        } else {
            self.wrong_ipv4 = 1;
            // A dash at the end goes with another one.
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
            let part = opaque::memory(&mut *self);
            if i + part.heads >= GROUPS {
                break;
            }
            part.head = part.head.push(0);
        }
        let part = opaque::memory(&mut *self);
        // Without a gap all of it is the tail, and the head is zero.
        part.tail.high |= part.head.high;
        part.tail.low |= part.head.low;
    }
}

#[inline(always)]
fn put_ipv4(record: &mut NameRecord, address: u32) {
    record.ipv4 = 1;
    let [a, b, c, d] = address.to_be_bytes();
    (record.inline[0], record.inline[1]) = (a, b);
    (record.inline[2], record.inline[3]) = (c, d);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;

    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::{format, string::String, vec::Vec};

    use super::*;

    fn read(label: &str) -> Option<IpAddr> {
        let mut image = Image::default();
        // What follows the label does not belong to it.
        image.as_mut_slice().fill(b'1');
        image.put_u8(100, label.len() as u8);
        image.as_mut_slice()[101..][..label.len()].copy_from_slice(label.as_bytes());
        let mut record = NameRecord::zeroed();
        let found = Dashed::default().read(&image, 100, &mut record);
        found.then(|| match (record.ipv4, record.ipv6) {
            (1, 0) => Ipv4Addr::from(*record.inline.first_chunk::<4>().unwrap()).into(),
            (0, 1) => Ipv6Addr::from(*record.inline.first_chunk::<16>().unwrap()).into(),
            other => panic!("{other:?} addresses"),
        })
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
}
