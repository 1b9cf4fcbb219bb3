//! Writing SRV records with the addresses of their targets.

use core::hint::black_box;

use bytemuck::{Pod, Zeroable};

use super::{
    Scratch,
    addresses::load,
    reply::{Body, Limits},
};
use crate::{
    abi::{
        CHUNK_BYTES, ChunkKey, ChunkKind, DETAILS_HEADER_LEN, DetailsHeader, NameFlags, NameRecord,
        PORT_HEADER_LEN, PORT_NAME_MAX, PORT_SCTP, PORT_TCP, PORT_UDP, PORTS_MAX, PassReason,
        TARGET_CONTINUES, TARGET_HEADER_LEN, TARGET_LABELS,
    },
    lookup::Lookup,
    wire::{
        AddressBytes, DNS_HEADER_LEN, Image, NameBytes, PortBytes, Question, Room, SuffixBytes,
        WINDOW, fold, qtype,
    },
};

/// Bytes of an SRV record before its target: a pointer to the question's name,
/// type, class, TTL, length, priority, weight, port (RFC 2782).
const SRV_HEADER_LEN: usize = 18;

/// Bytes of an address record before its address.
const GLUE_HEADER_LEN: usize = 12;

/// Most steps of a walk over targets: a record, a port that a target does not
/// have, or the next chunk. A target is at least `a.b.svc.z.`, so that in 512 bytes
/// there are never more; in large replies there may be, and userspace has those.
const fn steps_max<R: Room>() -> usize {
    let steps = R::MESSAGE_MAX / 12;
    if steps < 128 { steps } else { 128 }
}

/// The kinds of names that SRV records, or ports, can be asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `<service>.<namespace>.svc`
    Service,
    /// `<port>.<protocol>.<service>.<namespace>.svc`
    Port,
    /// `<endpoint>.<service>.<namespace>.svc`
    Endpoint,
    /// `<address>.<namespace>.pod`, whatever the address
    Pod,
    /// The same of a pod that exists
    VerifiedPod,
}

/// Where a Service's details are. Plain numbers, for the reason that
/// [`super::find`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DetailsAt {
    set: u32,
    /// [`ChunkKind`] as a number; zero where there are none.
    kind: u32,
}

impl DetailsAt {
    /// Nowhere.
    pub(super) const NONE: Self = Self { set: 0, kind: 0 };

    /// Of the Service's own name.
    #[inline(always)]
    pub(super) fn own(service: &NameRecord) -> Self {
        if service.flags.contains(NameFlags::CLUSTER_IP) {
            Self::where_flagged(service, NameFlags::OWN, ChunkKind::Own)
        } else {
            Self::endpoints(service)
        }
    }

    /// Of the names of its endpoints.
    #[inline(always)]
    pub(super) fn endpoints(service: &NameRecord) -> Self {
        Self::where_flagged(service, NameFlags::ENDPOINTS, ChunkKind::Endpoints)
    }

    #[inline(always)]
    fn where_flagged(service: &NameRecord, flag: NameFlags, kind: ChunkKind) -> Self {
        let there = u32::from(service.flags.contains(flag));
        Self {
            set: service.set(),
            kind: there * kind as u32,
        }
    }
}

/// The targets of SRV records, and how far they are written.
///
/// In memory for the same reason as [`crate::wire::Question`].
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Walk {
    /// Number of the set.
    set: u32,
    /// [`ChunkKind`] as a number.
    kind: u32,
    /// Where the first target is in the first chunk.
    first: u32,
    targets: u32,
    /// Endpoints as they count for the weight, and their ports likewise, as far as
    /// these are meant.
    endpoints: u32,
    candidates: u32,
    /// How many ports are meant.
    matched: u32,
    /// How many of them have numbers.
    numbered: u32,
    /// Which they are: a bit for each.
    bits: u32,
    /// Whether all endpoints have one of them: 1 or 0.
    everywhere: u32,
    /// Whether there is a port that some endpoints have and others not: 1 or 0.
    differing: u32,
    /// Bytes of the ports in the first chunk.
    ports_len: u32,
    suffix_len: u32,
    /// The chunk that is loaded.
    chunk: u32,
    /// Where in it the next target is.
    at: u32,
    /// Which of the target's records is next.
    record: u32,
    /// The number of the target's last SRV record, in the upper half 1 if there is
    /// one.
    last: u32,
    /// Ports of which the target's label has had its record.
    seen: u32,
    /// Targets that are left.
    left: u32,
    /// TTL in seconds.
    ttl: u32,
    weight: u32,
    limits: Limits,
    written: Written,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Written {
    /// Offset of the next record in the image.
    pub(super) end: u32,
    pub(super) answers: u32,
    pub(super) additionals: u32,
    /// Whether there would have been more: 1 or 0.
    pub(super) truncated: u32,
}

/// A label that a port or protocol is compared with, without its underscore.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Wanted {
    low: u64,
    high: u64,
    len: u64,
}

impl Wanted {
    /// The label whose length byte is at `at`. CoreDNS takes one underscore
    /// away, where there is one (`parse.go`, `stripUnderscore`).
    #[inline(always)]
    fn read(image: &Image, at: usize) -> Self {
        let underscore = usize::from(image.u8_at(at + 1) == b'_');
        let len = usize::from(image.u8_at(at)).wrapping_sub(underscore) & 0x3f;
        let at = at + 1 + underscore;
        Self {
            low: fold(image.u64_at(at)) & WINDOW.first(len, 0),
            high: fold(image.u64_at(at + 8)) & WINDOW.first(len, 8),
            len: len as u64,
        }
    }

    /// Whether any is meant.
    #[inline(always)]
    const fn is_any(self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    const fn is(self, len: u64, low: u64, high: u64) -> bool {
        // Sums of differences rather than three branches.
        (self.len ^ len) | (self.low ^ low) | (self.high ^ high) == 0
    }

    /// The protocol of this name; [`NO_PROTOCOL`] where there is none such.
    #[inline(always)]
    const fn protocol(self) -> u8 {
        const TCP: u64 = u64::from_le_bytes(*b"tcp\0\0\0\0\0");
        const UDP: u64 = u64::from_le_bytes(*b"udp\0\0\0\0\0");
        const SCTP: u64 = u64::from_le_bytes(*b"sctp\0\0\0\0");
        if self.is(3, TCP, 0) {
            PORT_TCP
        } else if self.is(3, UDP, 0) {
            PORT_UDP
        } else if self.is(4, SCTP, 0) {
            PORT_SCTP
        } else {
            NO_PROTOCOL
        }
    }
}

/// What no port speaks.
const NO_PROTOCOL: u8 = 0xff;

/// Working memory for SRV records.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Servers {
    asked: Asked,
    walk: Walk,
    name: Wanted,
    protocol: Wanted,
    /// Which of the ports are meant: two bytes number, two bytes for which it is.
    ports: PortBytes,
    /// Where the name of each target is in the message: 0 where it has no record.
    names: NameBytes,
    suffix: SuffixBytes,
}

/// What is under a name as far as ports are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// No port that is meant.
    None,
    /// Some, and SRV records lead to them.
    Numbered,
    /// Some, to which no SRV record leads.
    Unnumbered,
    /// Some, which not all endpoints have.
    Differing,
    /// The SRV records are written, see [`Servers::written`].
    Written,
}

/// From here on, codes are [`PassReason`]s.
const PASS_CODES: u64 = 1 << 8;

impl Ports {
    /// As one number, which is all that a function of its own in the program can
    /// return.
    #[inline(always)]
    pub(super) const fn code(self) -> u64 {
        self as u64
    }

    /// The same for a reason to pass.
    #[inline(always)]
    pub(super) const fn pass_code(reason: PassReason) -> u64 {
        PASS_CODES + reason as u64
    }

    /// What the code says.
    #[inline(always)]
    pub(super) const fn from_code(code: u64) -> Result<Self, PassReason> {
        const NONE: u64 = Ports::None.code();
        const NUMBERED: u64 = Ports::Numbered.code();
        const UNNUMBERED: u64 = Ports::Unnumbered.code();
        const DIFFERING: u64 = Ports::Differing.code();
        const WRITTEN: u64 = Ports::Written.code();
        const CHANGED: u64 = Ports::pass_code(PassReason::Changed);
        const TOO_LARGE: u64 = Ports::pass_code(PassReason::TooLarge);
        const MAP: u64 = Ports::pass_code(PassReason::Map);
        Ok(match code {
            NONE => Self::None,
            NUMBERED => Self::Numbered,
            UNNUMBERED => Self::Unnumbered,
            DIFFERING => Self::Differing,
            WRITTEN => Self::Written,
            CHANGED => return Err(PassReason::Changed),
            TOO_LARGE => return Err(PassReason::TooLarge),
            MAP => return Err(PassReason::Map),
            _ => return Err(PassReason::Userspace),
        })
    }
}

/// What is asked, as far as it is not in the question.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Asked {
    /// [`Place`] as a number.
    place: u32,
    /// See [`DetailsAt`].
    set: u32,
    kind: u32,
    /// Where the message starts in the image, and what we can send of one.
    start: u32,
    room: u32,
}

/// Reads a pod's address or looks which ports are meant, and where SRV records are
/// asked for, writes them.
#[inline(always)]
pub(super) fn answer<R: Room, L: Lookup>(
    scratch: &mut Scratch,
    lookup: &L,
) -> Result<Ports, PassReason> {
    let Scratch {
        image,
        question,
        dashed,
        record,
        servers,
        addresses,
        ..
    } = scratch;
    let Some(config) = lookup.config() else {
        return Err(PassReason::Map);
    };
    // Copies would take room on the stack, which two functions share here.
    let Asked {
        place,
        kind,
        start,
        room,
        ..
    } = *black_box(&mut servers.asked);
    let question: &Question = black_box(question);
    let (start, seed) = (start as usize, config.seal_seed);
    let is_pod = place == Place::Pod as u32 || place == Place::VerifiedPod as u32;
    let ports = if place == Place::VerifiedPod as u32 {
        servers.port_of_pods();
        Ports::Numbered
    } else if is_pod {
        let label = start + DNS_HEADER_LEN + question.labels.from_right(2);
        if !dashed.read(image, label, record) {
            return Ok(Ports::None);
        }
        servers.port_of_pods();
        Ports::Numbered
    } else if kind != 0 {
        let at = |label| start + DNS_HEADER_LEN + question.labels.from_right(label);
        let labels = (place == Place::Port as u32).then(|| (at(4), at(3)));
        servers.read(image, labels, seed, addresses, lookup)?
    } else {
        return Err(PassReason::Userspace);
    };
    if question.qtype != qtype::SRV {
        let differ = ports != Ports::None && black_box(&mut servers.walk).everywhere == 0;
        return Ok(if differ { Ports::Differing } else { ports });
    }
    if ports != Ports::Numbered {
        return Ok(ports);
    }
    let is_endpoint = place == Place::Endpoint as u32;
    if is_endpoint || is_pod {
        let differ = black_box(&mut servers.walk).differing != 0;
        if differ || record.flags.0 & (NameFlags::REPEATED.0 | NameFlags::SET.0) != 0 {
            return Err(PassReason::Userspace);
        }
        servers.only(record, addresses);
    }
    let label = if is_endpoint { 3 } else { 2 };
    let target = question.name_from(start, question.labels.from_right(label));
    let limits = Body::new(start, question, room as usize).limits();
    servers.put::<R, L>(image, limits, target, config.ttl, seed, addresses, lookup)?;
    Ok(Ports::Written)
}

impl Servers {
    /// Puts down what [`answer`] has to know.
    #[inline(always)]
    pub(super) fn ask(&mut self, place: Place, details: DetailsAt, start: usize, room: usize) {
        self.asked = Asked {
            place: place as u32,
            set: details.set,
            kind: details.kind,
            start: start as u32,
            room: room as u32,
        };
    }

    /// Reads a Service's details and which of its ports are meant: those of the
    /// name whose labels of port and protocol are at `labels` of the image, or
    /// all.
    #[inline(always)]
    pub(super) fn read<L: Lookup>(
        &mut self,
        image: &Image,
        labels: Option<(usize, usize)>,
        seed: u64,
        chunk: &mut AddressBytes,
        lookup: &L,
    ) -> Result<Ports, PassReason> {
        (self.name, self.protocol) = match labels {
            Some((name, protocol)) => (Wanted::read(image, name), Wanted::read(image, protocol)),
            None => (Wanted::default(), Wanted::default()),
        };
        self.walk.set = self.asked.set;
        self.walk.kind = self.asked.kind;
        self.walk.chunk = 0;
        load(self.walk.key(), seed, chunk, lookup)?;
        let header = DetailsHeader::from_word(chunk.u64_at(0));
        let (ports_len, name_len) = (u32::from(header.ports_len), u32::from(header.name_len));
        let walk = &mut self.walk;
        walk.first = DETAILS_HEADER_LEN as u32 + ports_len + name_len;
        walk.targets = header.targets.into();
        walk.endpoints = header.endpoints.into();
        walk.ports_len = ports_len;
        self.match_ports(chunk);
        let walk = black_box(&mut self.walk);
        Ok(if walk.matched == 0 {
            Ports::None
        } else if walk.numbered == 0 || walk.targets == 0 {
            Ports::Unnumbered
        } else {
            Ports::Numbered
        })
    }

    /// Goes through the ports in the first chunk.
    #[inline(always)]
    fn match_ports(&mut self, chunk: &AddressBytes) {
        let walk = black_box(&mut self.walk);
        (walk.matched, walk.numbered, walk.candidates) = (0, 0, 0);
        walk.bits = 0;
        (walk.everywhere, walk.differing, walk.at) = (0, 0, 0);
        let protocol = self.protocol.protocol();
        for port in 0..PORTS_MAX {
            let walk = black_box(&mut self.walk);
            if walk.at >= walk.ports_len {
                break;
            }
            let at = DETAILS_HEADER_LEN + walk.at as usize;
            let len = usize::from(chunk.u8_at(at)) & PORT_NAME_MAX;
            walk.at += (PORT_HEADER_LEN + len) as u32;
            let count = u32::from(chunk.u16_at(at + 4));
            let everywhere = u32::from(count >= walk.endpoints);
            walk.differing |= everywhere ^ 1;
            let name = at + PORT_HEADER_LEN;
            let (low, high) = (
                chunk.u64_at(name) & WINDOW.first(len, 0),
                chunk.u64_at(name + 8) & WINDOW.first(len, 8),
            );
            let named = self.name.is_any() || self.name.is(len as u64, low, high);
            let spoken = self.protocol.is_any() || chunk.u8_at(at + 1) == protocol;
            if !named || !spoken {
                continue;
            }
            walk.matched += 1;
            walk.candidates += count;
            walk.everywhere |= everywhere;
            let number = chunk.u16_at(at + 2);
            if number != 0 {
                let of = u32::from(number) | (port as u32) << 16;
                self.ports.put_u32(walk.numbered as usize * 4, of);
                walk.numbered += 1;
                walk.bits |= 1 << port;
            }
        }
    }

    /// One target instead of the details': the asked name itself, with the
    /// addresses in its record and all ports.
    #[inline(always)]
    fn only(&mut self, record: &NameRecord, chunk: &mut AddressBytes) {
        let words: [u64; NameRecord::WORDS] = bytemuck::cast(*record);
        let counts = (record.ipv4 & 0xf) | (record.ipv6 & 0xf) << 4;
        chunk.put_u16(0, u16::MAX);
        chunk.put_u16(2, counts);
        chunk.put_u64(TARGET_HEADER_LEN, words[1]);
        chunk.put_u64(TARGET_HEADER_LEN + 8, words[2]);
        chunk.put_u32(TARGET_HEADER_LEN + 16, words[3] as u32);
        let walk = black_box(&mut self.walk);
        walk.candidates = (u32::from(record.ipv4) + u32::from(record.ipv6)) * walk.matched;
        (walk.targets, walk.first) = (1, 0);
    }

    /// Port 0, as pods have it to CoreDNS (`findPods`).
    #[inline(always)]
    fn port_of_pods(&mut self) {
        self.ports.put_u32(0, 0);
        let walk = &mut self.walk;
        (walk.matched, walk.numbered, walk.bits) = (1, 1, 1);
        (walk.everywhere, walk.differing) = (1, 0);
    }

    /// Writes the records from `out` of the image on: the targets end in the
    /// `len` bytes from `from` on, of which those before the zone, `folded` bytes,
    /// become lower case.
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
        let walk = black_box(&mut self.walk);
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
        let walk = black_box(&mut self.walk);
        let loaded = walk.chunk;
        walk.rewind();
        let walk = black_box(&mut self.walk);
        if walk.chunk != loaded {
            load(walk.key(), seed, chunk, lookup)?;
        }
        if self.put_glue::<R, L>(image, seed, chunk, lookup)? {
            black_box(&mut self.walk).written.truncated = 0;
        }
        Ok(())
    }

    /// What has been written. Read from memory one by one: a struct of them the
    /// compiler would put on the stack and look at by unaligned parts.
    #[inline(always)]
    pub(super) fn written(&mut self) -> &Written {
        &black_box(&mut self.walk).written
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
            let walk = black_box(&mut self.walk);
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
            if walk.record >= walk.numbered {
                walk.skip(target);
                continue;
            }
            let port = self.ports.u32_at(walk.record as usize * 4);
            walk.record += 1;
            let number = port & 0xffff | 1 << 16;
            let bit = 1 << (port >> 16 & 0xf);
            if target.ports & !walk.seen & bit == 0 {
                continue;
            }
            walk.seen |= bit;
            if number == walk.last {
                continue;
            }
            let rdata_len = SRV_HEADER_LEN - GLUE_HEADER_LEN + target.name_len(walk.suffix_len);
            let out = walk.written.end as usize;
            let end = out + GLUE_HEADER_LEN + rdata_len;
            if !walk.limits.allow(end)? {
                return Ok(false);
            }
            if walk.last == 0 {
                let name = (out + SRV_HEADER_LEN).wrapping_sub(walk.limits.start as usize);
                self.names.put_u16(index * 2, name as u16);
            }
            walk.last = number;
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
            // Up to 63 bytes, behind their length unless they have it with them.
            let label = name + usize::from(!target.is_wire);
            for i in 0..4 {
                let from = target.at + TARGET_HEADER_LEN + i * 16;
                image.put_u128(label + i * 16, chunk.u128_at(from));
            }
            if !target.is_wire {
                image.put_u8(name, target.label_len as u8);
            }
            let rest = name + target.label_room();
            for i in 0..NAME_WORDS / 2 {
                if i * 16 >= walk.suffix_len as usize {
                    break;
                }
                image.put_u128(rest + i * 16, self.suffix.u128_at(i * 16));
            }
            let walk = black_box(&mut self.walk);
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
            let walk = black_box(&mut self.walk);
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
            let meant = target.ports & walk.bits != 0 && name != 0;
            if !meant || record >= target.ipv4 + target.ipv6 {
                walk.skip(target);
                continue;
            }
            let from = target.at + TARGET_HEADER_LEN + target.label_len;
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
            let walk = black_box(&mut self.walk);
            walk.written.end = end as u32;
            walk.written.additionals += 1;
            walk.record += 1;
        }
        Err(PassReason::TooLarge)
    }
}

/// Words of the longest name.
const NAME_WORDS: usize = 32;

/// A target in the chunk that is loaded.
#[derive(Clone, Copy, Debug)]
struct Target {
    at: usize,
    /// A bit for each of its ports.
    ports: u32,
    /// Whether it is the label before once more.
    continues: bool,
    /// Whether the label is several in wire form.
    is_wire: bool,
    label_len: usize,
    ipv4: usize,
    ipv6: usize,
}

impl Target {
    /// Bytes of the label with its length.
    #[inline(always)]
    const fn label_room(self) -> usize {
        if self.label_len == 0 || self.is_wire {
            self.label_len
        } else {
            1 + self.label_len
        }
    }

    /// Bytes of the whole name.
    #[inline(always)]
    const fn name_len(self, suffix_len: u32) -> usize {
        self.label_room() + suffix_len as usize
    }
}

impl Walk {
    #[inline(always)]
    fn key(&self) -> ChunkKey {
        ChunkKey {
            set: self.set,
            kind: self.kind as u16,
            index: self.chunk as u16,
        }
    }

    /// Goes to where the walk begins.
    #[inline(always)]
    fn rewind(&mut self) {
        self.chunk = 0;
        self.at = self.first;
        (self.record, self.last) = (0, 0);
        self.left = self.targets;
    }

    /// Which target is next, counted from the first.
    #[inline(always)]
    fn index(&self) -> usize {
        self.targets.wrapping_sub(self.left) as usize
    }

    #[inline(always)]
    fn next_chunk(&mut self) {
        // Where there is no such chunk, the details have changed.
        self.chunk += 1;
        self.at = 0;
    }

    /// The next target; `None` at the chunk's end.
    #[inline(always)]
    fn target(&self, chunk: &AddressBytes) -> Option<Target> {
        let at = self.at as usize;
        let counts = usize::from(chunk.u8_at(at + 2));
        // Behind the chunk stands whatever stood there before.
        if at + TARGET_HEADER_LEN > CHUNK_BYTES || counts == 0 {
            return None;
        }
        Some(Target {
            at,
            ports: chunk.u16_at(at).into(),
            continues: chunk.u8_at(at + 3) & TARGET_CONTINUES != 0,
            is_wire: chunk.u8_at(at + 3) & TARGET_LABELS != 0,
            label_len: usize::from(chunk.u8_at(at + 3)) & 0x3f,
            ipv4: counts & 0xf,
            ipv6: counts >> 4,
        })
    }

    /// Goes on behind the target.
    #[inline(always)]
    fn skip(&mut self, target: Target) {
        let len = TARGET_HEADER_LEN + target.label_len + target.ipv4 * 4 + target.ipv6 * 16;
        self.at += len as u32;
        (self.record, self.last) = (0, 0);
        self.left -= 1;
    }
}
