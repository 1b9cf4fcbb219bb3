//! Writing SRV records and the addresses of their targets.

use super::{
    Servers,
    walk::{Target, Written},
};
use crate::{
    abi::{PassReason, TARGET_HEADER_LEN},
    lookup::Lookup,
    opaque,
    respond::{addresses::load, reply::Limits},
    wire::{AddressBytes, Image, Room, WINDOW, fold, put_dashed, qtype},
};

/// Bytes of an SRV record before its target: a pointer to the question's name,
/// type, class, TTL, length, priority, weight, port (RFC 2782).
const SRV_HEADER_LEN: usize = 18;

/// Bytes of an address record before its address.
const GLUE_HEADER_LEN: usize = 12;

/// Most steps of a walk over targets: a record, a port that a target does not
/// have, or the next chunk. A target is at least `a.b.svc.z.`, so that in 512 bytes
/// there are hardly more; in large replies there may be, and userspace has those.
const fn steps_max<R: Room>() -> usize {
    let steps = R::MESSAGE_MAX / 12;
    if steps < 64 { steps } else { 64 }
}

/// Bytes of the longest label with its length.
const LABEL_BYTES: usize = 64;

/// Words of the longest name.
const NAME_WORDS: usize = 32;

impl Servers {
    /// Writes the records where `limits` has room for them: the targets end in the
    /// `len` bytes from `from` of the image on, of which those before the zone,
    /// `folded` bytes, become lower case.
    ///
    /// Whole records, as many as the client takes, answers first (miekg/dns,
    /// `msg_truncate.go`), always in the same order, as CoreDNS has it: a client
    /// chooses by weight. Targets are written out, since a resolver may refuse
    /// compressed ones (RFC 2782; Go's does); the names of the addresses then
    /// point to them.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct of them would live on the BPF stack"
    )]
    pub(super) fn put<R: Room, L: Lookup>(
        &mut self,
        image: &mut Image,
        limits: Limits,
        (from, folded, len): (usize, usize, usize),
        ttl: u32,
        seed: u64,
        chunk: &mut AddressBytes,
        lookup: &L,
    ) -> Result<(), PassReason> {
        for i in 0..NAME_WORDS {
            let word = image.u64_at(from + i * 8);
            let mask = WINDOW.first(folded, i * 8);
            self.suffix.put_u64(i * 8, fold(word) & mask | word & !mask);
        }
        let walk = opaque::memory(&mut self.walk);
        walk.suffix_len = len as u32;
        walk.written = Written {
            end: limits.at,
            answers: 0,
            additionals: 0,
            truncated: 1,
        };
        walk.limits = limits;
        walk.ttl = ttl;
        let share = walk.candidates;
        walk.weight = if share > 100 { 1 } else { 100 / share.max(1) };
        // Numbers that are known on one way and not on another would part the
        // ways for good: all are in memory now.
        walk.rewind();
        if !self.put_servers::<R, L>(image, seed, chunk, lookup)? {
            return Ok(());
        }
        let walk = opaque::memory(&mut self.walk);
        let loaded = walk.chunk;
        walk.rewind();
        let walk = opaque::memory(&mut self.walk);
        if walk.chunk != loaded {
            load(walk.key(), seed, chunk, lookup)?;
        }
        if self.put_glue::<R, L>(image, seed, chunk, lookup)? {
            opaque::memory(&mut self.walk).written.truncated = 0;
        }
        Ok(())
    }

    /// What has been written. Read from memory one by one: a struct of them the
    /// compiler would put on the stack and look at by unaligned parts.
    #[inline(always)]
    pub(in crate::respond) fn written(&mut self) -> &Written {
        &opaque::memory(&mut self.walk).written
    }

    /// Puts the target's label, or labels, into [`Self::label`].
    #[inline(always)]
    pub(super) fn put_label(&mut self, target: Target, chunk: &AddressBytes) {
        let len = if target.is_dashed() {
            put_dashed(&mut self.label, chunk.u32_at(target.addresses_at()))
        } else {
            // Without a label there is not even a length.
            let own_len = usize::from(!target.is_wire && target.label_len != 0);
            self.label.put_u8(0, target.label_len as u8);
            for i in 0..LABEL_BYTES / 16 {
                let from = target.at + TARGET_HEADER_LEN + i * 16;
                self.label.put_u128(own_len + i * 16, chunk.u128_at(from));
            }
            own_len + target.label_len
        };
        opaque::memory(&mut self.walk).label_len = len as u32;
    }

    /// Whether all were written.
    #[inline(always)]
    fn put_servers<R: Room, L: Lookup>(
        &mut self,
        image: &mut Image,
        seed: u64,
        chunk: &mut AddressBytes,
        lookup: &L,
    ) -> Result<bool, PassReason> {
        for _ in 0..steps_max::<R>() {
            let walk = opaque::memory(&mut self.walk);
            if walk.left == 0 {
                return Ok(true);
            }
            let Some(target) = walk.target(chunk) else {
                walk.next_chunk();
                load(walk.key(), seed, chunk, lookup)?;
                continue;
            };
            let index = walk.index();
            if walk.record == 0 {
                let before = self.names.u16_at((index * 2).wrapping_sub(2));
                let name = if target.continues { before } else { 0 };
                self.names.put_u16(index * 2, name);
                walk.seen = if target.continues { walk.seen } else { 0 };
            }
            let port = self.ports.u32_at(walk.record as usize * 4);
            let (number, last) = (port & 0xffff | 1 << 16, walk.last);
            let bit = 1 << (port >> 16 & 0xf);
            let is_new = target.ports & !walk.seen & bit != 0;
            // What follows is written from `target`: the walk may go on.
            walk.record += 1;
            if is_new {
                walk.seen |= bit;
                walk.last = number;
            }
            if walk.record >= walk.numbered {
                walk.skip(target);
            }
            if !is_new || number == last {
                continue;
            }
            self.put_label(target, chunk);
            let walk = opaque::memory(&mut self.walk);
            let label_len = walk.label_len as usize;
            let name_len = label_len + walk.suffix_len as usize;
            let rdata_len = SRV_HEADER_LEN - GLUE_HEADER_LEN + name_len;
            let out = walk.written.end as usize;
            let end = out + GLUE_HEADER_LEN + rdata_len;
            if !walk.limits.allow(end)? {
                return Ok(false);
            }
            if last == 0 {
                let name = (out + SRV_HEADER_LEN).wrapping_sub(walk.limits.start as usize);
                self.names.put_u16(index * 2, name as u16);
            }
            let [t0, t1, t2, t3] = walk.ttl.to_be_bytes();
            let [l0, l1] = (rdata_len as u16).to_be_bytes();
            let [w0, w1] = (walk.weight as u16).to_be_bytes();
            let head = [
                0xc0,
                12,
                0,
                qtype::SRV as u8,
                0,
                1,
                t0,
                t1,
                t2,
                t3,
                l0,
                l1,
                0,
                0,
                w0,
                w1,
            ];
            image.put_u128(out, u128::from_le_bytes(head));
            image.put_u16(out + 16, port as u16);
            let name = out + SRV_HEADER_LEN;
            for i in 0..LABEL_BYTES / 16 {
                image.put_u128(name + i * 16, self.label.u128_at(i * 16));
            }
            let rest = name + label_len;
            for i in 0..NAME_WORDS / 2 {
                if i * 16 >= walk.suffix_len as usize {
                    break;
                }
                image.put_u128(rest + i * 16, self.suffix.u128_at(i * 16));
            }
            let walk = opaque::memory(&mut self.walk);
            walk.written.end = end as u32;
            walk.written.answers += 1;
        }
        Err(PassReason::TooLarge)
    }

    /// Whether all were written.
    #[inline(always)]
    fn put_glue<R: Room, L: Lookup>(
        &mut self,
        image: &mut Image,
        seed: u64,
        chunk: &mut AddressBytes,
        lookup: &L,
    ) -> Result<bool, PassReason> {
        for _ in 0..steps_max::<R>() {
            let walk = opaque::memory(&mut self.walk);
            if walk.left == 0 {
                return Ok(true);
            }
            let Some(target) = walk.target(chunk) else {
                walk.next_chunk();
                load(walk.key(), seed, chunk, lookup)?;
                continue;
            };
            let name = self.names.u16_at(walk.index() * 2);
            let record = walk.record as usize;
            if target.ports & walk.bits == 0 || name == 0 {
                walk.skip(target);
                continue;
            }
            let from = target.addresses_at();
            let out = walk.written.end as usize;
            let is_ipv4 = record < target.ipv4;
            let len = if is_ipv4 { 4 } else { 16 };
            let end = out + GLUE_HEADER_LEN + len;
            if !walk.limits.allow(end)? {
                return Ok(false);
            }
            let [p0, p1] = (0xc000 | name & 0x3fff).to_be_bytes();
            let [t0, t1, t2, t3] = walk.ttl.to_be_bytes();
            let rtype = if is_ipv4 { qtype::A } else { qtype::AAAA } as u8;
            let head = [
                p0, p1, 0, rtype, 0, 1, t0, t1, t2, t3, 0, len as u8, 0, 0, 0, 0,
            ];
            image.put_u128(out, u128::from_le_bytes(head));
            let from = if is_ipv4 {
                from + record * 4
            } else {
                from + target.ipv4 * 4 + (record - target.ipv4) * 16
            };
            // Of a shorter address the rest is overwritten, or not sent.
            image.put_u128(out + GLUE_HEADER_LEN, chunk.u128_at(from));
            let walk = opaque::memory(&mut self.walk);
            walk.written.end = end as u32;
            walk.written.additionals += 1;
            walk.record += 1;
            if walk.record as usize >= target.ipv4 + target.ipv6 {
                walk.skip(target);
            }
        }
        Err(PassReason::TooLarge)
    }
}
