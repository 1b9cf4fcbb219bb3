//! From a frame to its reply: headers, checks by the maps, the copy into the image, the message,
//! and the write back into the packet.

use super::{
    message::{Message, answer_with_config},
    subprogram::Runtime,
    verdict::{Verdict, VerdictCode},
};
use crate::{
    abi::{Family, PassReason},
    maps::Lookup,
    wire::frame::{
        ETHERNET_LEN, Headers, IPV4_HEADERS_LEN, IPV6_HEADERS_LEN, MESSAGE, NoQuery, Packet, Shape,
        TAG_LEN, asks_for_connection, ip_version, is_tag, reply_ipv4, reply_ipv6,
    },
};

/// Answers the query in `packet`. After a [`Verdict::Pass`] the packet is bit for bit as it came.
///
/// `runtime` claims the working memory. It is called only for queries to a served address, so
/// that the pods' other traffic does not pay for it.
pub fn respond<P: Packet, L: Lookup, M: Runtime>(
    packet: &mut P,
    lookup: &L,
    runtime: impl FnOnce() -> Result<M, PassReason>,
) -> Verdict {
    respond_coded(packet, lookup, runtime).verdict()
}

/// Does the same as [`respond`] and returns the verdict as a number, as the programs need it.
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

/// The steps of [`respond`]. An error is the reason of a pass.
#[inline(always)]
fn try_respond<P: Packet, L: Lookup, M: Runtime>(
    packet: &mut P,
    lookup: &L,
    runtime: impl FnOnce() -> Result<M, PassReason>,
) -> Result<VerdictCode, PassReason> {
    let headers = match parse(packet) {
        Ok(headers) => headers,
        Err(other) => return Err(reason(packet, other, lookup)),
    };
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
    // IPv4 and IPv6 share everything from here to the reply's headers. The shape goes through
    // memory, which keeps the verifier from checking that part twice (habit 1 of `verifier`).
    let shape = Shape::from_at(scratch.shape.store_and_read(shape.at()));
    if !packet.load(&mut scratch.image, shape, frame_len) {
        return Err(PassReason::Length);
    }
    let message = Message {
        start: MESSAGE,
        end: scratch.len.store_and_read(shape.at() + frame_len),
        capacity: packet.message_capacity(family)?,
    };
    let reply = answer_with_config::<P::Capacity, L>(&mut runtime, message, state, config, lookup)?;
    // Only the copy has changed until here.
    let scratch = runtime.scratch();
    let message_len = scratch.len.store_and_read(reply.len);
    // The verdict is another constant on each path. The verifier would follow each of them
    // through the loops below.
    let code = VerdictCode::answer(reply.kind, reply.outcome).number();
    let code = scratch.verdict.store_and_read(code);
    if packet.is_observed() {
        return Err(PassReason::Observed);
    }
    let shape = Shape::from_at(scratch.shape.read());
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

/// The reason why a frame that is no readable query passes. Only what may be a query to a served
/// address, or the first segment of a TCP connection to one, is counted.
#[inline(always)]
fn reason<P: Packet, L: Lookup>(packet: &P, frame: NoQuery, lookup: &L) -> PassReason {
    let (destination, reason) = match frame {
        NoQuery::Other => return PassReason::NotDns,
        NoQuery::Unreadable(destination, reason) => (destination, reason),
        NoQuery::Tcp(destination, flags_at) => match packet.byte(flags_at) {
            Some(flags) if asks_for_connection(flags) => (destination, PassReason::Tcp),
            _ => return PassReason::NotDns,
        },
    };
    match lookup.config() {
        Some(config) if lookup.serves(config, &destination) => reason,
        _ => PassReason::NotDns,
    }
}

/// Reads the headers of a frame.
#[inline(always)]
fn parse<P: Packet>(packet: &P) -> Result<Headers, NoQuery> {
    let head: &[u8; IPV4_HEADERS_LEN] = packet.prefix().ok_or(NoQuery::Other)?;
    let ethertype = [head[ETHERNET_LEN - 2], head[ETHERNET_LEN - 1]];
    if P::TAGS && is_tag(ethertype) {
        return parse_tagged(packet);
    }
    match ip_version(ethertype) {
        Some(Family::Ipv4) => Headers::parse_ipv4(head, packet.len()),
        Some(Family::Ipv6) => {
            let head: &[u8; IPV6_HEADERS_LEN] = packet.prefix().ok_or(NoQuery::Other)?;
            Headers::parse_ipv6(head, packet.len())
        }
        None => Err(NoQuery::Other),
    }
}

/// Reads the headers behind a VLAN tag. A frame with a second tag passes.
#[inline(always)]
fn parse_tagged<P: Packet>(packet: &P) -> Result<Headers, NoQuery> {
    const TYPE: usize = ETHERNET_LEN + TAG_LEN - 2;
    let head: &[u8; TAG_LEN + IPV4_HEADERS_LEN] = packet.prefix().ok_or(NoQuery::Other)?;
    match ip_version([head[TYPE], head[TYPE + 1]]) {
        Some(Family::Ipv4) => Headers::parse_ipv4(head, packet.len()),
        Some(Family::Ipv6) => {
            let head: &[u8; TAG_LEN + IPV6_HEADERS_LEN] = packet.prefix().ok_or(NoQuery::Other)?;
            Headers::parse_ipv6(head, packet.len())
        }
        None => Err(NoQuery::Other),
    }
}
