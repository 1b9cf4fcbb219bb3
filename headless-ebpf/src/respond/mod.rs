//! The whole decision: from a frame, or a bare DNS message, to an answer or a
//! reason to leave it alone.
//!
//! What is answered and how follows CoreDNS's `kubernetes` plugin, because a
//! pod must not be able to tell who answered.
#![forbid(unsafe_code)]

mod addresses;
mod find;
mod pod;
mod reply;
mod servers;

use bytemuck::Zeroable as _;

use self::{
    addresses::Rrset,
    find::{Found, Stored},
    pod::Dashed,
    reply::Body,
    servers::{DetailsAt, Place, Ports, Servers},
};
use crate::{
    abi::{
        AnswerKind, Config, Counter, Family, NameFlags, NameRecord, Outcome, PassReason, Path,
        State,
    },
    lookup::Lookup,
    opaque,
    wire::{
        AddressBytes, DNS_HEADER_LEN, ETHERNET_LEN, Headers, IPV4_HEADERS_LEN, IPV6_HEADERS_LEN,
        Image, IpVersion, KeyBytes, MESSAGE, OPT_LEN, Packet, Question, Room, Shape, TAG_LEN,
        ip_version, is_tag, qtype, reply_ipv4, reply_ipv6, why_not,
    },
};

/// Working memory of one packet. Too large for a BPF stack (512 bytes), so the
/// programs keep one for each CPU, and nothing in it outlives a packet.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The frame or message.
    pub image: Image,
    /// See [`Slot`].
    slot: Slot,
    /// The frame's [`Shape`].
    shape: Slot,
    /// The question, once it is parsed.
    pub question: Question,
    /// The key that is looked up.
    pub key: KeyBytes,
    /// The address in a pod's name.
    dashed: Dashed,
    /// What is known of the name. In memory, since on the stack the compiler
    /// would look at it by unaligned parts, which the verifier refuses.
    record: NameRecord,
    /// The records that are written.
    rrset: Rrset,
    /// The same for SRV records.
    servers: Servers,
    /// The chunk that is being written from.
    pub addresses: AddressBytes,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            image: Image::default(),
            slot: Slot::default(),
            shape: Slot::default(),
            question: Question::default(),
            key: KeyBytes::default(),
            dashed: Dashed::default(),
            record: NameRecord::zeroed(),
            rrset: Rrset::default(),
            servers: Servers::default(),
            addresses: AddressBytes::default(),
        }
    }
}

/// Where a number is put down to be forgotten and read again.
///
/// Each way out of a loop leaves the verifier with another range for the
/// number that the loop compared with, and it follows each to the end of the
/// program: the ways multiply, and the program becomes too large to load. What
/// is read from a map, it knows nothing about, so that all ways meet there.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Slot(u64);

impl Slot {
    /// `value`, of which neither compiler nor verifier knows anything.
    #[inline(always)]
    fn forget(&mut self, value: usize) -> usize {
        self.0 = value as u64;
        self.again()
    }

    /// The same once more, of which again nothing is known.
    #[inline(always)]
    fn again(&mut self) -> usize {
        opaque::memory(self).0 as usize
    }
}

/// An answer that stands in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Length of the DNS message in bytes.
    pub len: usize,
    /// Question type, as far as counters tell types apart.
    pub kind: AnswerKind,
    /// What it says.
    pub outcome: Outcome,
}

/// What became of a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet is now the reply and goes back the way it came.
    Answer(AnswerKind, Outcome),
    /// The packet is as it was and goes on.
    Pass(PassReason),
    /// The packet was resized and then could not be written: a bug in the
    /// [`Packet`], and the one case in which a packet is lost.
    Lost,
}

impl Verdict {
    /// The counter of this verdict; `None` for what is not counted.
    #[inline(always)]
    pub const fn counter(self, path: Path) -> Option<Counter> {
        match self {
            Self::Answer(kind, outcome) => Some(Counter::answer(path, kind, outcome)),
            Self::Pass(PassReason::NotDns) => None,
            Self::Pass(reason) => Some(Counter::pass(path, reason)),
            Self::Lost => Some(Counter::pass(path, PassReason::Lost)),
        }
    }
}

/// Answers the query in `packet`, or says why not.
///
/// `scratch` is asked for once the packet is known to be for us, so that other
/// traffic does not pay for it. Unless the verdict is [`Verdict::Answer`] (or
/// [`Verdict::Lost`]), the packet is bit for bit as it came.
#[inline(always)]
pub fn respond<'a, P: Packet, L: Lookup>(
    packet: &mut P,
    lookup: &L,
    scratch: impl FnOnce() -> Option<&'a mut Scratch>,
) -> Verdict {
    let headers = match parse(packet) {
        Ok(headers) => headers,
        Err(reason) => return Verdict::Pass(reason),
    };
    if !lookup.serves(&headers.server) {
        return Verdict::Pass(PassReason::NotServed);
    }
    let (Some(state), Some(scratch)) = (lookup.state(), scratch()) else {
        return Verdict::Pass(PassReason::Map);
    };
    if lookup.now_ns() >= state.deadline_ns {
        return Verdict::Pass(PassReason::AgentStale);
    }
    let Headers {
        shape, frame_len, ..
    } = headers;
    let version = shape.version();
    // The ways meet here and part again behind the answer.
    let shape = Shape::from_bits(scratch.shape.forget(shape.bits()));
    if !packet.load(&mut scratch.image, shape, frame_len) {
        return Verdict::Pass(PassReason::Length);
    }
    let message_len = frame_len - shape.headers_len();
    let end = scratch.slot.forget(MESSAGE + message_len);
    let room = match packet.room(version) {
        Ok(room) => room,
        Err(reason) => return Verdict::Pass(reason),
    };
    let reply = match answer::<P::Room, L>(scratch, MESSAGE, end, room, state, lookup) {
        Ok(reply) => reply,
        Err(reason) => return Verdict::Pass(reason),
    };
    // Up to here only the copy has changed.
    let message_len = scratch.slot.forget(reply.len);
    let shape = Shape::from_bits(scratch.shape.again());
    let len = shape.headers_len() + message_len;
    let image = &mut scratch.image;
    match shape.version() {
        IpVersion::V4 => reply_ipv4(image, shape, message_len),
        IpVersion::V6 => reply_ipv6::<P::Room>(image, shape, message_len),
    }
    if !packet.resize(len) {
        return Verdict::Pass(PassReason::NoRoom);
    }
    if !packet.store(image, shape, len) {
        return Verdict::Lost;
    }
    Verdict::Answer(reply.kind, reply.outcome)
}

/// The headers of a frame that may be a query to us.
#[inline(always)]
fn parse<P: Packet>(packet: &P) -> Result<Headers, PassReason> {
    let head: &[u8; IPV4_HEADERS_LEN] = packet.prefix().ok_or(PassReason::NotDns)?;
    let ethertype = [head[ETHERNET_LEN - 2], head[ETHERNET_LEN - 1]];
    if P::TAGS && is_tag(ethertype) {
        return parse_tagged(packet);
    }
    match ip_version(ethertype) {
        Some(IpVersion::V4) => Headers::parse_ipv4(head, packet.len()),
        Some(IpVersion::V6) => {
            let head: &[u8; IPV6_HEADERS_LEN] = packet.prefix().ok_or(PassReason::NotDns)?;
            Headers::parse_ipv6(head, packet.len())
        }
        None => Err(PassReason::NotDns),
    }
}

/// The same behind a VLAN tag. A second tag is not looked behind.
#[inline(always)]
fn parse_tagged<P: Packet>(packet: &P) -> Result<Headers, PassReason> {
    const TYPE: usize = ETHERNET_LEN + TAG_LEN - 2;
    let head: &[u8; TAG_LEN + IPV4_HEADERS_LEN] = packet.prefix().ok_or(PassReason::NotDns)?;
    match ip_version([head[TYPE], head[TYPE + 1]]) {
        Some(IpVersion::V4) => Headers::parse_ipv4(head, packet.len()),
        Some(IpVersion::V6) => {
            let head: &[u8; TAG_LEN + IPV6_HEADERS_LEN] =
                packet.prefix().ok_or(PassReason::NotDns)?;
            Headers::parse_ipv6(head, packet.len())
        }
        None => Err(PassReason::NotDns),
    }
}

/// Answers the DNS query that stands between `start` and `end` of the image, in
/// place, with a message of at most `room` bytes, itself at most what `R` says; or
/// says why not, and then the image's content is undefined.
#[inline(always)]
pub fn answer<R: Room, L: Lookup>(
    scratch: &mut Scratch,
    start: usize,
    end: usize,
    room: usize,
    state: State,
    lookup: &L,
) -> Result<Reply, PassReason> {
    let Some(config) = lookup.config() else {
        return Err(PassReason::Map);
    };
    let decision = 'decision: {
        if scratch.question.parse(&scratch.image, start, end, config)? {
            // From here on the question is what stands in memory, see `Question`: the
            // compiler may not carry the values over in registers.
            let question = *opaque::memory(&mut scratch.question);
            let stored = find::stored(scratch, start, config, &question, lookup)?;
            if stored == Stored::Found {
                break 'decision of_record(scratch, &question)?;
            }
            if scratch.question.walk(&scratch.image, start) {
                let question = *opaque::memory(&mut scratch.question);
                break 'decision decide::<R, L>(
                    scratch, start, room, config, &question, stored, lookup,
                )?;
            }
        }
        match why_not(&scratch.image, start, end) {
            PassReason::OutsideZone if asks_for_name(&scratch.image, start, end) => {
                let servers = &mut scratch.servers;
                servers.ask(Place::Reverse, DetailsAt::NONE, start, room);
                Ports::from_code(lookup.apart_reverse(scratch))?;
                Decision::Servers
            }
            reason => return Err(reason),
        }
    };
    let question = *opaque::memory(&mut scratch.question);
    let Scratch {
        image,
        record,
        rrset,
        servers,
        addresses: chunk,
        ..
    } = scratch;
    let mut body = Body::new(start, &question, room);
    let outcome = match decision {
        // Not one call with the family as a variable: what follows from it is known
        // when the program is built.
        Decision::Addresses(Family::Ipv4) => {
            let family = Family::Ipv4;
            addresses::put_all::<R, L>(
                family, record, rrset, &mut body, image, config, chunk, lookup,
            )?
        }
        Decision::Addresses(Family::Ipv6) => {
            let family = Family::Ipv6;
            addresses::put_all::<R, L>(
                family, record, rrset, &mut body, image, config, chunk, lookup,
            )?
        }
        Decision::Servers => {
            let written = servers.written();
            body.servers(written);
            if written.truncated != 0 {
                Outcome::Truncated
            } else {
                Outcome::Data
            }
        }
        Decision::Version => {
            body.version(image)?;
            Outcome::Data
        }
        Decision::Authority => {
            body.authority(image, config, state.serial)?;
            Outcome::Data
        }
        // What is not in incomplete maps may exist all the same.
        Decision::NoData | Decision::NxDomain if state.flags & State::COMPLETE == 0 => {
            return Err(PassReason::Incomplete);
        }
        // What was not found may have been replaced at that moment.
        Decision::NoData | Decision::NxDomain
            if !lookup.state().is_some_and(|now| now.denies_since(state)) =>
        {
            return Err(PassReason::Changed);
        }
        Decision::NoData => {
            body.negative(image, config, state.serial)?;
            Outcome::NoData
        }
        Decision::NxDomain => {
            body.negative(image, config, state.serial)?;
            Outcome::NxDomain
        }
    };
    let len = body.finish(image, outcome);
    Ok(Reply {
        len,
        kind: AnswerKind::of_qtype(question.qtype),
        outcome,
    })
}

/// Whether a question outside the zone, whose message ends at `end`, may be for the
/// name of an address. Most are not, and need not pay for those that are.
#[inline(always)]
fn asks_for_name(image: &Image, start: usize, end: usize) -> bool {
    let opt = usize::from(image.u8_at(start + DNS_HEADER_LEN - 1) != 0) * OPT_LEN;
    image.be16_at(end.wrapping_sub(4 + opt)) == qtype::PTR
}

/// The part of the engine that [`Lookup::apart`] is about: pods, ports and SRV
/// records, from what stands in `scratch`. What it returns is the engine's alone.
#[inline(always)]
pub fn apart<R: Room, L: Lookup>(scratch: &mut Scratch, lookup: &L) -> u64 {
    servers::answer::<R, L>(scratch, lookup).map_or_else(Ports::pass_code, Ports::code)
}

/// The part that [`Lookup::apart_reverse`] is about.
#[inline(always)]
pub fn apart_reverse<L: Lookup>(scratch: &mut Scratch, lookup: &L) -> u64 {
    match servers::answer_reverse(scratch, lookup) {
        Ok(()) => Ports::Written.code(),
        Err(reason) => Ports::pass_code(reason),
    }
}

/// What the answer to a question is.
enum Decision {
    /// The addresses of this family in [`Scratch::record`].
    Addresses(Family),
    /// The SRV or PTR records that are written already.
    Servers,
    /// The version of the specification.
    Version,
    /// The zone's SOA.
    Authority,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// CoreDNS's matrix of names and types.
#[inline(always)]
fn decide<R: Room, L: Lookup>(
    scratch: &mut Scratch,
    start: usize,
    room: usize,
    config: &Config,
    question: &Question,
    stored: Stored,
    lookup: &L,
) -> Result<Decision, PassReason> {
    match question.qtype {
        0 | qtype::OPT | qtype::TKEY..=qtype::MAILA => return Err(PassReason::Qtype),
        qtype::NS if question.zone == 0 => return Err(PassReason::Qtype),
        qtype::SOA if question.zone == 0 => return Ok(Decision::Authority),
        // CoreDNS looks nothing up for an SOA below the apex and says that there
        // is none, for names that do not exist as well (`handler.go`).
        qtype::SOA => return Ok(Decision::NoData),
        _ => {}
    }
    let (place, details) = match find::find(scratch, start, config, question, stored, lookup)? {
        Found::Version if question.qtype == qtype::TXT => return Ok(Decision::Version),
        Found::Missing | Found::Version => return Ok(Decision::NxDomain),
        // CoreDNS knows of a TXT only where it finds a Service, and takes other
        // names for missing (`kubernetes.go`, `Services`).
        Found::NonTerminal if question.qtype == qtype::TXT => return Ok(Decision::NxDomain),
        Found::NonTerminal => return Ok(Decision::NoData),
        Found::Record(place, details) => (place, details),
    };
    if scratch.record.flags.contains(NameFlags::PASS) {
        return Err(PassReason::Userspace);
    }
    if place == Place::Port || place == Place::Pod || question.qtype == qtype::SRV {
        scratch.servers.ask(place, details, start, room);
        match Ports::from_code(lookup.apart::<R>(scratch))? {
            Ports::None => return Ok(Decision::NxDomain),
            Ports::Unnumbered if question.qtype == qtype::SRV => return Ok(Decision::NoData),
            Ports::Differing => return Err(PassReason::Userspace),
            Ports::Written => return Ok(Decision::Servers),
            Ports::Numbered | Ports::Unnumbered => {}
        }
    }
    of_record(scratch, question)
}

/// What [`Scratch::record`] answers.
#[inline(always)]
fn of_record(scratch: &mut Scratch, question: &Question) -> Result<Decision, PassReason> {
    let record = &opaque::memory(scratch).record;
    if record.flags.contains(NameFlags::PASS) {
        return Err(PassReason::Userspace);
    }
    Ok(match question.qtype {
        qtype::A if record.ipv4 != 0 => Decision::Addresses(Family::Ipv4),
        qtype::AAAA if record.ipv6 != 0 => Decision::Addresses(Family::Ipv6),
        _ => Decision::NoData,
    })
}
