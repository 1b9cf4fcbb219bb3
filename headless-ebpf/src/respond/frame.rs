//! From a frame to its reply.

use super::{
    message::{Message, answer_by},
    subprogram::Runtime,
    verdict::{Verdict, VerdictCode},
};
use crate::{
    abi::{Family, PassReason},
    maps::Lookup,
    wire::frame::{
        ETHERNET_LEN, Headers, IPV4_HEADERS_LEN, IPV6_HEADERS_LEN, MESSAGE, Packet, Shape, TAG_LEN,
        ip_version, is_tag, reply_ipv4, reply_ipv6,
    },
};

/// Answers the query in `packet`, or says why not.
///
/// `runtime` is asked for once the packet is known to be for us, so that other
/// traffic does not pay for it. Unless the verdict is [`Verdict::Answer`] (or
/// [`Verdict::Lost`]), the packet is bit for bit as it came.
pub fn respond<P: Packet, L: Lookup, M: Runtime>(
    packet: &mut P,
    lookup: &L,
    runtime: impl FnOnce() -> Result<M, PassReason>,
) -> Verdict {
    respond_coded(packet, lookup, runtime).verdict()
}

/// [`respond`] for the programs.
#[inline(always)]
pub fn respond_coded<P: Packet, L: Lookup, M: Runtime>(
    packet: &mut P,
    lookup: &L,
    runtime: impl FnOnce() -> Result<M, PassReason>,
) -> VerdictCode {
    match try_respond(packet, lookup, runtime) {
        Ok(code) => code,
        Err(reason) => VerdictCode::pass(reason),
    }
}

#[inline(always)]
fn try_respond<P: Packet, L: Lookup, M: Runtime>(
    packet: &mut P,
    lookup: &L,
    runtime: impl FnOnce() -> Result<M, PassReason>,
) -> Result<VerdictCode, PassReason> {
    let headers = parse(packet)?;
    let Some(config) = lookup.config() else {
        return Err(PassReason::Map);
    };
    if !lookup.serves(config, &headers.destination) {
        return Err(PassReason::NotServed);
    }
    let Some(state) = lookup.state() else {
        return Err(PassReason::Map);
    };
    let mut runtime = runtime()?;
    if lookup.now_ns() >= state.deadline_ns {
        return Err(PassReason::AgentStale);
    }
    let Headers {
        shape, frame_len, ..
    } = headers;
    let family = shape.family();
    let scratch = runtime.scratch();
    // IPv4 and IPv6 share everything from here to the reply's headers. The shape goes
    // through memory, which keeps the verifier from checking that part twice.
    let shape = Shape::from_at(scratch.at.forget(shape.at()));
    if !packet.load(&mut scratch.image, shape, frame_len) {
        return Err(PassReason::Length);
    }
    let message = Message {
        start: MESSAGE,
        end: scratch.len.forget(shape.at() + frame_len),
        capacity: packet.message_capacity(family)?,
    };
    let reply = answer_by::<P::Capacity, L>(&mut runtime, message, state, config, lookup)?;
    // Up to here only the copy has changed.
    let scratch = runtime.scratch();
    let message_len = scratch.len.forget(reply.len);
    // On each way the verdict is another constant, which the verifier would carry
    // through the loops behind.
    let code = VerdictCode::answer(reply.kind, reply.outcome).number();
    let code = scratch.verdict.forget(code);
    let shape = Shape::from_at(scratch.at.get());
    let len = shape.headers_len() + message_len;
    let image = &mut scratch.image;
    match shape.family() {
        Family::Ipv4 => reply_ipv4(image, shape, message_len),
        Family::Ipv6 => reply_ipv6::<P::Capacity>(image, shape, message_len),
    }
    if !packet.resize(len) {
        return Err(PassReason::NoRoom);
    }
    Ok(if packet.store(image, shape, len) {
        VerdictCode::from_number(code)
    } else {
        VerdictCode::lost()
    })
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
        Some(Family::Ipv4) => Headers::parse_ipv4(head, packet.len()),
        Some(Family::Ipv6) => {
            let head: &[u8; IPV6_HEADERS_LEN] = packet.prefix().ok_or(PassReason::NotDns)?;
            Headers::parse_ipv6(head, packet.len())
        }
        None => Err(PassReason::NotDns),
    }
}

/// The headers behind a VLAN tag. A frame with a second tag is not ours.
#[inline(always)]
fn parse_tagged<P: Packet>(packet: &P) -> Result<Headers, PassReason> {
    const TYPE: usize = ETHERNET_LEN + TAG_LEN - 2;
    let head: &[u8; TAG_LEN + IPV4_HEADERS_LEN] = packet.prefix().ok_or(PassReason::NotDns)?;
    match ip_version([head[TYPE], head[TYPE + 1]]) {
        Some(Family::Ipv4) => Headers::parse_ipv4(head, packet.len()),
        Some(Family::Ipv6) => {
            let head: &[u8; TAG_LEN + IPV6_HEADERS_LEN] =
                packet.prefix().ok_or(PassReason::NotDns)?;
            Headers::parse_ipv6(head, packet.len())
        }
        None => Err(PassReason::NotDns),
    }
}
