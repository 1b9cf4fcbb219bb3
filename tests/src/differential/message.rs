//! Writes queries as bytes, and reads replies from bytes.

use std::collections::BTreeSet;

use anyhow::Context as _;
use headless_ebpf::wire::dns::flags::{QR, RD, TC};
use headless_ebpf::wire::dns::qtype::OPT;
use hickory_proto::op::Message;
use hickory_proto::rr::Record;

/// A name as its labels, leftmost first, without the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(pub Vec<Vec<u8>>);

impl DnsName {
    /// Reads a name in presentation form. The backslash has no special meaning.
    pub fn new(text: &str) -> Self {
        let labels = text.split('.').filter(|label| !label.is_empty());
        Self(labels.map(|label| label.as_bytes().to_vec()).collect())
    }

    /// This name followed by `suffix`.
    #[must_use]
    pub fn followed_by(&self, suffix: &Self) -> Self {
        Self([self.0.as_slice(), suffix.0.as_slice()].concat())
    }

    /// Length in wire form, in bytes.
    pub fn wire_len(&self) -> usize {
        self.0.iter().map(|label| label.len() + 1).sum::<usize>() + 1
    }

    /// The name in wire form.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.wire_len());
        for label in &self.0 {
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        wire.push(0);
        wire
    }

    /// Reads an uncompressed name at the start of `wire`.
    pub fn from_wire(mut wire: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        loop {
            let (len, rest) = wire.split_first()?;
            if *len == 0 {
                return Some(Self(labels));
            }
            let (label, rest) = rest.split_at_checked(usize::from(*len))?;
            labels.push(label.to_vec());
            wire = rest;
        }
    }

    /// The name in lower case.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|label| label.to_ascii_lowercase())
                .collect(),
        )
    }

    /// The name in presentation form, for messages.
    pub fn show(&self) -> String {
        let labels = self.0.iter().map(|label| label.escape_ascii().to_string());
        labels.collect::<Vec<_>>().join(".") + "."
    }

    /// Whether the name is at or below one of `names`, in any case. `names` must be in
    /// lower case.
    pub fn is_below(&self, names: &BTreeSet<Self>) -> bool {
        let Self(labels) = self.folded();
        (0..labels.len()).any(|at| names.contains(&Self(labels[at..].to_vec())))
    }

    /// Whether the name is at or below `zone`, in any case.
    pub fn is_in(&self, zone: &Self) -> bool {
        let Some(cut) = self.0.len().checked_sub(zone.0.len()) else {
            return false;
        };
        self.0[cut..]
            .iter()
            .zip(&zone.0)
            .all(|(a, b)| a.eq_ignore_ascii_case(b))
    }
}

/// An OPT record (RFC 6891, section 6.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// UDP payload size in bytes.
    pub size: u16,
    /// Extended RCODE, version and flags, which stand in place of the TTL.
    pub ttl: u32,
    /// The options in wire form.
    pub options: Vec<u8>,
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Transaction id.
    pub id: u16,
    /// The header's second word: flags, opcode and RCODE.
    pub flags: u16,
    /// The name.
    pub name: DnsName,
    /// The type.
    pub qtype: u16,
    /// The class.
    pub qclass: u16,
    /// The OPT record.
    pub opt: Option<Opt>,
}

impl Query {
    /// A query of class IN with RD set.
    pub fn new(name: DnsName, qtype: u16) -> Self {
        Self {
            id: 0,
            flags: RD,
            name,
            qtype,
            qclass: 1,
            opt: None,
        }
    }

    /// The query in wire form.
    pub fn bytes(&self) -> Vec<u8> {
        let Self {
            id,
            flags,
            name,
            qtype,
            qclass,
            opt,
        } = self;
        let additionals = u16::from(opt.is_some());
        let header = [*id, *flags, 1, 0, 0, additionals];
        let mut bytes: Vec<u8> = header.into_iter().flat_map(u16::to_be_bytes).collect();
        bytes.extend(name.wire());
        bytes.extend(qtype.to_be_bytes());
        bytes.extend(qclass.to_be_bytes());
        if let Some(Opt { size, ttl, options }) = opt {
            bytes.push(0);
            bytes.extend(OPT.to_be_bytes());
            bytes.extend(size.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((options.len() as u16).to_be_bytes());
            bytes.extend(options);
        }
        bytes
    }

    /// The query as text, for messages.
    pub fn show(&self) -> String {
        let Self {
            flags,
            name,
            qtype,
            qclass,
            opt,
            ..
        } = self;
        let opt = opt.as_ref().map_or_else(String::new, |opt| {
            let Opt { size, ttl, options } = opt;
            let start = options.get(..16).unwrap_or(options).escape_ascii();
            format!(
                " opt {size} {ttl:#x} {} option bytes {start}",
                options.len()
            )
        });
        format!(
            "{} type {qtype} class {qclass} flags {flags:#06x}{opt}",
            name.show()
        )
    }
}

/// A resource record as text, in the case of the reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TextRecord {
    /// The owner name.
    pub owner: String,
    /// TTL, class, type and RDATA, separated by spaces.
    pub rest: String,
}

impl TextRecord {
    fn new(record: &Record) -> Self {
        Self {
            owner: record.name.to_ascii(),
            rest: format!(
                "{} {} {} {}",
                record.ttl,
                record.dns_class,
                record.record_type(),
                record.data
            ),
        }
    }
}

/// A reply that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The header's second word: flags, opcode and RCODE.
    pub flags: u16,
    /// The question section in wire form.
    pub question: Vec<u8>,
    /// The records of answer, authority and additional section, each section sorted. The
    /// OPT record is left out.
    pub sections: [Vec<TextRecord>; 3],
    /// The OPT record.
    pub opt: Option<Opt>,
    /// The reply's length in bytes.
    pub len: usize,
}

impl Decoded {
    /// Reads a reply. hickory-proto reads the records. Header, question and OPT record
    /// are taken from the bytes, because hickory-proto raises small payload sizes to 512
    /// and loses the content of some options.
    pub fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        let word = |at: usize| -> Option<u16> {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*bytes))
        };
        let flags = word(2).context("no header")?;
        anyhow::ensure!(flags & QR != 0, "QR is not set: a query, not a reply");
        let message = Message::from_vec(bytes).context("not a message")?;
        let sort = |records: &[Record]| {
            let mut texts: Vec<TextRecord> = records.iter().map(TextRecord::new).collect();
            texts.sort();
            texts
        };
        let question = if word(4) == Some(0) {
            Vec::new()
        } else {
            let end = skip_name(bytes, 12).context("no question")? + 4;
            bytes.get(12..end).context("no question")?.to_vec()
        };
        let opt = match message.edns {
            Some(_) => Some(opt(bytes).context("the OPT record is not found in the bytes")?),
            None => None,
        };
        Ok(Self {
            flags,
            question,
            sections: [
                sort(&message.answers),
                sort(&message.authorities),
                sort(&message.additionals),
            ],
            opt,
            len: bytes.len(),
        })
    }

    /// Whether TC is set.
    pub fn truncated(&self) -> bool {
        self.flags & TC != 0
    }

    /// The RCODE's lower four bits, which are in the header.
    pub fn rcode(&self) -> u16 {
        self.flags & 0xf
    }
}

/// The offset behind the name at `at`; `None` if the name is malformed.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = usize::from(*bytes.get(at)?);
        match len {
            0 => return Some(at + 1),
            1..64 => at += 1 + len,
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// For each record behind the question: the offset of its type and the offset of its end.
/// The iterator ends at the first record that is malformed.
fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let count = |i: usize| word(bytes, 4 + 2 * i).unwrap_or(0);
    let mut at = Some(12);
    for _ in 0..count(0) {
        at = at.and_then(|at| skip_name(bytes, at)).map(|end| end + 4);
    }
    let total: u32 = (1..4).map(|i| u32::from(count(i))).sum();
    (0..total).map_while(move |_| {
        let fixed = skip_name(bytes, at?)?;
        let end = fixed + 10 + usize::from(word(bytes, fixed + 8)?);
        at = Some(end);
        Some((fixed, end))
    })
}

/// Whether a query has a record other than OPT.
pub fn has_other_record(query: &[u8]) -> bool {
    records(query).any(|(fixed, _)| word(query, fixed).is_some_and(|kind| kind != OPT))
}

/// The OPT record, read from the bytes of a message.
fn opt(bytes: &[u8]) -> Option<Opt> {
    let (fixed, end) = records(bytes).find(|(fixed, _)| word(bytes, *fixed) == Some(OPT))?;
    let word = |at| word(bytes, at);
    Some(Opt {
        size: word(fixed + 2)?,
        ttl: u32::from(word(fixed + 4)?) << 16 | u32::from(word(fixed + 6)?),
        options: bytes.get(fixed + 10..end)?.to_vec(),
    })
}
