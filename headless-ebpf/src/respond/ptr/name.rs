//! The address in a reverse name, and its slot in [`crate::abi::map::REVERSE`].

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{Address, NameFlags, NameRecord, PassReason, REVERSE_SLOTS, ReversePlace, ReverseSlot},
    maps::Lookup,
    respond::request::Request,
    verifier,
    wire::{ChunkBytes, Image, dns::fold},
};

/// `\3ip6\4arpa` and the root, which follow 32 labels of one digit.
const IP6_ARPA: (u64, u16) = (
    u64::from_le_bytes(*b"\x03ip6\x04arp"),
    u16::from_le_bytes(*b"a\0"),
);

/// Bytes of [`IP6_ARPA`].
const IP6_ARPA_LEN: usize = 10;

/// Hexadecimal digits of an IPv6 address.
const NIBBLES: usize = 32;

/// `\7in-addr\4arpa` and the root, which follow four labels.
const IN_ADDR_ARPA: (u64, u64) = (
    u64::from_le_bytes(*b"\x07in-addr"),
    u64::from_le_bytes(*b"\x04arpa\0\0\0"),
);

/// Bytes of `\4arpa` and the root.
const ARPA_LEN: usize = 6;

/// Decimal numbers of an IPv4 address.
const OCTETS: usize = 4;

/// A reverse name, its address, and the Service to which the address leads.
///
/// The numbers are read from memory (habit 1 of [`verifier`]).
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(in crate::respond) struct ReverseName {
    pub(super) address: Address,
    /// The address's slot in [`crate::abi::map::REVERSE`].
    pub(super) slot: ReverseSlot,
    /// Not zero where the search through the Service's targets has found the address.
    pub(super) found: u64,
    /// Bytes of the question's name, root included, as far as they have been read.
    pub(super) name_len: u32,
    /// Not zero where the name stands for no IPv4 address.
    wrong: u32,
    /// Bytes of the Service's relative name.
    pub(super) service_len: u32,
    /// [`NameRecord::service`] of the Service's record; zero where the name is no Service.
    pub(super) service: u32,
}

impl ReverseName {
    /// Reads the name at offset `name` of the image as the reverse name of an IPv6 address:
    /// each digit is a label, and the last digit comes first (RFC 3596, section 2.5). Returns
    /// whether the name is one.
    #[inline(always)]
    pub(super) fn read_ipv6(&mut self, image: &Image, name: usize) -> bool {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let end = name + 2 * NIBBLES;
        let suffix = (
            fold(image.u64_at(end)),
            fold(u64::from(image.u16_at(end + 8))) as u16,
        );
        let mut wrong = (suffix.0 ^ IP6_ARPA.0) | u64::from(suffix.1 ^ IP6_ARPA.1);
        let (mut first, mut last) = (0_u64, 0_u64);
        for i in 0..NIBBLES {
            let label = fold(u64::from(image.u16_at(name + 2 * i)));
            let digit = label >> 8;
            let value = ((digit & 0xf) + 9 * (digit >> 6 & 1)) & 0xf;
            wrong |= (label & 0xff) ^ 1;
            wrong |= digit ^ u64::from(DIGITS[value as usize]);
            if i < NIBBLES / 2 {
                last |= value << (4 * i);
            } else {
                first |= value << (4 * (i - NIBBLES / 2));
            }
        }
        self.address = Address {
            first: first.to_be(),
            last: last.to_be(),
        };
        self.name_len = (2 * NIBBLES + IP6_ARPA_LEN) as u32;
        // CoreDNS takes an IPv4 address that is mapped into IPv6 for the IPv4 address. Such
        // names are rare enough to pass.
        wrong == 0 && self.address.ipv4_word().is_none()
    }

    /// Reads the name at offset `name` of the image as the reverse name of an IPv4 address:
    /// four decimal numbers without leading zeros, the last number first (RFC 1035, section
    /// 3.5). Returns whether the name is one.
    #[inline(always)]
    pub(super) fn read_ipv4(&mut self, image: &Image, name: usize) -> bool {
        const ZEROES: u32 = u32::from_le_bytes(*b"000\0");
        (self.name_len, self.wrong) = (0, 0);
        let mut address = 0;
        for _ in 0..OCTETS {
            let label = name + verifier::reread(&mut *self).name_len as usize;
            let len = u32::from(image.u8_at(label));
            // A number of one or two digits is extended to three by zeros in front.
            let missing = 3_u32.wrapping_sub(len) & 3;
            let zeroes = ZEROES & ((1 << (8 * missing)) - 1);
            let digits = (image.u32_at(label + 1) << (8 * missing) & 0xff_ffff | zeroes) ^ ZEROES;
            let value = (digits & 0xff) * 100 + (digits >> 8 & 0xff) * 10 + (digits >> 16);
            // The highest bit of a byte is set if the byte is not from 0 to 9. The number must be
            // at most 255 and have as few digits as possible.
            let not_digits = (digits | digits.wrapping_add(0x76_7676)) & 0x80_8080;
            let shortest = 1 + u32::from(value > 9) + u32::from(value > 99);
            let wrong = not_digits | value & !0xff | len ^ shortest;
            address = address << 8 | value & 0xff;
            let read = verifier::reread(&mut *self);
            read.wrong |= wrong;
            read.name_len += 1 + (len & 3);
        }
        let end = name + verifier::reread(&mut *self).name_len as usize;
        let suffix = (
            fold(image.u64_at(end)),
            fold(image.u64_at(end + 8)) & verifier::mask(ARPA_LEN, 0),
        );
        let wrong = (suffix.0 ^ IN_ADDR_ARPA.0) | (suffix.1 ^ IN_ADDR_ARPA.1);
        // The label that was read last is the first byte of the address.
        self.address = Address::from_ipv4_word(u32::to_be(address.swap_bytes()));
        let read = verifier::reread(&mut *self);
        read.name_len += 8 + ARPA_LEN as u32;
        wrong == 0 && read.wrong == 0
    }

    /// Finds the address's slot in [`crate::abi::map::REVERSE`]. [`PassReason::OutsideZone`]
    /// where the table has none. `bucket` is memory for a bucket.
    #[inline(always)]
    pub(super) fn find_slot<L: Lookup>(
        &mut self,
        bucket: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<(), PassReason> {
        let Request { config, lookup, .. } = request;
        let address = verifier::reread(&mut *self).address;
        let buckets = config.reverse_buckets;
        let place = ReversePlace::of(&config.hash_key, address, buckets);
        if buckets == 0 || !lookup.reverse(place.bucket, bucket) {
            return Err(PassReason::OutsideZone);
        }
        self.slot = ReverseSlot::default();
        for i in 0..REVERSE_SLOTS {
            let slot = ReverseSlot(bucket.u64_at(i * 8));
            if slot.is_of(place) {
                verifier::reread(&mut *self).slot = slot;
            }
        }
        if verifier::reread(self).slot.is_empty() {
            Err(PassReason::OutsideZone)
        } else {
            Ok(())
        }
    }

    /// Whether the record holds the address inline and has no flag that lets userspace answer
    /// for the name.
    #[inline(always)]
    pub(super) fn is_proven(&self, record: &NameRecord) -> bool {
        // A record of zeros, where no name was found, has no addresses and proves nothing.
        let answered_in_userspace = NameFlags::PASS
            .with(NameFlags::REPEATED)
            .with(NameFlags::SET);
        !record.flags.intersects(answered_in_userspace) && self.is_in(record)
    }

    /// Whether the address is among the inline addresses of the record.
    #[inline(always)]
    fn is_in(&self, record: &NameRecord) -> bool {
        let words: [u64; NameRecord::WORDS] = bytemuck::cast(*record);
        if let Some(address) = self.address.ipv4_word() {
            let held = [
                words[1] as u32,
                (words[1] >> 32) as u32,
                words[2] as u32,
                (words[2] >> 32) as u32,
                words[3] as u32,
            ];
            let mut found = false;
            for (i, held) in held.into_iter().enumerate() {
                found |= i < usize::from(record.ipv4) && held == address;
            }
            return found;
        }
        let Address { first, last } = self.address;
        let behind_ipv4 = record.ipv4 == 1
            && first == words[1] >> 32 | words[2] << 32
            && last == words[2] >> 32 | words[3] << 32;
        let alone = record.ipv4 == 0 && first == words[1] && last == words[2];
        record.ipv6 == 1 && (behind_ipv4 || alone)
    }
}
