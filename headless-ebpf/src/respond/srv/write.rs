//! Writes SRV records and the address records of their targets.

use super::{
    memory::SrvMemory,
    walk::{SKIPS_MAX, Target, Walk},
};
use crate::{
    abi::PassReason,
    maps::Lookup,
    respond::{
        reply::{Limits, Written},
        request::Request,
    },
    verifier,
    wire::{
        Capacity, ChunkBytes, Image,
        dns::{
            DNS_HEADER_LEN, QUESTION_NAME, Question, RECORD_HEADER_LEN, RecordHeader, fold,
            pointer, put_dashed, qtype,
        },
    },
};

/// Bytes of an SRV record's RDATA before its target: priority, weight, port (RFC 2782).
const SRV_DATA_LEN: usize = 6;

/// Most steps of a walk over targets. A step is a record, a port that a target does not have, or
/// a change of chunks. Where more steps are needed, the question passes as
/// [`PassReason::TooLarge`].
///
/// A target has at least the bytes of `a.b.svc.z.`, so that a reply of 512 bytes hardly ever
/// needs more steps. Larger replies may.
const fn steps_max<C: Capacity>() -> usize {
    let steps = C::MESSAGE_MAX / 12;
    if steps < 64 { steps } else { 64 }
}

/// Bytes of the longest label with its length.
const LABEL_BYTES: usize = 64;

/// Bytes of the longest dashed label of an IPv4 address with its length.
const DASHED_BYTES: usize = 16;

/// Words of eight bytes of the longest name.
const NAME_WORDS: usize = 32;

/// The sum of the weights of all SRV records in a reply. Each weight is at least 1 (CoreDNS,
/// `plugin/backend_lookup.go`, `SRV`).
const WEIGHTS: u32 = 100;

impl SrvMemory {
    /// Copies the end of the question's name, from the label at `offset` on, to
    /// [`Self::suffix`]: all targets' names end with it. The part before the zone is folded.
    #[inline(always)]
    pub(super) fn put_suffix(
        &mut self,
        image: &Image,
        start: usize,
        question: &Question,
        offset: usize,
    ) {
        let from = start + DNS_HEADER_LEN + offset;
        let folded = (question.zone as usize).wrapping_sub(offset);
        let len = (question.name_len as usize).wrapping_sub(offset) & 0xff;
        for i in 0..NAME_WORDS {
            let word = image.u64_at(from + i * 8);
            let mask = verifier::mask(folded, i * 8);
            self.suffix.put_u64(i * 8, fold(word) & mask | word & !mask);
        }
        verifier::reread(&mut self.walk).suffix_len = len as u32;
    }

    /// Writes as many whole records as the client takes: first the SRV records, then the address
    /// records of the targets (miekg/dns, `msg_truncate.go`). [`PassReason::TooLarge`] where the
    /// packet cannot carry this reply.
    ///
    /// The order is always the same where all records are sure to fit, because clients choose by
    /// weight. Else the targets take turns: CoreDNS takes a Service's slices in random order.
    /// Targets are not compressed, since a resolver may refuse compressed targets (RFC 2782; Go's
    /// does). The owner names of the address records are compression pointers to the targets.
    #[inline(always)]
    pub(super) fn put_records<C: Capacity, L: Lookup>(
        &mut self,
        image: &mut Image,
        limits: Limits,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<(), PassReason> {
        let walk = verifier::reread(&mut self.walk);
        walk.written = Written {
            end: limits.at,
            answers: 0,
            additionals: 0,
            truncated: 1,
        };
        walk.limits = limits;
        walk.ttl = request.config.ttl;
        let share = walk.candidates;
        walk.weight = if share > WEIGHTS {
            1
        } else {
            WEIGHTS / share.max(1)
        };
        // All numbers that only some paths know are in memory now, so that the paths join.
        walk.rewind();
        self.take_turn(content, request)?;
        if !self.put_targets::<C, L>(image, content, request)? {
            return Ok(());
        }
        let walk = verifier::reread(&mut self.walk);
        let loaded = walk.chunk;
        walk.rewind();
        let walk = verifier::reread(&mut self.walk);
        if walk.chunk != loaded {
            walk.load(content, request)?;
        }
        if self.put_addresses::<C, L>(image, content, request)? {
            verifier::reread(&mut self.walk).written.truncated = 0;
        }
        Ok(())
    }

    /// Lets the walk begin with a random target, if the records may not all fit. The number of
    /// addresses is known only where each target has one.
    #[inline(always)]
    fn take_turn<L: Lookup>(
        &mut self,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<(), PassReason> {
        let walk = verifier::reread(&mut self.walk);
        let dashed = verifier::ones_if_zero(walk.implicit ^ 1);
        let label_len = DASHED_BYTES & dashed | LABEL_BYTES & !dashed;
        let address_len = 4 & dashed | 16 & !dashed;
        let name_len = label_len + walk.suffix_len as usize;
        let of_port = RECORD_HEADER_LEN + SRV_DATA_LEN + name_len;
        let of_target = walk.numbered as usize * of_port + RECORD_HEADER_LEN + address_len;
        let of_all = walk.targets as usize * of_target;
        if walk.targets < 2 || walk.several == 0 && of_all <= walk.limits.room() {
            return Ok(());
        }
        walk.turn(request.lookup.random());
        let walk = verifier::reread(&mut self.walk);
        if walk.chunk != 0 {
            walk.load(content, request)?;
        }
        for _ in 0..SKIPS_MAX {
            let walk = verifier::reread(&mut self.walk);
            let Some(target) = walk.target(content) else {
                break;
            };
            if walk.begins_with(target) {
                walk.begin_here();
                return Ok(());
            }
        }
        // The chunk has fewer targets. Its successor begins, unless its first target belongs to
        // the label before.
        let walk = verifier::reread(&mut self.walk);
        walk.next_chunk();
        walk.load(content, request)?;
        let walk = verifier::reread(&mut self.walk);
        if walk
            .target(content)
            .is_none_or(|target| target.continues() != 0)
        {
            walk.restart();
            walk.load(content, request)?;
        }
        verifier::reread(&mut self.walk).begin_here();
        Ok(())
    }

    /// Copies the target's label or labels to [`Self::label`].
    #[inline(always)]
    pub(in crate::respond) fn put_label(&mut self, target: Target, content: &ChunkBytes) {
        let len = if target.is_dashed() {
            put_dashed(&mut self.label, content.u32_at(target.addresses_at))
        } else {
            let own_len = target.length_len();
            self.label.put_u8(0, target.label_len as u8);
            for i in 0..LABEL_BYTES / 16 {
                let from = target.label_at + i * 16;
                self.label.put_u128(own_len + i * 16, content.u128_at(from));
            }
            own_len + target.label_len
        };
        verifier::reread(&mut self.walk).label_len = len as u32;
    }

    /// Writes label and suffix at `at` of the image.
    #[inline(always)]
    pub(in crate::respond) fn put_name(&mut self, image: &mut Image, at: usize) {
        let walk = verifier::reread(&mut self.walk);
        let rest = at + walk.label_len as usize;
        for i in 0..LABEL_BYTES / 16 {
            image.put_u128(at + i * 16, self.label.u128_at(i * 16));
        }
        for i in 0..NAME_WORDS / 2 {
            if i * 16 >= walk.suffix_len as usize {
                break;
            }
            image.put_u128(rest + i * 16, self.suffix.u128_at(i * 16));
        }
    }

    /// Writes the SRV records. Returns whether all fit.
    #[inline(always)]
    fn put_targets<C: Capacity, L: Lookup>(
        &mut self,
        image: &mut Image,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<bool, PassReason> {
        for _ in 0..steps_max::<C>() {
            let walk = verifier::reread(&mut self.walk);
            if walk.left == 0 {
                return Ok(true);
            }
            let Some(target) = walk.target(content) else {
                walk.next_chunk();
                walk.load(content, request)?;
                continue;
            };
            let index = walk.index();
            if let Some(port) = self.next_port(target, index) {
                self.put_label(target, content);
                if !self.put_srv(image, port, index)? {
                    return Ok(false);
                }
            }
        }
        Err(PassReason::TooLarge)
    }

    /// Takes the next port of the target number `index`. Returns the port's number, with bit 16
    /// set for the target's first record. `None` where the target does not have the port, where
    /// the label has a record for it already, or where the record before has the same number.
    #[inline(always)]
    fn next_port(&mut self, target: Target, index: usize) -> Option<u32> {
        let walk = verifier::reread(&mut self.walk);
        // Masks instead of branches: the step's other work would be checked once more for each.
        let is_started = !verifier::ones_if_zero(walk.record);
        let continues = is_started | target.continues();
        let at = (index * 2).wrapping_sub(2 & !is_started);
        let name = usize::from(self.names.u16_at(at)) & continues;
        self.names.put_u16(index * 2, name as u16);
        walk.seen &= continues as u32;
        let port = self.ports.u32_at(walk.record as usize * 4);
        let (number, last) = (port & 0xffff | 1 << 16, walk.last);
        let bit = 1 << (port >> 16 & 0xf);
        let is_new = target.ports & !walk.seen & bit != 0;
        // The caller writes the record from `target`, so that the walk may move on here.
        walk.record += 1;
        if is_new {
            walk.seen |= bit;
            walk.last = number;
        }
        if walk.record >= walk.numbered {
            walk.skip(target);
        }
        let is_first = u32::from(last == 0) << 16;
        (is_new && number != last).then_some(port & 0xffff | is_first)
    }

    /// Writes the SRV record that leads to the label in [`Self::label`]. `port` is the result of
    /// [`Self::next_port`]. Returns `false` where the client does not take the record.
    #[inline(always)]
    fn put_srv(&mut self, image: &mut Image, port: u32, index: usize) -> Result<bool, PassReason> {
        let walk = verifier::reread(&mut self.walk);
        let data_len = SRV_DATA_LEN + (walk.label_len + walk.suffix_len) as usize;
        let at = walk.written.end as usize;
        let data = at + RECORD_HEADER_LEN;
        let end = data + data_len;
        if !walk.limits.allow(end)? {
            return Ok(false);
        }
        // A later record of the target leaves the offset of the target's name as it is.
        let is_later = verifier::ones_if_zero(port >> 16);
        let name = (data + SRV_DATA_LEN).wrapping_sub(walk.limits.start as usize);
        let before = usize::from(self.names.u16_at(index * 2));
        let name = before & is_later | name & !is_later;
        self.names.put_u16(index * 2, name as u16);
        let header = RecordHeader::new(QUESTION_NAME, qtype::SRV, walk.ttl, data_len as u16);
        // The first four bytes of the RDATA: priority 0 and the weight.
        let weight = u32::from((walk.weight as u16).swap_bytes()) << 16;
        header.put_with(image, at, weight);
        image.put_u16(data + 4, port as u16);
        self.put_name(image, data + SRV_DATA_LEN);
        let written = &mut verifier::reread(&mut self.walk).written;
        written.end = end as u32;
        written.answers += 1;
        Ok(true)
    }

    /// Writes the address records of the targets. Returns whether all fit.
    #[inline(always)]
    fn put_addresses<C: Capacity, L: Lookup>(
        &mut self,
        image: &mut Image,
        content: &mut ChunkBytes,
        request: Request<'_, L>,
    ) -> Result<bool, PassReason> {
        for _ in 0..steps_max::<C>() {
            let walk = verifier::reread(&mut self.walk);
            if walk.left == 0 {
                return Ok(true);
            }
            let Some(target) = walk.target(content) else {
                walk.next_chunk();
                walk.load(content, request)?;
                continue;
            };
            let name = self.names.u16_at(walk.index() * 2);
            if target.ports & walk.bits == 0 || name == 0 {
                walk.skip(target);
            } else if !walk.put_address(image, content, target, name)? {
                return Ok(false);
            }
        }
        Err(PassReason::TooLarge)
    }
}

impl Walk {
    /// Writes the next address record of the target, whose name is at offset `name` of the
    /// message. Returns `false` where the client does not take the record.
    #[inline(always)]
    fn put_address(
        &mut self,
        image: &mut Image,
        content: &ChunkBytes,
        target: Target,
        name: u16,
    ) -> Result<bool, PassReason> {
        let record = self.record as usize;
        let is_ipv4 = verifier::ones_if_below(record, target.ipv4);
        let rtype = usize::from(qtype::A) & is_ipv4 | usize::from(qtype::AAAA) & !is_ipv4;
        let len = 4 & is_ipv4 | 16 & !is_ipv4;
        let ipv4 = record & is_ipv4 | target.ipv4 & !is_ipv4;
        let from = target.addresses_at + ipv4 * 4 + record.wrapping_sub(ipv4) * 16;
        let at = self.written.end as usize;
        let end = at + RECORD_HEADER_LEN + len;
        if !self.limits.allow(end)? {
            return Ok(false);
        }
        let owner = pointer(usize::from(name & 0x3fff));
        RecordHeader::new(owner, rtype as u16, self.ttl, len as u16).put(image, at);
        // The copy of 16 bytes writes beyond an IPv4 address. The next record overwrites these
        // bytes, or they are not sent.
        image.put_u128(at + RECORD_HEADER_LEN, content.u128_at(from));
        let walk = verifier::reread(self);
        walk.written.end = end as u32;
        walk.written.additionals += 1;
        walk.record += 1;
        if walk.record as usize >= target.ipv4 + target.ipv6 {
            walk.skip(target);
        }
        Ok(true)
    }
}
