//! Reading a query as miekg/dns does (`server.go`, `acceptfunc.go`, `msg.go`).

use hickory_proto::rr::{Name, RecordType};

use crate::records::resolve::Question;

/// Length of a header in bytes.
const HEADER: usize = 12;

// The bits of a header's second word (RFC 1035, section 4.1.1; RFC 4035, section
// 3.2).
pub(super) const QR: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
pub(super) const AA: u16 = 1 << 10;
pub(super) const TC: u16 = 1 << 9;
const RD: u16 = 1 << 8;
const RA: u16 = 1 << 7;
const AD: u16 = 1 << 5;
const CD: u16 = 1 << 4;

/// Most compression pointers in a name (miekg/dns, `maxCompressionPointers`).
const POINTERS_MAX: usize = 126;

/// Most bytes of a name, root included (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// A query that can be answered.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) id: u16,
    flags: u16,
    pub(super) question: Question,
    pub(super) opt: Option<Opt>,
}

/// Why a message is not answered.
pub(super) enum Unread {
    /// It is a response, or not even a header.
    Ignore,
    Refuse(Refusal),
}

/// A message that gets an error back.
pub(super) struct Refusal {
    pub(super) id: u16,
    /// Of the reply.
    pub(super) flags: u16,
    /// Where it was understood.
    pub(super) question: Option<Question>,
    pub(super) rcode: u8,
}

/// An OPT record (RFC 6891, section 6.1.2).
#[derive(Debug)]
pub(super) struct Opt {
    /// UDP payload size in bytes.
    pub(super) size: u16,
    /// Upper RCODE bits, version and flags.
    pub(super) ttl: u32,
    /// The options that are echoed, each with code and length.
    pub(super) options: Vec<u8>,
}

impl Opt {
    pub(super) const fn version(&self) -> u8 {
        (self.ttl >> 16) as u8
    }

    /// The record in the reply: the size as it came, of the flags DO and what is
    /// in its byte (CoreDNS, `SizeAndDo`).
    pub(super) fn echo(&self) -> Self {
        Self {
            size: self.size,
            ttl: self.ttl & 0xff00,
            options: self.options.clone(),
        }
    }

    /// Length on the wire in bytes.
    pub(super) fn len(&self) -> usize {
        11 + self.options.len()
    }
}

impl Query {
    /// The second word of the reply's header without the RCODE: opcode, RD and CD
    /// as they came; RA never (miekg/dns, `SetReply`).
    pub(super) const fn reply_flags(&self, authoritative: bool) -> u16 {
        let opcode = self.flags & OPCODE;
        let copied = if opcode == 0 {
            self.flags & (RD | CD)
        } else {
            0
        };
        let aa = if authoritative { AA } else { 0 };
        QR | opcode | copied | aa
    }

    /// Reads a message.
    pub(super) fn read(message: &[u8]) -> Result<Self, Unread> {
        let mut reader = Reader { message, at: 0 };
        let mut word = || reader.word().ok_or(Unread::Ignore);
        let (id, flags) = (word()?, word()?);
        let counts = [word()?, word()?, word()?, word()?];
        if flags & QR != 0 {
            return Err(Unread::Ignore);
        }
        // What is wrong is sent back with the bits that came (miekg/dns,
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
        let malformed = |question| refusal(1, kept, question);
        let opcode = flags & OPCODE;
        if opcode != 0 && opcode >> 11 != 4 {
            return Err(refusal(4, kept | opcode, None));
        }
        let [questions, answers, authorities, additionals] = counts;
        if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
            return Err(malformed(None));
        }
        if message.len() == HEADER {
            // A count, and nothing that is counted (CoreDNS, `ServeDNS`).
            let copied = if opcode == 0 { flags & (RD | CD) } else { 0 };
            return Err(refusal(2, QR | opcode | copied, None));
        }
        let question = reader.question().ok_or_else(|| malformed(None))?;
        let mut opt = None;
        for (section, count) in [answers, authorities, additionals].into_iter().enumerate() {
            for _ in 0..count {
                // Counts may promise more than there is.
                if reader.at == message.len() {
                    break;
                }
                match reader.record() {
                    None => return Err(malformed(Some(question))),
                    // The last of several is the one that counts.
                    Some(Record::Opt(found)) if section == 2 => opt = Some(found),
                    Some(Record::Opt(_) | Record::Other) => {}
                }
            }
        }
        Ok(Self {
            id,
            flags,
            question,
            opt,
        })
    }
}

/// A record, as far as a query's are looked at.
enum Record {
    Opt(Opt),
    Other,
}

/// A place in a message.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(bytes)
    }

    fn word(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)?.as_array()?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// A name, compressed or not.
    fn name(&mut self) -> Option<Name> {
        let mut labels = Vec::new();
        let mut bytes = 1;
        let mut pointers = 0;
        let mut end = None;
        loop {
            let [len] = *self.take(1)?.as_array()?;
            match len & 0xc0 {
                0 if len == 0 => break,
                0 => {
                    bytes += usize::from(len) + 1;
                    if bytes > NAME_BYTES_MAX {
                        return None;
                    }
                    labels.push(self.take(len.into())?);
                }
                0xc0 => {
                    let [low] = *self.take(1)?.as_array()?;
                    end = end.or(Some(self.at));
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return None;
                    }
                    self.at = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(self.at);
        Name::from_labels(labels).ok()
    }

    /// A question. Type and class may be missing at the end of the message, and
    /// are then zero (miekg/dns, `unpackQuestion`).
    fn question(&mut self) -> Option<Question> {
        let name = self.name()?;
        let mut field = || {
            if self.at == self.message.len() {
                Some(0)
            } else {
                self.word()
            }
        };
        Some(Question {
            qtype: field()?,
            qclass: field()?,
            name,
        })
    }

    fn record(&mut self) -> Option<Record> {
        // The owner of an OPT record should be the root, which nobody checks.
        self.name()?;
        let kind = self.word()?;
        let size = self.word()?;
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        let len = self.word()?;
        let data = self.take(len.into())?;
        if kind != u16::from(RecordType::OPT) {
            return Some(Record::Other);
        }
        let options = options(data)?;
        Some(Record::Opt(Opt { size, ttl, options }))
    }
}

/// The options that CoreDNS echoes, as it writes them (`supportedOptions`).
/// `None` where one is malformed, echoed or not (miekg/dns, `edns.go`).
fn options(data: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader {
        message: data,
        at: 0,
    };
    let mut echoed = Vec::new();
    while reader.at < data.len() {
        let code = reader.word()?;
        let len = reader.word()?;
        let value = reader.take(len.into())?;
        let echo = match (code, value) {
            // NSID, COOKIE, PADDING.
            (3 | 10 | 12, value) => Some(value),
            // EXPIRE: empty or four bytes; more is cut off.
            (9, []) => Some(value),
            (9, value) => Some(value.get(..4)?),
            // TCP-KEEPALIVE: empty or two bytes; zero is written as empty.
            (11, [] | [0, 0]) => Some(&[][..]),
            (11, [_, _]) => Some(value),
            (11, _) => return None,
            // LLQ, UPDATE-LEASE, EDE, ZONEVERSION: lengths.
            (1, value) if value.len() < 18 => return None,
            (2, value) if value.len() != 4 && value.len() != 8 => return None,
            (15 | 19, value) if value.len() < 2 => return None,
            (8, value) if !is_subnet(value) => return None,
            // REPORT-CHANNEL: a name.
            (18, value) => {
                Reader {
                    message: value,
                    at: 0,
                }
                .name()?;
                None
            }
            _ => None,
        };
        if let Some(value) = echo {
            echoed.extend(code.to_be_bytes());
            echoed.extend((value.len() as u16).to_be_bytes());
            echoed.extend(value);
        }
    }
    Some(echoed)
}

/// Whether this is a client subnet that miekg/dns understands (RFC 7871, section
/// 6).
fn is_subnet(value: &[u8]) -> bool {
    let Some(([family_high, family, source, scope], _)) = value.split_first_chunk() else {
        return false;
    };
    match (family_high, family) {
        (0, 0) => *source == 0,
        (0, 1) => *source <= 32 && *scope <= 32,
        (0, 2) => *source <= 128 && *scope <= 128,
        _ => false,
    }
}
