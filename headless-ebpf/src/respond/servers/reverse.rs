//! Reverse names: from `22.0.0.10.in-addr.arpa` to `web-0.nginx.default.svc.<zone>`.
//!
//! Only what is there is answered: who else may have an address, userspace knows.
//! The table of addresses ([`crate::abi::map::REVERSE`]) says in which Service to
//! look, and a name is believed once its own record has the address. The rules are
//! those of CoreDNS's `reverse.go`.

use bytemuck::{Pod, Zeroable};

use super::{DetailsAt, Servers, walk::Written};
use crate::{
    abi::{
        CHUNK_BYTES, ChunkKey, ChunkKind, Config, DETAILS_HEADER_LEN, DetailsHeader, NameFlags,
        NameRecord, PassReason, REVERSE_SLOTS, ReverseAddress, ReverseSlot,
    },
    lookup::Lookup,
    opaque,
    respond::{Scratch, addresses::load, find, reply::Body},
    wire::{
        AddressBytes, DNS_HEADER_LEN, Edns, Image, KeyBytes, Labels, NAME_LEN_MAX, WINDOW, fold,
        put_dashed, qtype,
    },
};

/// `\3ip6\4arpa` and the root, behind 32 labels of one digit.
const IP6_ARPA: (u64, u16) = (
    u64::from_le_bytes(*b"\x03ip6\x04arp"),
    u16::from_le_bytes(*b"a\0"),
);

/// Digits of an IPv6 address.
const NIBBLES: usize = 32;

/// `\7in-addr\4arpa` and the root, behind four labels.
const IN_ADDR_ARPA: (u64, u64) = (
    u64::from_le_bytes(*b"\x07in-addr"),
    u64::from_le_bytes(*b"\x04arpa\0\0\0"),
);

/// Bytes of the latter's second part.
const ARPA_LEN: usize = 6;

/// Numbers of an IPv4 address.
const OCTETS: usize = 4;

/// `\3svc`.
const SVC: u32 = u32::from_le_bytes(*b"\x03svc");

/// Bytes of a PTR record before its name: a pointer to the question's, type, class,
/// TTL, length.
const HEADER_LEN: usize = 12;

/// Most bytes of a label with its length.
const LABEL_MAX: usize = 64;

/// Most steps of a search for an endpoint by its address. Beyond, userspace answers.
const STEPS_MAX: usize = 192;

/// What is known of the address that is asked about.
///
/// In memory for the same reason as [`crate::wire::Question`].
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Reverse {
    address: ReverseAddress,
    /// What the table says.
    slot: ReverseSlot,
    /// Bytes of the name in the question.
    at: u32,
    /// Not zero where it is not an address's.
    wrong: u32,
    /// Bytes of the Service's relative name.
    name_len: u32,
    /// The number of the Service's set, zero where its endpoints are not to be looked
    /// at.
    set: u32,
}

/// Answers the query in the image whose name is not in the zone, if it is a reverse
/// name: then the record is written, and [`Scratch::question`] as the reply needs it.
#[inline(always)]
pub(in crate::respond) fn answer<L: Lookup>(
    scratch: &mut Scratch,
    lookup: &L,
) -> Result<(), PassReason> {
    let Scratch {
        image,
        question,
        key,
        record,
        servers,
        addresses,
        ..
    } = scratch;
    let Some(config) = lookup.config() else {
        return Err(PassReason::Map);
    };
    let asked = *opaque::memory(&mut servers.asked);
    let start = asked.start as usize;
    let name = start + DNS_HEADER_LEN;
    if !servers.reverse.read_ipv6(image, name) && !servers.reverse.read_ipv4(image, name) {
        return Err(PassReason::OutsideZone);
    }
    let name_len = opaque::memory(&mut servers.reverse).at;
    let after = name + name_len as usize;
    if image.be16_at(after) != qtype::PTR {
        return Err(PassReason::OutsideZone);
    }
    // One by one: zeroes all at once would be a call of `memset`, see `record_of`.
    question.name_len = name_len;
    question.zone = 0;
    question.labels = Labels::default();
    question.qtype = qtype::PTR;
    question.edns = Edns::absent();
    // Whether it is as it should be has been looked at.
    let has_additional = image.u8_at(start + DNS_HEADER_LEN - 1) != 0;
    if has_additional && let Some(edns) = Edns::parse(image, after + 4) {
        question.edns = edns;
    }
    servers.reverse.find(config, addresses, lookup)?;
    let limits = Body::new(start, opaque::memory(question), asked.room as usize).limits();
    servers.walk.limits = limits;
    servers.walk.ttl = config.ttl;
    servers.put_owner(addresses, config, lookup)?;

    // The Service itself, the endpoint that has the address for its name, or another.
    let seed = config.seal_seed;
    servers.walk.label_len = 0;
    if !servers.is_proven(image, key, record, seed, lookup)? {
        servers.reverse.set = DetailsAt::endpoints(record).existing();
        let address = servers.reverse.address.ipv4_word();
        let mut proven = false;
        if let Some(address) = address {
            servers.walk.label_len = put_dashed(&mut servers.label, address) as u32;
            proven = servers.is_proven(image, key, record, seed, lookup)?;
        }
        if !proven {
            servers.search(addresses, seed, lookup)?;
            proven = servers.is_proven(image, key, record, seed, lookup)?;
        }
        if !proven {
            return Err(PassReason::Userspace);
        }
    }
    servers.put_pointer(image)
}

impl Reverse {
    /// Whether the name at `name` is an IPv6 address's, which then is in
    /// [`Self::address`]: each digit a label, the last one first (RFC 3596, section
    /// 2.5).
    #[inline(always)]
    fn read_ipv6(&mut self, image: &Image, name: usize) -> bool {
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
        self.address = ReverseAddress {
            first: first.to_be(),
            last: last.to_be(),
        };
        self.at = (2 * NIBBLES + 10) as u32;
        // An IPv4 address mapped into IPv6 is that IPv4 address to CoreDNS: rare
        // enough for userspace.
        wrong == 0 && self.address.ipv4_word().is_none()
    }

    /// The same for an IPv4 address: four decimal numbers, the last one first (RFC
    /// 1035, section 3.5), without leading zeroes.
    #[inline(always)]
    fn read_ipv4(&mut self, image: &Image, name: usize) -> bool {
        const ZEROES: u32 = u32::from_le_bytes(*b"000\0");
        (self.at, self.wrong) = (0, 0);
        let mut address = 0;
        for _ in 0..OCTETS {
            let label = name + opaque::memory(&mut *self).at as usize;
            let len = u32::from(image.u8_at(label));
            // Three digits, zeroes before those that are there.
            let missing = 3_u32.wrapping_sub(len) & 3;
            let zeroes = ZEROES & ((1 << (8 * missing)) - 1);
            let digits = (image.u32_at(label + 1) << (8 * missing) & 0xff_ffff | zeroes) ^ ZEROES;
            let value = (digits & 0xff) * 100 + (digits >> 8 & 0xff) * 10 + (digits >> 16);
            // Each digit at most 9, the number at most 255.
            let not_digits = (digits | digits.wrapping_add(0x76_7676)) & 0x80_8080;
            let shortest = 1 + u32::from(value > 9) + u32::from(value > 99);
            let wrong = not_digits | value & !0xff | len ^ shortest;
            address = address << 8 | value & 0xff;
            let read = opaque::memory(&mut *self);
            read.wrong |= wrong;
            read.at += 1 + (len & 3);
        }
        let end = name + opaque::memory(&mut *self).at as usize;
        let suffix = (
            fold(image.u64_at(end)),
            fold(image.u64_at(end + 8)) & WINDOW.first(ARPA_LEN, 0),
        );
        let wrong = (suffix.0 ^ IN_ADDR_ARPA.0) | (suffix.1 ^ IN_ADDR_ARPA.1);
        // The number that was read last comes first.
        self.address = ReverseAddress::from_ipv4_word(u32::to_be(address.swap_bytes()));
        let read = opaque::memory(&mut *self);
        read.at += 8 + ARPA_LEN as u32;
        wrong == 0 && read.wrong == 0
    }

    /// Looks for the address in the table.
    #[inline(always)]
    fn find<L: Lookup>(
        &mut self,
        config: &Config,
        bucket: &mut AddressBytes,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let address = opaque::memory(&mut *self).address;
        let buckets = config.reverse_buckets;
        if buckets == 0 || !lookup.reverse(address.bucket(buckets), bucket) {
            return Err(PassReason::OutsideZone);
        }
        self.slot = ReverseSlot::default();
        for i in 0..REVERSE_SLOTS {
            let slot = ReverseSlot(bucket.u64_at(i * 8));
            if slot.is_of(address) {
                opaque::memory(&mut *self).slot = slot;
            }
        }
        if opaque::memory(self).slot.is_empty() {
            Err(PassReason::OutsideZone)
        } else {
            Ok(())
        }
    }

    /// Whether the record holds the address itself.
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
        let ReverseAddress { first, last } = self.address;
        let behind_ipv4 = record.ipv4 == 1
            && first == words[1] >> 32 | words[2] << 32
            && last == words[2] >> 32 | words[3] << 32;
        let alone = record.ipv4 == 0 && first == words[1] && last == words[2];
        record.ipv6 == 1 && (behind_ipv4 || alone)
    }
}

impl Servers {
    /// Makes the suffix of the Service that the slot names: its relative name,
    /// `\3svc` and the zone as it is configured.
    #[inline(always)]
    fn put_owner<L: Lookup>(
        &mut self,
        chunk: &mut AddressBytes,
        config: &Config,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let service = opaque::memory(&mut self.reverse).slot.service();
        let key = ChunkKey::new(service, ChunkKind::Name, 0);
        if load(key, config.seal_seed, chunk, lookup).is_err() {
            return Err(PassReason::Userspace);
        }
        let name_len = u32::from(chunk.u8_at(0));
        let suffix_len = name_len + 4 + config.zone_len;
        if suffix_len as usize > NAME_LEN_MAX {
            return Err(PassReason::Userspace);
        }
        self.reverse.name_len = name_len;
        self.walk.suffix_len = suffix_len;
        for i in 0..CHUNK_BYTES / 16 {
            self.suffix.put_u128(i * 16, chunk.u128_at(1 + i * 16));
        }
        let svc_at = opaque::memory(&mut self.reverse).name_len as usize;
        self.suffix.put_u32(svc_at, SVC);
        for (i, word) in config.zone.iter().enumerate() {
            if i * 8 >= config.zone_len as usize {
                break;
            }
            self.suffix.put_u64(svc_at + 4 + i * 8, *word);
        }
        Ok(())
    }

    /// Whether the name of label and suffix, which is written to where the record's
    /// name goes, exists and holds the address. Its record is then in `record`, or
    /// else what was found.
    #[inline(always)]
    fn is_proven<L: Lookup>(
        &mut self,
        image: &mut Image,
        key: &mut KeyBytes,
        record: &mut NameRecord,
        seed: u64,
        lookup: &L,
    ) -> Result<bool, PassReason> {
        let walk = opaque::memory(&mut self.walk);
        let (name, label_len) = (
            walk.limits.at as usize + HEADER_LEN,
            walk.label_len as usize,
        );
        for i in 0..LABEL_MAX / 16 {
            image.put_u128(name + i * 16, self.label.u128_at(i * 16));
        }
        for i in 0..NAME_LEN_MAX.div_ceil(16) {
            image.put_u128(name + label_len + i * 16, self.suffix.u128_at(i * 16));
        }
        let end = label_len + opaque::memory(&mut self.reverse).name_len as usize;
        *record = find::record_of(image, name, end, key, seed, lookup)?;
        let record = opaque::memory(record);
        // A record of zeroes holds nothing.
        let apart = NameFlags::PASS
            .with(NameFlags::REPEATED)
            .with(NameFlags::SET);
        let is_own = record.flags.contains(NameFlags::CLUSTER_IP);
        let is_service = label_len == 0;
        Ok(record.flags.0 & apart.0 == 0
            && is_own == is_service
            && opaque::memory(&mut self.reverse).is_in(record))
    }

    /// Looks through the Service's endpoints for the label of the one that has the
    /// address.
    #[inline(always)]
    fn search<L: Lookup>(
        &mut self,
        chunk: &mut AddressBytes,
        seed: u64,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let set = opaque::memory(&mut self.reverse).set;
        if set == 0 {
            return Err(PassReason::Userspace);
        }
        self.walk.set = set;
        self.walk.kind = ChunkKind::Endpoints as u32;
        self.walk.chunk = 0;
        load(self.walk.key(), seed, chunk, lookup)?;
        let header = DetailsHeader::from_word(chunk.u64_at(0));
        self.walk.first = DETAILS_HEADER_LEN as u32 + u32::from(header.ports_len);
        self.walk.targets = header.targets.into();
        self.walk.rewind();
        for _ in 0..STEPS_MAX {
            let walk = opaque::memory(&mut self.walk);
            if walk.left == 0 {
                break;
            }
            let Some(target) = walk.target(chunk) else {
                walk.next_chunk();
                load(walk.key(), seed, chunk, lookup)?;
                continue;
            };
            // Of several addresses the first of each family is looked at.
            let ReverseAddress { first, last } = opaque::memory(&mut self.reverse).address;
            let ipv4_at = target.addresses_at();
            let ipv6_at = ipv4_at + target.ipv4 * 4;
            let is_ipv4 = target.ipv4 != 0
                && ReverseAddress::from_ipv4_word(chunk.u32_at(ipv4_at))
                    == ReverseAddress { first, last };
            let is_ipv6 = target.ipv6 != 0
                && first == chunk.u64_at(ipv6_at)
                && last == chunk.u64_at(ipv6_at + 8);
            if is_ipv4 || is_ipv6 {
                self.put_label(target, chunk);
                return Ok(());
            }
            opaque::memory(&mut self.walk).skip(target);
        }
        Err(PassReason::Userspace)
    }

    /// Writes what stands before the record's name.
    #[inline(always)]
    fn put_pointer(&mut self, image: &mut Image) -> Result<(), PassReason> {
        let walk = opaque::memory(&mut self.walk);
        let name_len = (walk.label_len + walk.suffix_len) as usize;
        let out = walk.limits.at as usize;
        let end = out + HEADER_LEN + name_len;
        if name_len > NAME_LEN_MAX {
            return Err(PassReason::Userspace);
        }
        if !walk.limits.allow(end)? {
            return Err(PassReason::TooLarge);
        }
        let [t0, t1, t2, t3] = walk.ttl.to_be_bytes();
        let low = u64::from_le_bytes([0xc0, 12, 0, qtype::PTR as u8, 0, 1, t0, t1]);
        image.put_u64(out, low);
        image.put_u16(out + 8, u16::from_le_bytes([t2, t3]));
        image.put_be16(out + 10, name_len as u16);
        walk.written = Written {
            end: end as u32,
            answers: 1,
            additionals: 0,
            truncated: 0,
        };
        Ok(())
    }
}
