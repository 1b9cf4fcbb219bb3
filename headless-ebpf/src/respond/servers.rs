//! Ports and SRV records: what is asked, what a Service's details say of it, and
//! ([`mod@write`]) the answer.

mod ports;
mod reverse;
mod walk;
mod write;

use bytemuck::{Pod, Zeroable};

pub(super) use self::{ports::Ports, reverse::answer as answer_reverse, walk::Written};
use self::{ports::Wanted, reverse::Reverse, walk::Walk};
use super::{Scratch, addresses::load, reply::Body};
use crate::{
    abi::{
        ChunkKind, DETAILS_HEADER_LEN, DetailsHeader, NameFlags, NameRecord, PORT_HEADER_LEN,
        PORT_NAME_MAX, PORTS_MAX, PassReason, TARGET_HEADER_LEN,
    },
    lookup::Lookup,
    opaque,
    wire::{
        AddressBytes, DNS_HEADER_LEN, Image, LabelBytes, NameBytes, PortBytes, Question, Room,
        SuffixBytes, WINDOW, qtype,
    },
};

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
    /// A reverse name
    Reverse,
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

    /// The set's number; zero where there are none.
    #[inline(always)]
    fn existing(self) -> u32 {
        if self.kind == 0 { 0 } else { self.set }
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

/// Working memory for SRV records.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Servers {
    asked: Asked,
    walk: Walk,
    reverse: Reverse,
    name: Wanted,
    protocol: Wanted,
    /// Which of the ports are meant: two bytes number, two bytes for which it is.
    ports: PortBytes,
    /// Where the name of each target is in the message: 0 where it has no record.
    names: NameBytes,
    suffix: SuffixBytes,
    /// The label before it.
    label: LabelBytes,
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
    } = *opaque::memory(&mut servers.asked);
    let question: &Question = opaque::memory(question);
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
        let differ = ports != Ports::None && opaque::memory(&mut servers.walk).everywhere == 0;
        return Ok(if differ { Ports::Differing } else { ports });
    }
    if ports != Ports::Numbered {
        return Ok(ports);
    }
    let is_endpoint = place == Place::Endpoint as u32;
    if is_endpoint || is_pod {
        let differ = opaque::memory(&mut servers.walk).differing != 0;
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
        let ports_len = u32::from(header.ports_len);
        let walk = &mut self.walk;
        walk.first = DETAILS_HEADER_LEN as u32 + ports_len;
        walk.targets = header.targets.into();
        walk.endpoints = header.endpoints.into();
        walk.ports_len = ports_len;
        self.match_ports(chunk);
        let walk = opaque::memory(&mut self.walk);
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
        let walk = opaque::memory(&mut self.walk);
        (walk.matched, walk.numbered, walk.candidates) = (0, 0, 0);
        walk.bits = 0;
        (walk.everywhere, walk.differing, walk.at) = (0, 0, 0);
        let protocol = self.protocol.protocol();
        for port in 0..PORTS_MAX {
            let walk = opaque::memory(&mut self.walk);
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
        let walk = opaque::memory(&mut self.walk);
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
}
