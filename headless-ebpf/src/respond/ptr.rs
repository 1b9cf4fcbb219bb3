//! Reverse names: from `22.0.0.10.in-addr.arpa` to `web-0.nginx.default.svc.<zone>`.
//!
//! Only names that the maps have are answered: userspace knows who else may have an
//! address. The table of addresses ([`crate::abi::map::REVERSE`]) says in which Service to
//! look, and a name is believed once its own record has the address. The rules are
//! those of CoreDNS's `reverse.go`.

use bytemuck::{Pod, Zeroable};

use super::{
    chunks::Extent,
    find::{self, Names, Span},
    reply::{Body, Written},
    request::Request,
    shape::{SVC, SVC_LEN},
    srv::{DetailsAt, SrvMemory, Walk},
};
use crate::{
    abi::{
        Address, CHUNK_BYTES, DetailsHeader, KeyClass, NameFlags, NameRecord, PassReason,
        REVERSE_SLOTS, ReversePlace, ReverseSlot, TARGET_HEADER_LEN,
    },
    maps::Lookup,
    verifier,
    wire::{
        ChunkBytes, Image, KeyBytes,
        dns::{
            DNS_HEADER_LEN, Edns, Labels, NAME_LEN_MAX, QUESTION_FIXED_LEN, QUESTION_NAME,
            Question, RECORD_HEADER_LEN, RecordHeader, fold, put_dashed, qtype,
        },
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

/// Bytes of `\4arpa` and the root.
const ARPA_LEN: usize = 6;

/// Numbers of an IPv4 address.
const OCTETS: usize = 4;

/// Most chunks that are searched for an endpoint by its address. Userspace answers where
/// there are more. Most targets take 16 bytes, so that these are some 160 endpoints.
const CHUNKS_MAX: usize = 24;

/// Most targets in a chunk: a dashed one takes a header and an IPv4 address.
const TARGETS_MAX: usize = CHUNK_BYTES / (TARGET_HEADER_LEN + 4);

/// A reverse name, and what is known of its address.
///
/// A structure in memory, see [`verifier`].
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ReverseName {
    address: Address,
    /// The address's slot in the table.
    slot: ReverseSlot,
    /// Bytes of the name in the question.
    at: u32,
    /// Not zero where the name is not an address's.
    wrong: u32,
    /// Bytes of the Service's relative name.
    service_len: u32,
    /// Number of the Service; zero where it does not exist.
    service: u32,
}

/// A question for a reverse name, and the working memory for its answer.
pub(super) struct PtrQuestion<'a, L> {
    pub(super) request: Request<'a, L>,
    /// The question, which is filled in for the reply.
    pub(super) question: &'a mut Question,
    pub(super) image: &'a mut Image,
    /// Memory for a key.
    pub(super) key: &'a mut KeyBytes,
    /// Memory for a record.
    pub(super) record: &'a mut NameRecord,
    pub(super) reverse: &'a mut ReverseName,
    pub(super) memory: &'a mut SrvMemory,
    /// Memory for a chunk.
    pub(super) content: &'a mut ChunkBytes,
}

impl<L: Lookup> PtrQuestion<'_, L> {
    /// Answers the question, if it is for a reverse name of the cluster: then the record is
    /// written.
    #[inline(always)]
    pub(super) fn answer(&mut self) -> Result<(), PassReason> {
        self.read_question()?;
        self.reverse.find(self.content, self.request)?;
        let Request {
            start, capacity, ..
        } = self.request;
        let question = verifier::reread(self.question);
        self.memory.walk.limits = Body::new(start, question, capacity).limits();
        self.put_owner()?;
        if !self.is_service()? {
            self.find_endpoint()?;
        }
        self.put_record()
    }

    /// Reads the question.
    #[inline(always)]
    fn read_question(&mut self) -> Result<(), PassReason> {
        let start = self.request.start;
        let name = start + DNS_HEADER_LEN;
        if !self.reverse.read_ipv6(self.image, name) && !self.reverse.read_ipv4(self.image, name) {
            return Err(PassReason::OutsideZone);
        }
        let name_len = verifier::reread(self.reverse).at;
        let after = name + name_len as usize;
        if self.image.be16_at(after) != qtype::PTR {
            return Err(PassReason::OutsideZone);
        }
        // One by one: zeroes all at once would be a call of `memset`.
        self.question.name_len = name_len;
        self.question.zone = 0;
        self.question.labels = Labels::default();
        self.question.qtype = qtype::PTR;
        self.question.edns = Edns::absent();
        // `why_not` has made sure that the rest of the message is an OPT record or nothing.
        let has_additional = self.image.u8_at(start + DNS_HEADER_LEN - 1) != 0;
        if has_additional && let Some(edns) = Edns::parse(self.image, after + QUESTION_FIXED_LEN) {
            self.question.edns = edns;
        }
        Ok(())
    }

    /// Makes the suffix of the Service that the slot names: its relative name,
    /// `\3svc` and the zone as it is configured.
    #[inline(always)]
    fn put_owner(&mut self) -> Result<(), PassReason> {
        let Request { config, lookup, .. } = self.request;
        let chunk = verifier::reread(self.reverse).slot.chunk();
        let name = Extent::name(chunk);
        if name
            .load(0, &config.hash_key, self.content, lookup)
            .is_err()
        {
            return Err(PassReason::Userspace);
        }
        let service_len = u32::from(self.content.u8_at(0));
        let suffix_len = service_len + SVC_LEN as u32 + config.zone_len;
        if suffix_len as usize > NAME_LEN_MAX {
            return Err(PassReason::Userspace);
        }
        self.reverse.service_len = service_len;
        self.memory.walk.suffix_len = suffix_len;
        let suffix = &mut self.memory.suffix;
        for i in 0..CHUNK_BYTES / 16 {
            suffix.put_u128(i * 16, self.content.u128_at(1 + i * 16));
        }
        let svc_at = verifier::reread(self.reverse).service_len as usize;
        suffix.put_u32(svc_at, SVC);
        for (i, word) in config.zone.iter().enumerate() {
            if i * 8 >= config.zone_len as usize {
                break;
            }
            suffix.put_u64(svc_at + SVC_LEN + i * 8, *word);
        }
        Ok(())
    }

    /// Whether the Service exists and has the address for itself.
    #[inline(always)]
    fn is_service(&mut self) -> Result<bool, PassReason> {
        self.memory.walk.label_len = 0;
        let name = Span {
            at: self.put_name(),
            len: verifier::reread(self.reverse).service_len as usize,
        };
        // A name chunk has no room for names of class Long.
        if KeyClass::of_len(name.len) == KeyClass::Long {
            return Err(PassReason::Userspace);
        }
        let (mut names, record) = self.names();
        if !names.look_up_inline(name, record)? {
            return Err(PassReason::Userspace);
        }
        let record = verifier::reread(self.record);
        self.reverse.service = record.service;
        self.memory.details = DetailsAt::endpoints(record);
        Ok(record.flags.contains(NameFlags::CLUSTER_IP) && self.reverse.is_proven(record))
    }

    /// Finds the endpoint of the Service that has the address: a regular one, or one whose
    /// label is among the Service's details.
    #[inline(always)]
    fn find_endpoint(&mut self) -> Result<(), PassReason> {
        let service = verifier::reread(self.reverse).service;
        if service == 0 {
            return Err(PassReason::Userspace);
        }
        let mut is_regular = false;
        if let Some(address) = self.reverse.address.ipv4_word() {
            let label_len = put_dashed(&mut self.memory.label, address);
            self.memory.walk.label_len = label_len as u32;
            is_regular = find::is_regular(self.request, service, address);
        }
        if !is_regular {
            self.search()?;
        }
        let at = self.put_name();
        if is_regular || self.is_endpoint(at)? {
            Ok(())
        } else {
            Err(PassReason::Userspace)
        }
    }

    /// Whether the endpoint whose name is at `at` exists and has the address.
    #[inline(always)]
    fn is_endpoint(&mut self, at: usize) -> Result<bool, PassReason> {
        let label_len = verifier::reread(&mut self.memory.walk).label_len as usize;
        let reverse = verifier::reread(self.reverse);
        let (len, service) = (label_len + reverse.service_len as usize, reverse.service);
        let (mut names, record) = self.names();
        let exists = if len <= KeyClass::Short.bytes() {
            names.look_up_short(Span { at, len }, record)?
        } else {
            let label = Span { at, len: label_len };
            names.look_up_endpoint(label, service, record)?
        };
        let record = verifier::reread(self.record);
        Ok(exists
            && !record.flags.contains(NameFlags::CLUSTER_IP)
            && verifier::reread(self.reverse).is_proven(record))
    }

    /// Looks through the Service's endpoints for the label of the one that has the
    /// address.
    #[inline(always)]
    fn search(&mut self) -> Result<(), PassReason> {
        if !verifier::reread(&mut self.memory.details).exists() {
            return Err(PassReason::Userspace);
        }
        let header = self.memory.open(self.content, self.request)?;
        if header.flags & DetailsHeader::IMPLICIT != 0 {
            // Each endpoint is named by its IPv4 address, if it has one.
            return if verifier::reread(&mut self.memory.walk).label_len == 0 {
                Err(PassReason::Userspace)
            } else {
                Ok(())
            };
        }
        self.memory.walk.rewind();
        for _ in 0..CHUNKS_MAX {
            if self.search_chunk()? {
                return Ok(());
            }
            let walk = verifier::reread(&mut self.memory.walk);
            walk.next_chunk();
            walk.load(self.content, self.request)?;
        }
        Err(PassReason::Userspace)
    }

    /// Looks through the targets in the chunk that is loaded. Whether one of them has the
    /// address. An error where there are no more targets.
    #[inline(always)]
    fn search_chunk(&mut self) -> Result<bool, PassReason> {
        for _ in 0..TARGETS_MAX {
            let walk = verifier::reread(&mut self.memory.walk);
            if walk.left == 0 {
                return Err(PassReason::Userspace);
            }
            let Some(target) = walk.target(self.content) else {
                break;
            };
            // Of several addresses the first of each family is looked at.
            let address = verifier::reread(self.reverse).address;
            let ipv4_at = target.addresses_at;
            let ipv6_at = ipv4_at + target.ipv4 * 4;
            let is_ipv4 = target.ipv4 != 0
                && Address::from_ipv4_word(self.content.u32_at(ipv4_at)) == address;
            let is_ipv6 = target.ipv6 != 0
                && address.first == self.content.u64_at(ipv6_at)
                && address.last == self.content.u64_at(ipv6_at + 8);
            if is_ipv4 || is_ipv6 {
                self.memory.put_label(target, self.content);
                return Ok(true);
            }
            verifier::reread(&mut self.memory.walk).skip(target);
        }
        Ok(false)
    }

    /// Writes label and suffix to where the record's name goes. Returns where that is.
    #[inline(always)]
    fn put_name(&mut self) -> usize {
        let walk = verifier::reread(&mut self.memory.walk);
        let at = walk.limits.at as usize + RECORD_HEADER_LEN;
        self.memory.put_name(self.image, at);
        at
    }

    /// Names in the image, and the record that look-ups write.
    #[inline(always)]
    fn names(&mut self) -> (Names<'_, L>, &mut NameRecord) {
        let Request { config, lookup, .. } = self.request;
        let names = Names {
            image: self.image,
            key: self.key,
            config,
            lookup,
        };
        (names, self.record)
    }

    /// Writes the record before its name.
    #[inline(always)]
    fn put_record(&mut self) -> Result<(), PassReason> {
        let walk: &mut Walk = verifier::reread(&mut self.memory.walk);
        let name_len = (walk.label_len + walk.suffix_len) as usize;
        let at = walk.limits.at as usize;
        let end = at + RECORD_HEADER_LEN + name_len;
        if name_len > NAME_LEN_MAX {
            return Err(PassReason::Userspace);
        }
        if !walk.limits.allow(end)? {
            return Err(PassReason::TooLarge);
        }
        let ttl = self.request.config.ttl;
        RecordHeader::new(QUESTION_NAME, qtype::PTR, ttl, name_len as u16).put(self.image, at);
        walk.written = Written {
            end: end as u32,
            answers: 1,
            additionals: 0,
            truncated: 0,
        };
        Ok(())
    }
}

impl ReverseName {
    /// Reads the name at `name` as an IPv6 address's: each digit a label, the last one
    /// first (RFC 3596, section 2.5). Whether it is one.
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

    /// Reads the name at `name` as an IPv4 address's: four decimal numbers, the last one
    /// first (RFC 1035, section 3.5), without leading zeroes. Whether it is one.
    #[inline(always)]
    fn read_ipv4(&mut self, image: &Image, name: usize) -> bool {
        const ZEROES: u32 = u32::from_le_bytes(*b"000\0");
        (self.at, self.wrong) = (0, 0);
        let mut address = 0;
        for _ in 0..OCTETS {
            let label = name + verifier::reread(&mut *self).at as usize;
            let len = u32::from(image.u8_at(label));
            // Three digits, with zeroes before a shorter number.
            let missing = 3_u32.wrapping_sub(len) & 3;
            let zeroes = ZEROES & ((1 << (8 * missing)) - 1);
            let digits = (image.u32_at(label + 1) << (8 * missing) & 0xff_ffff | zeroes) ^ ZEROES;
            let value = (digits & 0xff) * 100 + (digits >> 8 & 0xff) * 10 + (digits >> 16);
            // Each digit at most 9, the number at most 255.
            let not_digits = (digits | digits.wrapping_add(0x76_7676)) & 0x80_8080;
            let shortest = 1 + u32::from(value > 9) + u32::from(value > 99);
            let wrong = not_digits | value & !0xff | len ^ shortest;
            address = address << 8 | value & 0xff;
            let read = verifier::reread(&mut *self);
            read.wrong |= wrong;
            read.at += 1 + (len & 3);
        }
        let end = name + verifier::reread(&mut *self).at as usize;
        let suffix = (
            fold(image.u64_at(end)),
            fold(image.u64_at(end + 8)) & verifier::mask(ARPA_LEN, 0),
        );
        let wrong = (suffix.0 ^ IN_ADDR_ARPA.0) | (suffix.1 ^ IN_ADDR_ARPA.1);
        // The number that was read last comes first.
        self.address = Address::from_ipv4_word(u32::to_be(address.swap_bytes()));
        let read = verifier::reread(&mut *self);
        read.at += 8 + ARPA_LEN as u32;
        wrong == 0 && read.wrong == 0
    }

    /// Finds the address's slot in the table.
    #[inline(always)]
    fn find<L: Lookup>(
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

    /// Whether the record holds the address itself, and PTR records may say so.
    #[inline(always)]
    fn is_proven(&self, record: &NameRecord) -> bool {
        // A record of zeroes holds nothing.
        let elsewhere = NameFlags::PASS
            .with(NameFlags::REPEATED)
            .with(NameFlags::SET);
        !record.flags.intersects(elsewhere) && self.is_in(record)
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
