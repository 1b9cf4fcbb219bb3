//! From a DNS message to its answer.

use super::{
    addresses::Addresses,
    find::{EarlyLookup, ZoneName, find, look_up_early},
    names::Names,
    reply::Body,
    request::Request,
    scratch::Scratch,
    shape::NameKind,
    srv::{DetailsLocation, Ports},
    subprogram::{Runtime, call_below, call_ptr, call_srv},
    verdict::Reply,
};
use crate::{
    abi::{Config, Family, NameFlags, NameRecord, Outcome, PassReason, State},
    maps::Lookup,
    verifier,
    wire::{
        Capacity, Image,
        dns::{DNS_HEADER_LEN, OPT_LEN, QUESTION_FIXED_LEN, Question, answer_kind, qtype, why_not},
    },
};

/// Where a message stands in the image, and how large its reply may become.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Offset of its first byte.
    pub start: usize,
    /// Offset behind its last byte.
    pub end: usize,
    /// Most bytes of a reply that can be sent, at most [`Capacity::MESSAGE_MAX`].
    pub capacity: usize,
}

/// The answer to a question.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Decision {
    /// The IPv4 addresses in [`Scratch::record`].
    Ipv4,
    /// The IPv6 addresses in [`Scratch::record`].
    Ipv6,
    /// The SRV or PTR records that a subprogram has written.
    Written,
    /// The version of the specification.
    Version,
    /// The zone's SOA.
    Authority,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
}

impl Decision {
    /// The decision of this number.
    #[inline(always)]
    const fn from_number(number: usize) -> Self {
        const IPV4: usize = Decision::Ipv4 as usize;
        const IPV6: usize = Decision::Ipv6 as usize;
        const WRITTEN: usize = Decision::Written as usize;
        const VERSION: usize = Decision::Version as usize;
        const AUTHORITY: usize = Decision::Authority as usize;
        const NO_DATA: usize = Decision::NoData as usize;
        match number {
            IPV4 => Self::Ipv4,
            IPV6 => Self::Ipv6,
            WRITTEN => Self::Written,
            VERSION => Self::Version,
            AUTHORITY => Self::Authority,
            NO_DATA => Self::NoData,
            _ => Self::NxDomain,
        }
    }
}

/// Answers a DNS query in place, or says why not, and then the image's content is
/// undefined.
///
/// `state` is [`Lookup::state`] as it was read before anything was looked up.
#[inline(always)]
pub fn answer<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    message: Message,
    state: State,
    lookup: &L,
) -> Result<Reply, PassReason> {
    let Some(config) = lookup.config() else {
        return Err(PassReason::Map);
    };
    answer_by::<C, L>(runtime, message, state, config, lookup)
}

/// [`answer`] by a configuration that was read already.
#[inline(always)]
pub(super) fn answer_by<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    message: Message,
    state: State,
    config: &Config,
    lookup: &L,
) -> Result<Reply, PassReason> {
    let request = Request {
        start: message.start,
        capacity: message.capacity,
        config,
        lookup,
    };
    let decision = decide::<C, L>(runtime, message.end, request)?;
    let scratch = runtime.scratch();
    // A number in memory: the compiler would carry the ways on which the decision was made
    // through the rest.
    let decision = Decision::from_number(scratch.decision.forget(decision as usize));
    write::<C, L>(scratch, decision, state, request)
}

/// Decides what the answer to the message is, which ends at `end`.
#[inline(always)]
fn decide<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    end: usize,
    request: Request<'_, L>,
) -> Result<Decision, PassReason> {
    let start = request.start;
    let scratch = runtime.scratch();
    if scratch
        .question
        .parse(&scratch.image, start, end, request.config)?
    {
        let (mut names, question, record) = parts(scratch, request);
        let early = look_up_early(&mut names, start, question, record)?;
        if early == EarlyLookup::Found {
            return of_record(scratch);
        }
        if scratch.question.walk(&scratch.image, start) {
            return in_zone::<C, L>(runtime, early, request);
        }
    }
    match why_not(&scratch.image, start, end) {
        PassReason::OutsideZone if asks_for_pointer(&scratch.image, start, end) => {
            call_ptr::<C, L>(runtime, request)?;
            Ok(Decision::Written)
        }
        reason => Err(reason),
    }
}

/// The parts of the working memory that a look-up needs.
#[inline(always)]
fn parts<'a, L>(
    scratch: &'a mut Scratch,
    request: Request<'a, L>,
) -> (Names<'a, L>, &'a Question, &'a mut NameRecord) {
    let names = Names {
        image: &scratch.image,
        key: &mut scratch.key,
        config: request.config,
        lookup: request.lookup,
    };
    // The compiler may not carry values of the question over in registers.
    let question = verifier::reread(&mut scratch.question);
    (names, question, &mut scratch.record)
}

/// Whether a question outside the zone, whose message ends at `end`, may be for the
/// name of an address. Most are not, and need not pay for those that are.
#[inline(always)]
fn asks_for_pointer(image: &Image, start: usize, end: usize) -> bool {
    let opt_len = usize::from(image.u8_at(start + DNS_HEADER_LEN - 1) != 0) * OPT_LEN;
    image.be16_at(end.wrapping_sub(QUESTION_FIXED_LEN + opt_len)) == qtype::PTR
}

/// CoreDNS's matrix of names and types.
#[inline(always)]
fn in_zone<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    early: EarlyLookup,
    request: Request<'_, L>,
) -> Result<Decision, PassReason> {
    let (mut names, question, record) = parts(runtime.scratch(), request);
    let question = *question;
    match question.qtype {
        0 | qtype::OPT | qtype::TKEY..=qtype::MAILA => return Err(PassReason::Qtype),
        qtype::NS if question.zone == 0 => return Err(PassReason::Qtype),
        qtype::SOA if question.zone == 0 => return Ok(Decision::Authority),
        // CoreDNS looks nothing up for an SOA below the apex and says that there
        // is none, for names that do not exist as well (`handler.go`).
        qtype::SOA => return Ok(Decision::NoData),
        _ => {}
    }
    let kind = match find(&mut names, request, &question, early, record)? {
        ZoneName::Version if question.qtype == qtype::TXT => return Ok(Decision::Version),
        ZoneName::Missing | ZoneName::Version => return Ok(Decision::NxDomain),
        // CoreDNS knows of a TXT only where it finds a Service, and takes other
        // names for missing (`kubernetes.go`, `Services`).
        ZoneName::NonTerminal if question.qtype == qtype::TXT => return Ok(Decision::NxDomain),
        ZoneName::NonTerminal => return Ok(Decision::NoData),
        ZoneName::Record(kind) => {
            let scratch = runtime.scratch();
            if kind == NameKind::Service || kind == NameKind::Port {
                scratch.srv.details = DetailsLocation::own(&scratch.record);
            }
            kind
        }
        ZoneName::Below(kind) => {
            if !call_below::<C, L>(runtime, kind, request)? {
                return Ok(Decision::NxDomain);
            }
            kind
        }
    };
    // The record of a pod follows from its label, which has not been read.
    let is_pod = kind == NameKind::Pod;
    if !is_pod && runtime.scratch().record.flags.contains(NameFlags::PASS) {
        return Err(PassReason::Userspace);
    }
    if is_pod || kind == NameKind::Port || question.qtype == qtype::SRV {
        match call_srv::<C, L>(runtime, kind, request)? {
            Ports::None => return Ok(Decision::NxDomain),
            Ports::Unnumbered if question.qtype == qtype::SRV => return Ok(Decision::NoData),
            Ports::Differing => return Err(PassReason::Userspace),
            Ports::Written => return Ok(Decision::Written),
            Ports::Numbered | Ports::Unnumbered => {}
        }
    }
    of_record(runtime.scratch())
}

/// What the record that was found answers.
#[inline(always)]
fn of_record(scratch: &mut Scratch) -> Result<Decision, PassReason> {
    let scratch = verifier::reread(scratch);
    let record = &scratch.record;
    if record.flags.contains(NameFlags::PASS) {
        return Err(PassReason::Userspace);
    }
    Ok(match scratch.question.qtype {
        qtype::A if record.ipv4 != 0 => Decision::Ipv4,
        qtype::AAAA if record.ipv6 != 0 => Decision::Ipv6,
        _ => Decision::NoData,
    })
}

/// Writes the answer that was decided on.
#[inline(always)]
fn write<C: Capacity, L: Lookup>(
    scratch: &mut Scratch,
    decision: Decision,
    state: State,
    request: Request<'_, L>,
) -> Result<Reply, PassReason> {
    let question = *verifier::reread(&mut scratch.question);
    let mut body = Body::new(request.start, &question, request.capacity);
    let mut addresses = Addresses {
        request,
        image: &mut scratch.image,
        record: &mut scratch.record,
        rrset: &mut scratch.rrset,
        content: &mut scratch.content,
    };
    let Request { config, lookup, .. } = request;
    let outcome = match decision {
        // Not one call with the family as a variable: lengths and types that follow from
        // it are known when the program is built.
        Decision::Ipv4 => addresses.put::<C>(Family::Ipv4, &mut body)?,
        Decision::Ipv6 => addresses.put::<C>(Family::Ipv6, &mut body)?,
        Decision::Written => {
            let written = scratch.srv.written();
            body.written(written);
            if written.truncated != 0 {
                Outcome::Truncated
            } else {
                Outcome::Data
            }
        }
        Decision::Version => {
            body.version(&mut scratch.image)?;
            Outcome::Data
        }
        Decision::Authority => {
            let Some(now) = lookup.state() else {
                return Err(PassReason::Map);
            };
            body.authority(&mut scratch.image, config, now.serial)?;
            Outcome::Data
        }
        Decision::NoData => {
            let now = deny(state, lookup)?;
            body.negative(&mut scratch.image, config, now.serial)?;
            Outcome::NoData
        }
        Decision::NxDomain => {
            let now = deny(state, lookup)?;
            body.negative(&mut scratch.image, config, now.serial)?;
            Outcome::NxDomain
        }
    };
    let len = body.finish(&mut scratch.image, outcome);
    Ok(Reply {
        len,
        kind: answer_kind(question.qtype),
        outcome,
    })
}

/// Makes sure that a name or a type may be denied that was not found. Returns the state as
/// it is now.
#[inline(always)]
fn deny<L: Lookup>(before: State, lookup: &L) -> Result<State, PassReason> {
    // A name that is not in incomplete maps may exist all the same.
    if before.flags & State::COMPLETE == 0 {
        return Err(PassReason::Incomplete);
    }
    // A name that was not found may have been replaced at that moment.
    match lookup.state_after_lookups() {
        Some(now) if now.denies_since(before) => Ok(now),
        _ => Err(PassReason::Changed),
    }
}
