//! Reads a query as miekg/dns does (`server.go`, `acceptfunc.go`, `msg.go`).

use headless_ebpf::wire::dns::DNS_HEADER_LEN;
use headless_ebpf::wire::dns::flags::{AA, AD, CD, OPCODE, QR, RA, RD, TC};
use headless_ebpf::wire::dns::rcode::{FORMERR, NOTIMP, SERVFAIL};
use hickory_proto::rr::RecordType;

use super::edns::Opt;
use super::reader::Reader;
use crate::records::rules::Question;

/// The opcode NOTIFY (RFC 1996), which CoreDNS answers like a query.
const NOTIFY: u16 = 4;

/// A query that can be answered.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) id: u16,
    flags: u16,
    pub(super) question: Question,
    pub(super) opt: Option<Opt>,
}

/// Why a message is no query that can be answered.
pub(super) enum Unread {
    /// The message is a response, or shorter than a header.
    Ignore,
    /// The message gets an error back.
    Refuse(Refusal),
}

/// The parts of an error reply.
pub(super) struct Refusal {
    pub(super) id: u16,
    /// The flags of the reply.
    pub(super) flags: u16,
    /// The question, if it could be read.
    pub(super) question: Option<Question>,
    pub(super) rcode: u16,
}

impl Query {
    /// The second word of the reply's header without the RCODE: opcode, RD and CD of the
    /// query, and never RA (miekg/dns, `SetReply`).
    pub(super) const fn reply_flags(&self, authoritative: bool) -> u16 {
        let aa = if authoritative { AA } else { 0 };
        reply_flags(self.flags) | aa
    }

    /// Reads a message that may be a query.
    pub(super) fn read(message: &[u8]) -> Result<Self, Unread> {
        let mut reader = Reader::new(message);
        let mut word = || reader.word().ok_or(Unread::Ignore);
        let (id, flags) = (word()?, word()?);
        let counts = [word()?, word()?, word()?, word()?];
        if flags & QR != 0 {
            return Err(Unread::Ignore);
        }
        // An error reply keeps more flags of the query than an answer does (miekg/dns,
        // `serveDNS`).
        let kept = QR | flags & (TC | RD | RA | AD | CD);
        let refusal = |rcode, flags, question| {
            Unread::Refuse(Refusal {
                id,
                flags,
                question,
                rcode,
            })
        };
        let malformed = |question| refusal(FORMERR, kept, question);
        let opcode = flags & OPCODE;
        if opcode != 0 && opcode >> 11 != NOTIFY {
            return Err(refusal(NOTIMP, kept | opcode, None));
        }
        let [questions, answers, authorities, additionals] = counts;
        if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
            return Err(malformed(None));
        }
        if message.len() == DNS_HEADER_LEN {
            // miekg/dns reads this message, but CoreDNS finds no question in it
            // (`ServeDNS` in `core/dnsserver/server.go`).
            return Err(refusal(SERVFAIL, reply_flags(flags), None));
        }
        let question = reader.question().ok_or_else(|| malformed(None))?;
        match read_opt(&mut reader, [answers, authorities, additionals]) {
            Ok(opt) => Ok(Self {
                id,
                flags,
                question,
                opt,
            }),
            Err(MalformedRecord) => Err(malformed(Some(question))),
        }
    }
}

/// The flags of a reply that follow from the query's: QR, the opcode, and, for opcode
/// QUERY, RD and CD (miekg/dns, `SetReply`).
const fn reply_flags(query: u16) -> u16 {
    let opcode = query & OPCODE;
    let copied = if opcode == 0 { query & (RD | CD) } else { 0 };
    QR | opcode | copied
}

/// A record of a query cannot be read.
struct MalformedRecord;

/// Reads the records behind the question and returns the last OPT record of the
/// additional section.
fn read_opt(reader: &mut Reader<'_>, counts: [u16; 3]) -> Result<Option<Opt>, MalformedRecord> {
    const ADDITIONAL: usize = 2;
    let mut opt = None;
    for (section, count) in counts.into_iter().enumerate() {
        for _ in 0..count {
            // miekg/dns accepts counts that are higher than the number of records.
            if reader.is_at_end() {
                break;
            }
            let record = reader.record().ok_or(MalformedRecord)?;
            if record.kind != u16::from(RecordType::OPT) {
                continue;
            }
            let found = Opt::read(&record).ok_or(MalformedRecord)?;
            if section == ADDITIONAL {
                opt = Some(found);
            }
        }
    }
    Ok(opt)
}
