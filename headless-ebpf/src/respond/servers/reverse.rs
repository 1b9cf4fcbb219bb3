//! Reverse names: from `22.0.0.10.in-addr.arpa` to `web-0.nginx.default.svc.<zone>`.
//!
//! Only what is there is answered: who else may have an address, userspace knows.
//! The table of addresses ([`crate::abi::map::REVERSE`]) says in which Service to
//! look, and a name is believed once its own record has the address. The rules are
//! those of CoreDNS's `reverse.go`.

use bytemuck::{Pod, Zeroable};

use super::{DetailsAt, Ports, Servers, walk::Written};
use crate::{
    abi::{
        Address, CHUNK_BYTES, ChunkKind, Config, DETAILS_HEADER_LEN, DetailsHeader, EndpointEntry,
        HashKey, KeyClass, NameFlags, NameRecord, PassReason, REVERSE_SLOTS, ReversePlace,
        ReverseSlot,
    },
    maps::Lookup,
    opaque,
    respond::{Scratch, addresses::Extent, find, reply::Body},
    wire::{
        ChunkBytes, DNS_HEADER_LEN, Edns, Image, KeyBytes, Labels, NAME_LEN_MAX, WINDOW, fold,
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
    address: Address,
    /// What the table says.
    slot: ReverseSlot,
    /// Bytes of the name in the question.
    at: u32,
    /// Not zero where it is not an address's.
    wrong: u32,
    /// Bytes of the Service's relative name.
    name_len: u32,
    /// The number of the Service; zero where it does not exist.
    service: u32,
    /// The details of its endpoints.
    details: DetailsAt,
}

/// Answers the query in the image whose name is not in the zone, if it is a reverse
/// name: then the record is written, and [`Scratch::question`] as the reply needs it.
#[inline(always)]
pub(in crate::respond) fn answer<L: Lookup>(
    scratch: &mut Scratch,
    lookup: &L,
) -> Result<Ports, PassReason> {
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

    // The Service itself, a regular endpoint, or another one.
    let hash_key = &config.hash_key;
    servers.walk.label_len = 0;
    servers.write_name(image);
    if !servers.is_service(image, key, record, hash_key, lookup)? {
        let (service, address) = (
            opaque::memory(&mut servers.reverse).service,
            servers.reverse.address.ipv4_word(),
        );
        if service == 0 {
            return Err(PassReason::Userspace);
        }
        let mut proven = false;
        if let Some(address) = address {
            servers.walk.label_len = put_dashed(&mut servers.label, address) as u32;
            let entry = EndpointEntry::new(service, address);
            let buckets = entry.buckets(hash_key, config.endpoint_buckets);
            proven = lookup.endpoint(entry, buckets);
        }
        if !proven {
            servers.search(addresses, hash_key, lookup)?;
        }
        servers.write_name(image);
        if !proven && !servers.is_endpoint(image, key, record, hash_key, lookup)? {
            return Err(PassReason::Userspace);
        }
    }
    servers.put_pointer(image)?;
    Ok(Ports::Written)
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
        self.address = Address {
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
        self.address = Address::from_ipv4_word(u32::to_be(address.swap_bytes()));
        let read = opaque::memory(&mut *self);
        read.at += 8 + ARPA_LEN as u32;
        wrong == 0 && read.wrong == 0
    }

    /// Looks for the address in the table.
    #[inline(always)]
    fn find<L: Lookup>(
        &mut self,
        config: &Config,
        bucket: &mut ChunkBytes,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let address = opaque::memory(&mut *self).address;
        let buckets = config.reverse_buckets;
        let place = ReversePlace::of(&config.hash_key, address, buckets);
        if buckets == 0 || !lookup.reverse(place.bucket, bucket) {
            return Err(PassReason::OutsideZone);
        }
        self.slot = ReverseSlot::default();
        for i in 0..REVERSE_SLOTS {
            let slot = ReverseSlot(bucket.u64_at(i * 8));
            if slot.is_of(place) {
                opaque::memory(&mut *self).slot = slot;
            }
        }
        if opaque::memory(self).slot.is_empty() {
            Err(PassReason::OutsideZone)
        } else {
            Ok(())
        }
    }

    /// Whether the record holds the address itself and PTR records may say so.
    #[inline(always)]
    fn proves(&self, record: &NameRecord) -> bool {
        // A record of zeroes holds nothing.
        let apart = NameFlags::PASS
            .with(NameFlags::REPEATED)
            .with(NameFlags::SET);
        !record.flags.intersects(apart) && self.is_in(record)
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
        let Address { first, last } = self.address;
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
        chunk: &mut ChunkBytes,
        config: &Config,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let index = opaque::memory(&mut self.reverse).slot.chunk();
        let name = Extent {
            set: index,
            kind: ChunkKind::Name as u32,
            first: index,
        };
        if name.load(0, &config.hash_key, chunk, lookup).is_err() {
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

    /// Writes label and suffix to where the record's name goes.
    #[inline(always)]
    fn write_name(&mut self, image: &mut Image) {
        let name = self.name_at();
        let label_len = opaque::memory(&mut self.walk).label_len as usize;
        for i in 0..LABEL_MAX / 16 {
            image.put_u128(name + i * 16, self.label.u128_at(i * 16));
        }
        for i in 0..NAME_LEN_MAX.div_ceil(16) {
            image.put_u128(name + label_len + i * 16, self.suffix.u128_at(i * 16));
        }
    }

    /// Where the record's name goes.
    #[inline(always)]
    fn name_at(&mut self) -> usize {
        opaque::memory(&mut self.walk).limits.at as usize + HEADER_LEN
    }

    /// Whether the Service, whose name is written, exists and has the address for
    /// itself.
    #[inline(always)]
    fn is_service<L: Lookup>(
        &mut self,
        image: &Image,
        key: &mut KeyBytes,
        record: &mut NameRecord,
        hash_key: &HashKey,
        lookup: &L,
    ) -> Result<bool, PassReason> {
        let name = self.name_at();
        let len = opaque::memory(&mut self.reverse).name_len as usize;
        if !find::record_of(image, name, len, key, hash_key, record, lookup)? {
            *record = NameRecord::NOTHING;
        }
        let record = opaque::memory(record);
        let reverse = opaque::memory(&mut self.reverse);
        reverse.service = record.service;
        reverse.details = DetailsAt::endpoints(record);
        Ok(record.flags.contains(NameFlags::CLUSTER_IP) && reverse.proves(record))
    }

    /// Whether the endpoint, whose name is written, exists and has the address.
    #[inline(always)]
    fn is_endpoint<L: Lookup>(
        &mut self,
        image: &Image,
        key: &mut KeyBytes,
        record: &mut NameRecord,
        hash_key: &HashKey,
        lookup: &L,
    ) -> Result<bool, PassReason> {
        let name = self.name_at();
        let label_len = opaque::memory(&mut self.walk).label_len as usize;
        let reverse = opaque::memory(&mut self.reverse);
        let (len, service) = (label_len + reverse.name_len as usize, reverse.service);
        let exists = if len <= KeyClass::Short.bytes() {
            find::record_of(image, name, len, key, hash_key, record, lookup)?
        } else {
            find::endpoint_record(
                image, name, label_len, service, key, hash_key, record, lookup,
            )?
        };
        let record = opaque::memory(record);
        Ok(exists
            && !record.flags.contains(NameFlags::CLUSTER_IP)
            && opaque::memory(&mut self.reverse).proves(record))
    }

    /// Looks through the Service's endpoints for the label of the one that has the
    /// address.
    #[inline(always)]
    fn search<L: Lookup>(
        &mut self,
        chunk: &mut ChunkBytes,
        hash_key: &HashKey,
        lookup: &L,
    ) -> Result<(), PassReason> {
        let details = opaque::memory(&mut self.reverse).details;
        if details.exists == 0 {
            return Err(PassReason::Userspace);
        }
        self.walk.chunks = details.chunks;
        self.walk.chunk = 0;
        self.walk.load(hash_key, chunk, lookup)?;
        let header = DetailsHeader::from_word(chunk.u64_at(0));
        if header.flags & DetailsHeader::IMPLICIT != 0 {
            // Each is named by its IPv4 address: the label is there, if there is one.
            return if opaque::memory(&mut self.walk).label_len == 0 {
                Err(PassReason::Userspace)
            } else {
                Ok(())
            };
        }
        self.walk.implicit = 0;
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
                walk.load(hash_key, chunk, lookup)?;
                continue;
            };
            // Of several addresses the first of each family is looked at.
            let Address { first, last } = opaque::memory(&mut self.reverse).address;
            let ipv4_at = target.addresses_at;
            let ipv6_at = ipv4_at + target.ipv4 * 4;
            let is_ipv4 = target.ipv4 != 0
                && Address::from_ipv4_word(chunk.u32_at(ipv4_at)) == Address { first, last };
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
