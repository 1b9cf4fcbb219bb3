//! From a query's bytes to a reply's bytes: the work that CoreDNS's server does around its
//! plugins (miekg/dns, `server.go` and `msg_truncate.go`; CoreDNS,
//! `request/request.go` and `plugin/loadbalance`).
//!
//! Names and records are hickory-proto's. The encoder is our own: hickory-proto's
//! compresses at most 120 names, so it would cut a large reply at another record than
//! CoreDNS does.

mod edns;
mod header;
mod query;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use fastrand::Rng;
use headless_ebpf::wire::dns::rcode::NOERROR;
use headless_ebpf::wire::dns::{CLASS_IN, UDP_PAYLOAD_MIN};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};

use self::edns::Opt;
use self::header::Header;
use self::query::{Query, Refusal, Unread};
use self::writer::MessageWriter;
use super::Index;
use super::rules::{self, Answer, Forward, Question, Resolution};
use crate::corefile::Cache;

/// The transport of a query, which limits the size of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP: the size that the client's OPT record gives, at least 512 bytes (RFC 1035,
    /// section 4.2.1; RFC 6891, section 6.2.3).
    Udp,
    /// TCP: 65535 bytes.
    Tcp,
}

/// The next step of the server for a query.
#[derive(Debug)]
pub enum Reply {
    /// Send this message.
    Message(Vec<u8>),
    /// Look up [`Unfinished::chases`], then send [`Unfinished::finish`].
    Chase(Box<Unfinished>),
    /// Let another server answer. Without such a server, send [`Forwarded::refused`].
    Forward(Box<Forwarded>),
    /// Send nothing, because the message is no query.
    Ignore,
}

/// A query that another server has to answer.
#[derive(Debug)]
pub struct Forwarded {
    /// The other server.
    pub to: Forward,
    query: Query,
    transport: Transport,
}

impl Forwarded {
    /// The question of the query.
    pub fn question(&self) -> &Question {
        &self.query.question
    }

    /// The reply of a server that has no other server to ask: REFUSED, as CoreDNS
    /// answers for a zone that is not in its Corefile.
    pub fn refused(&self) -> Vec<u8> {
        error(&self.query, ResponseCode::Refused, self.transport)
    }
}

/// A reply that lacks the ends of chains of CNAMEs.
#[derive(Debug)]
pub struct Unfinished {
    answer: Answer,
    query: Query,
    transport: Transport,
    cache: Option<Cache>,
}

impl Unfinished {
    /// The look-ups that the reply waits for.
    pub fn chases(&self) -> &[rules::Chase] {
        &self.answer.chases
    }

    /// The reply. `found` has the records of the look-ups' answer sections. It is empty where
    /// no server answered.
    pub fn finish(self, found: Vec<Record>, rng: &mut Rng) -> Vec<u8> {
        let Self {
            answer,
            query,
            transport,
            cache,
        } = self;
        let mut answer = answer.chased(found);
        if let Some(cache) = cache {
            bound(&mut answer, cache);
        }
        encode(&query, answer, transport, rng)
    }
}

/// Answers a query. `rng` puts the addresses into a random order, as CoreDNS's
/// `loadbalance` plugin does.
pub fn reply(index: &Index, query: &[u8], transport: Transport, rng: &mut Rng) -> Reply {
    let mut query = match Query::read(query) {
        Ok(query) => query,
        Err(Unread::Ignore) => return Reply::Ignore,
        Err(Unread::Refuse(refusal)) => return Reply::Message(refuse(&refusal)),
    };
    // CoreDNS looks at the class first (`ServeDNS` in `core/dnsserver/server.go`).
    if query.question.qclass != CLASS_IN && !index.settings().any_class {
        return Reply::Forward(Box::new(Forwarded {
            to: Forward::ClusterDns,
            query,
            transport,
        }));
    }
    if query.opt.as_ref().is_some_and(|opt| opt.version() != 0) {
        return Reply::Message(bad_version(&query));
    }
    if let Some(opt) = &mut query.opt {
        opt.size = opt.size.min(index.settings().edns_max);
    }
    match rules::resolve(index, &query.question) {
        Resolution::Forward(to) => Reply::Forward(Box::new(Forwarded {
            to,
            query,
            transport,
        })),
        Resolution::Answer(answer) if !answer.chases.is_empty() => {
            Reply::Chase(Box::new(Unfinished {
                answer,
                query,
                transport,
                cache: index.settings().cache,
            }))
        }
        Resolution::Answer(answer) => Reply::Message(encode(&query, answer, transport, rng)),
    }
}

/// Gives all records the least of their TTLs, within the bounds of the cache (CoreDNS, `WriteMsg`
/// in `plugin/cache/cache.go`). Only records of another server differ from the cluster's own.
fn bound(answer: &mut Answer, cache: Cache) {
    let clamp = if answer.authorities.is_empty() {
        cache.success
    } else {
        cache.denial
    };
    let sections = [
        &mut answer.answers,
        &mut answer.authorities,
        &mut answer.additionals,
    ];
    let mut records: Vec<&mut Record> = sections.into_iter().flatten().collect();
    let least = records.iter().map(|record| record.ttl).min();
    for record in &mut records {
        record.ttl = clamp.apply(least.unwrap_or_default());
    }
}

/// Refuses a query, whatever it asks.
pub fn refusal(query: &[u8], transport: Transport) -> Reply {
    match Query::read(query) {
        Ok(query) => Reply::Forward(Box::new(Forwarded {
            to: Forward::ClusterDns,
            query,
            transport,
        })),
        Err(Unread::Ignore) => Reply::Ignore,
        Err(Unread::Refuse(refusal)) => Reply::Message(refuse(&refusal)),
    }
}

/// The reply to a malformed message: its header, and its question if that could be read
/// (miekg/dns, `SetRcodeFormatError`).
fn refuse(refusal: &Refusal) -> Vec<u8> {
    let header = Header {
        id: refusal.id,
        flags: refusal.flags,
        rcode: refusal.rcode,
    };
    MessageWriter::new(header, refusal.question.as_ref(), usize::from(u16::MAX)).finish(None)
}

/// The reply to an unknown version of EDNS: BADVERS in an OPT record of version 0
/// (CoreDNS, `edns.Version` in `plugin/pkg/edns/edns.go`).
fn bad_version(query: &Query) -> Vec<u8> {
    let header = Header {
        id: query.id,
        flags: query.reply_flags(false),
        // The lower four bits of BADVERS (16). The OPT record holds the upper bits (RFC
        // 6891, section 6.1.3).
        rcode: NOERROR,
    };
    let opt = Opt {
        size: 0,
        ttl: 1 << 24,
        options: Vec::new(),
    };
    MessageWriter::new(header, Some(&query.question), usize::from(u16::MAX)).finish(Some(&opt))
}

fn error(query: &Query, rcode: ResponseCode, transport: Transport) -> Vec<u8> {
    let answer = Answer {
        rcode,
        authoritative: false,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        chases: Vec::new(),
    };
    encode(query, answer, transport, &mut Rng::with_seed(0))
}

/// Writes records in order until one does not fit, which sets TC, even for an address of
/// the additional section (miekg/dns, `Truncate`). The records that fit are sent with
/// TC, because musl before 1.2.4 uses them and never asks again over TCP.
fn encode(query: &Query, answer: Answer, transport: Transport, rng: &mut Rng) -> Vec<u8> {
    let Answer {
        rcode,
        authoritative,
        answers,
        authorities,
        additionals,
        chases: _,
    } = answer;
    let mut sections = [answers, authorities, additionals];
    if rcode == ResponseCode::NoError {
        for section in &mut sections {
            shuffle(section, rng);
        }
    }
    let opt = query.opt.as_ref().map(Opt::echo);
    let header = Header {
        id: query.id,
        flags: query.reply_flags(authoritative),
        rcode: rcode.into(),
    };
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => query.opt.as_ref().map_or(UDP_PAYLOAD_MIN, |opt| {
            usize::from(opt.size).max(UDP_PAYLOAD_MIN)
        }),
    };
    let reserved = opt.as_ref().map_or(0, Opt::len);
    let limit = limit.saturating_sub(reserved);
    let mut writer = MessageWriter::new(header, Some(&query.question), limit);
    for (section, records) in (1..).zip(&sections) {
        for record in records {
            if !writer.record(section, record) {
                return writer.truncated().finish(opt.as_ref());
            }
        }
    }
    writer.finish(opt.as_ref())
}

/// Orders a section: CNAMEs first, then other records, then the addresses in random
/// order (CoreDNS, `plugin/loadbalance`).
///
/// The other records, such as SRV records, begin at a random one. CoreDNS takes a Service's
/// slices in random order, so that all records come in turn where not all of them fit.
fn shuffle(records: &mut [Record], rng: &mut Rng) {
    let rank = |record: &Record| match record.record_type() {
        RecordType::CNAME => 0,
        RecordType::A | RecordType::AAAA => 2,
        _ => 1,
    };
    records.sort_by_key(rank);
    let others = records.partition_point(|record| rank(record) < 1);
    let addresses = records.partition_point(|record| rank(record) < 2);
    if addresses > others {
        records[others..addresses].rotate_left(rng.usize(..addresses - others));
    }
    rng.shuffle(&mut records[addresses..]);
}
