//! From a DNS message to its reply: `decide` chooses the answer, `write` writes it.

use super::{
    addresses::Addresses,
    find::{EarlyLookup, ZoneName, find, look_up_early},
    names::Names,
    reply::Body,
    request::Request,
    scratch::Scratch,
    shape::NameKind,
    srv::{DetailsLocation, Ports},
    subprogram::{Runtime, call_below, call_options, call_passed, call_ptr, call_srv},
    verdict::Reply,
};
use crate::{
    abi::{Config, Family, NameFlags, NameRecord, Outcome, PassReason, State},
    maps::Lookup,
    verifier,
    wire::{
        Capacity, Image,
        dns::{
            DNS_HEADER_LEN, Edns, OPT_LEN, QUESTION_FIXED_LEN, Question, answer_kind, has_opt,
            pass_reason, qtype,
        },
    },
};

/// A message in the image, and the size of the largest reply.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Offset of the message's first byte.
    pub start: usize,
    /// Offset behind the message's last byte.
    pub end: usize,
    /// Most bytes of a reply that the packet can carry, at most [`Capacity::MESSAGE_MAX`].
    pub capacity: usize,
}

/// The kind of reply to a question.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Decision {
    /// The IPv4 addresses in [`Scratch::record`].
    Ipv4,
    /// The IPv6 addresses in [`Scratch::record`].
    Ipv6,
    /// The SRV or PTR records that a subprogram has written.
    Written,
    /// The TXT record with the specification's version.
    Version,
    /// The zone's SOA, which was asked for.
    Authority,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
}

impl Decision {
    /// The decision with this number.
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

/// Answers the DNS query `message` in the image of the working memory. After an error, which
/// says why the query passes, the image's content is undefined.
///
/// `state` is [`Lookup::state`], read before all look-ups.
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
    answer_with_config::<C, L>(runtime, message, state, config, lookup)
}

/// Does the same as [`answer`] with a configuration that has been read already.
#[inline(always)]
pub(super) fn answer_with_config<C: Capacity, L: Lookup>(
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
    let decision = decide::<C, L>(runtime, message.end, state, request)?;
    let scratch = runtime.scratch();
    // The decision goes through memory. The compiler would otherwise build the rest once for
    // each path on which the decision was made.
    let number = scratch.decision.store_and_read(decision as usize);
    if number == Decision::NxDomain as usize && state.flags & State::PASS_NXDOMAIN != 0 {
        return Err(PassReason::Corefile);
    }
    // A name that yields is known to userspace only.
    if number == Decision::NxDomain as usize
        && state.flags & State::YIELDING != 0
        && call_below::<C, L>(runtime, NameKind::Namespace, request)?
    {
        return Err(PassReason::Userspace);
    }
    let scratch = runtime.scratch();
    let decision = Decision::from_number(scratch.decision.read());
    write::<C, L>(scratch, decision, state, request)
}

/// Decides about the reply to the message that ends at `end`.
#[inline(always)]
fn decide<C: Capacity, L: Lookup>(
    runtime: &mut impl Runtime,
    end: usize,
    state: State,
    request: Request<'_, L>,
) -> Result<Decision, PassReason> {
    let start = request.start;
    let with_opt = has_opt(&runtime.scratch().image, start)?;
    let mut end = end;
    if with_opt && !Edns::is_bare(&runtime.scratch().image, end) {
        end = call_options::<C, L>(runtime, end, request)?;
    }
    let scratch = runtime.scratch();
    let Request { config, .. } = request;
    if scratch
        .question
        .parse(&scratch.image, start, end, with_opt, config)
    {
        // One comparison, because nearly every cluster has neither.
        if state.flags & (State::PASS_ZONE | State::PASS_NAMES) != 0
            && (state.flags & State::PASS_ZONE != 0 || call_passed::<C, L>(runtime, request)?)
        {
            return Err(PassReason::Corefile);
        }
        let scratch = runtime.scratch();
        let (mut names, question, record) = parts(scratch, request);
        let early = look_up_early(&mut names, start, question, record)?;
        if early == EarlyLookup::Found {
            return of_record(scratch);
        }
        if scratch.question.walk(&scratch.image, start) {
            return in_zone::<C, L>(runtime, early, request);
        }
    }
    let scratch = runtime.scratch();
    match pass_reason(&scratch.image, start, end, config) {
        PassReason::OutsideZone if asks_for_ptr(&scratch.image, start, end) => {
            if state.flags & State::PASS_REVERSE != 0 {
                return Err(PassReason::Corefile);
            }
            call_ptr::<C, L>(runtime, request)?;
            Ok(Decision::Written)
        }
        reason => Err(reason),
    }
}

/// The parts of the working memory that a look-up uses.
#[inline(always)]
fn parts<'a, L>(
    scratch: &'a mut Scratch,
    request: Request<'a, L>,
) -> (Names<'a, L>, &'a Question, &'a mut NameRecord) {
    let names = Names::new(&scratch.image, &mut scratch.key, request);
    // `reread` keeps the compiler from holding the question's numbers in registers.
    let question = verifier::reread(&mut scratch.question);
    (names, question, &mut scratch.record)
}

/// Whether a question outside the zone has type PTR. Its message ends at `end`. Most such
/// questions have another type, and this check is all that they wait for.
#[inline(always)]
fn asks_for_ptr(image: &Image, start: usize, end: usize) -> bool {
    let opt_len = usize::from(image.u8_at(start + DNS_HEADER_LEN - 1) != 0) * OPT_LEN;
    image.be16_at(end.wrapping_sub(QUESTION_FIXED_LEN + opt_len)) == qtype::PTR
}

/// Decides about a question in the zone by name and type, as CoreDNS does (`handler.go` and
/// `kubernetes.go` of its `kubernetes` plugin).
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
        // CoreDNS does not look up the name for an SOA below the apex. It answers NODATA, also
        // for names that do not exist (`handler.go`).
        qtype::SOA => return Ok(Decision::NoData),
        _ => {}
    }
    let kind = match find(&mut names, request, &question, early, record)? {
        ZoneName::Version if question.qtype == qtype::TXT => return Ok(Decision::Version),
        ZoneName::Missing | ZoneName::Version => return Ok(Decision::NxDomain),
        // CoreDNS looks for TXT records among Services and the names below them only. To a TXT
        // question, other names do not exist (`kubernetes.go`, `Services`).
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
    // A pod's record follows from its label, which only the subprogram reads.
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

/// Decides by the record that was found.
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

/// Writes the reply.
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
        // Two calls, each with a constant family: the compiler then knows all lengths and types
        // that depend on the family.
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
            body.version(&mut scratch.image, config.version_ttl)?;
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
    let len = body.finish(&mut scratch.image, &scratch.options, outcome);
    Ok(Reply {
        len,
        kind: answer_kind(question.qtype),
        outcome,
    })
}

/// Checks that a name or type that was not found may be denied. `before` is the state from
/// before the look-ups. Returns the present state.
#[inline(always)]
fn deny<L: Lookup>(before: State, lookup: &L) -> Result<State, PassReason> {
    if before.flags & State::PASS_DENIALS != 0 {
        return Err(PassReason::Corefile);
    }
    // A name that is missing in incomplete maps may still exist.
    if before.flags & State::COMPLETE == 0 {
        return Err(PassReason::Incomplete);
    }
    // A look-up can miss a name while the agent replaces it.
    match lookup.state_after_lookups() {
        Some(now) if now.denies_since(before) => Ok(now),
        _ => Err(PassReason::Changed),
    }
}
