//! The address in a pod's name: `10-0-0-22.default.pod.<zone>`.

use core::hint::black_box;

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{NameRecord, PassReason},
    wire::{Image, fold},
};

/// Longest label that is an IPv4 address: `255-255-255-255`.
const IPV4_LABEL_MAX: usize = 15;

/// What has been read of a label.
///
/// In memory and read anew for each byte, see [`super::Slot`]: in registers, the
/// ways through the bytes would multiply for the verifier.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Dashed {
    /// The numbers before the last dash, one byte each.
    address: u32,
    /// The number behind it.
    number: u32,
    /// How many digits that has.
    digits: u32,
    dashes: u32,
    /// Not zero where it is no IPv4 address, whatever follows.
    wrong: u32,
    /// Not zero where it is no IPv6 address either.
    alien: u32,
    /// Not zero where two dashes are neighbours.
    gap: u32,
}

impl Dashed {
    /// Makes the record of the pod whose label, length byte first, is at `label`.
    /// `false` where it is no address, an error where it may be one of IPv6,
    /// which is read in userspace.
    ///
    /// As CoreDNS reads it (`findPods`): three dashes, no two of them
    /// neighbours, stand for the dots of an IPv4 address as Go's `netip` takes it,
    /// that is without leading zeroes; else all of them stand for colons.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        image: &Image,
        label: usize,
        record: &mut NameRecord,
    ) -> Result<bool, PassReason> {
        let len = usize::from(image.u8_at(label));
        *self = Self::zeroed();
        for i in 0..=IPV4_LABEL_MAX {
            if i >= len {
                break;
            }
            let byte = fold(u64::from(image.u8_at(label + 1 + i))) as u32;
            black_box(&mut *self).take(byte);
        }
        let read = *black_box(&mut *self);
        if read.alien != 0 {
            return Ok(false);
        }
        let end = read.ended();
        if len > IPV4_LABEL_MAX || end.dashes != 3 || end.gap != 0 {
            // Fewer than two colons make no IPv6 address.
            return if len <= IPV4_LABEL_MAX && end.dashes < 2 {
                Ok(false)
            } else {
                Err(PassReason::Userspace)
            };
        }
        if end.wrong != 0 {
            return Ok(false);
        }
        *record = NameRecord::zeroed();
        record.ipv4 = 1;
        let [a, b, c, d] = end.address.to_be_bytes();
        (record.inline[0], record.inline[1]) = (a, b);
        (record.inline[2], record.inline[3]) = (c, d);
        Ok(true)
    }

    /// Takes in the next byte, folded.
    #[inline(always)]
    fn take(&mut self, byte: u32) {
        const DASH: u32 = b'-' as u32;
        let digit = byte.wrapping_sub(u32::from(b'0'));
        if byte == DASH {
            let neighbours = u32::from(self.digits == 0);
            *self = self.ended();
            self.gap |= neighbours;
            self.dashes += 1;
            self.digits = 0;
            self.number = 0;
        } else if digit < 10 {
            // A zero that more digits follow.
            self.wrong |= u32::from(self.digits != 0 && self.number == 0);
            self.number = (self.number * 10 + digit) & 0xffff;
            self.digits += 1;
        } else {
            let letter = byte.wrapping_sub(u32::from(b'a'));
            self.alien |= u32::from(letter >= 6);
            self.wrong = 1;
            // Not empty, which is all that counts.
            self.digits += 1;
        }
    }

    /// The same with the number behind the last dash in the address.
    #[inline(always)]
    fn ended(mut self) -> Self {
        self.wrong |= u32::from(self.digits == 0 || self.digits > 3 || self.number > 255);
        self.address = self.address << 8 | self.number & 0xff;
        self
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;

    use core::net::{IpAddr, Ipv4Addr};
    use std::{format, string::String};

    use super::*;

    /// What the label is: an address, nothing, or a matter for userspace.
    fn read(label: &str) -> Result<Option<Ipv4Addr>, PassReason> {
        let mut image = Image::default();
        // What follows the label does not belong to it.
        image.as_mut_slice().fill(b'1');
        image.put_u8(100, label.len() as u8);
        image.as_mut_slice()[101..][..label.len()].copy_from_slice(label.as_bytes());
        let record = Dashed::default().record(&image, 100)?;
        Ok(record.map(|record| {
            assert_eq!((record.ipv4, record.ipv6), (1, 0));
            let octets: [u8; 4] = record.inline[..4].try_into().unwrap();
            Ipv4Addr::from(octets)
        }))
    }

    /// CoreDNS's own way, over text.
    fn plain(label: &str) -> Option<IpAddr> {
        let ipv4 = label.matches('-').count() == 3 && !label.contains("--");
        let text = label.replace('-', if ipv4 { "." } else { ":" });
        text.parse().ok()
    }

    #[test]
    fn reads_addresses_as_text_would() {
        let mut labels: std::vec::Vec<String> = [
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
            "fd00--1",
            "2001-db8-0-0-0-0-0-1",
            "2001-db8-1111-2222-3333-4444-5555-6666",
            "FD00--1",
            "---",
            "-",
            "x-y-z-w",
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
            let want = plain(label);
            match read(label) {
                Ok(found) => assert_eq!(found.map(IpAddr::V4), want, "{label}"),
                // Only what an IPv6 address could be.
                Err(reason) => {
                    assert_eq!(reason, PassReason::Userspace);
                    assert!(!want.is_some_and(|it| it.is_ipv4()), "{label}");
                }
            }
        }
        assert_eq!(
            read("10-0-0-22").unwrap(),
            Some(Ipv4Addr::new(10, 0, 0, 22))
        );
        assert_eq!(read("fd00--1").unwrap_err(), PassReason::Userspace);
    }
}
