//! From a query's bytes to a reply's: what CoreDNS's server does around its
//! plugins (miekg/dns `server.go`, `request/request.go`, `msg_truncate.go`,
//! `plugin/loadbalance`).
//!
//! hickory-proto has the names and the records. Its encoder is not used for the
//! message: it compresses no more than 120 names, which would cut a truncated
//! reply elsewhere than CoreDNS does, and so would its own truncation.

mod message;
mod query;

#[cfg(test)]
mod tests;

use fastrand::Rng;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};

use self::message::Header;
use self::query::{Query, Refusal, Unread};
use super::Index;
use super::resolve::{self, Answer, Forward, Question, Resolution};

/// How the query came, which decides how large the reply may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Up to the size that the client advertises, at least 512 bytes (RFC 1035,
    /// section 4.2.1; RFC 6891, section 6.2.3).
    Udp,
    /// Up to 65535 bytes.
    Tcp,
}

/// What to do about a query.
#[derive(Debug)]
pub enum Reply {
    /// Send this.
    Message(Vec<u8>),
    /// Find these records first.
    Chase(Box<Unfinished>),
    /// Have this answered elsewhere. [`Forwarded::refused`] is what to send
    /// where there is no elsewhere.
    Forward(Box<Forwarded>),
    /// Send nothing: this is no query.
    Ignore,
}

/// A question that is somebody else's.
#[derive(Debug)]
pub struct Forwarded {
    /// Whose.
    pub to: Forward,
    query: Query,
    transport: Transport,
}

impl Forwarded {
    /// What is asked.
    pub fn question(&self) -> &Question {
        &self.query.question
    }

    /// The reply of a server that has nobody to ask (CoreDNS, a name in no
    /// server block).
    pub fn refused(&self) -> Vec<u8> {
        error(&self.query, ResponseCode::Refused, self.transport)
    }
}

/// A reply that lacks the end of a chain of CNAMEs.
#[derive(Debug)]
pub struct Unfinished {
    answer: Answer,
    query: Query,
    transport: Transport,
}

impl Unfinished {
    /// What to look up, if the answer needs it.
    pub fn chase(&self) -> Option<&resolve::Chase> {
        self.answer.chase.as_ref()
    }

    /// The reply, given the answer section of the lookup, or `None` where there
    /// was no answer.
    pub fn finish(self, index: &Index, found: Option<Vec<Record>>, rng: &mut Rng) -> Vec<u8> {
        let Self {
            answer,
            query,
            transport,
        } = self;
        let answer = answer.chased(index, &query.question.name, found);
        encode(&query, answer, transport, rng)
    }
}

/// Answers a query. `rng` orders the addresses, as CoreDNS's `loadbalance`
/// plugin does.
pub fn reply(index: &Index, query: &[u8], transport: Transport, rng: &mut Rng) -> Reply {
    let query = match Query::read(query) {
        Ok(query) => query,
        Err(Unread::Ignore) => return Reply::Ignore,
        Err(Unread::Refuse(refusal)) => return Reply::Message(refuse(&refusal)),
    };
    if query.opt.as_ref().is_some_and(|opt| opt.version() != 0) {
        return Reply::Message(bad_version(&query));
    }
    match resolve::resolve(index, &query.question) {
        Resolution::Forward(to) => Reply::Forward(Box::new(Forwarded {
            to,
            query,
            transport,
        })),
        Resolution::Answer(answer) if answer.chase.is_some() => {
            Reply::Chase(Box::new(Unfinished {
                answer,
                query,
                transport,
            }))
        }
        Resolution::Answer(answer) => Reply::Message(encode(&query, answer, transport, rng)),
    }
}

/// A message that was not understood gets its header back, and the question
/// where that was (miekg/dns, `SetRcodeFormatError`).
fn refuse(refusal: &Refusal) -> Vec<u8> {
    let header = Header {
        id: refusal.id,
        flags: refusal.flags,
        rcode: refusal.rcode,
    };
    message::Writer::new(header, refusal.question.as_ref(), usize::from(u16::MAX)).finish(None)
}

/// CoreDNS, `edns.Version`: an OPT record of version 0 and no more.
fn bad_version(query: &Query) -> Vec<u8> {
    let header = Header {
        id: query.id,
        flags: query.reply_flags(false),
        // The lower half; the upper is in the OPT record (RFC 6891, section
        // 6.1.3).
        rcode: 0,
    };
    let opt = query::Opt {
        size: 0,
        ttl: 1 << 24,
        options: Vec::new(),
    };
    message::Writer::new(header, Some(&query.question), usize::from(u16::MAX)).finish(Some(&opt))
}

fn error(query: &Query, rcode: ResponseCode, transport: Transport) -> Vec<u8> {
    let answer = Answer {
        rcode,
        authoritative: false,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        chase: None,
    };
    encode(query, answer, transport, &mut Rng::with_seed(0))
}

/// Writes what fits: whole records in order, and TC=1 where one did not fit,
/// glue included (miekg/dns, `Truncate`). Records that fit are sent with TC=1
/// too: musl before 1.2.4 uses them and never asks again over TCP.
fn encode(query: &Query, answer: Answer, transport: Transport, rng: &mut Rng) -> Vec<u8> {
    let Answer {
        rcode,
        authoritative,
        answers,
        authorities,
        additionals,
        chase: _,
    } = answer;
    let mut sections = [answers, authorities, additionals];
    if rcode == ResponseCode::NoError {
        for section in &mut sections {
            shuffle(section, rng);
        }
    }
    let opt = query.opt.as_ref().map(query::Opt::echo);
    let header = Header {
        id: query.id,
        flags: query.reply_flags(authoritative),
        rcode: u16::from(rcode) as u8,
    };
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => query
            .opt
            .as_ref()
            .map_or(512, |opt| usize::from(opt.size).max(512)),
    };
    let reserved = opt.as_ref().map_or(0, query::Opt::len);
    let limit = limit.saturating_sub(reserved);
    let mut writer = message::Writer::new(header, Some(&query.question), limit);
    for (section, records) in (1..).zip(&sections) {
        for record in records {
            if !writer.record(section, record) {
                return writer.truncated().finish(opt.as_ref());
            }
        }
    }
    writer.finish(opt.as_ref())
}

/// CoreDNS, `loadbalance`: CNAMEs first, then other records, then addresses in
/// any order.
fn shuffle(records: &mut [Record], rng: &mut Rng) {
    let rank = |record: &Record| match record.record_type() {
        RecordType::CNAME => 0,
        RecordType::A | RecordType::AAAA => 2,
        _ => 1,
    };
    records.sort_by_key(rank);
    let addresses = records.partition_point(|record| rank(record) < 2);
    rng.shuffle(&mut records[addresses..]);
}
