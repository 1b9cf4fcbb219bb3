//! Writes a message as miekg/dns does: it compresses the same names, and it leaves out the
//! same records where the message gets too long.

use std::collections::HashMap;

use headless_ebpf::wire::dns::flags::TC;
use headless_ebpf::wire::dns::{self, UDP_PAYLOAD_MIN};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding};

use super::edns::Opt;
use super::header::Header;
use crate::records::rules::Question;

/// First offset that a compression pointer cannot express (RFC 1035, section
/// 4.1.4).
const POINTER_MAX: usize = 1 << 14;

/// Offset of the sections' counts.
const COUNTS: usize = 4;

/// Number of the section that holds the OPT record.
const ADDITIONAL: usize = 3;

/// A message that grows up to a limit.
pub(super) struct MessageWriter {
    bytes: Vec<u8>,
    /// First offset of each name and of each end of a name, by its bytes. Names that
    /// differ in case are two names, as in miekg/dns.
    names: HashMap<Vec<u8>, u16>,
    limit: usize,
}

impl MessageWriter {
    /// Begins a message of at most `limit` bytes without its OPT record. Header and
    /// question are written even beyond the limit.
    pub(super) fn new(header: Header, question: Option<&Question>, limit: usize) -> Self {
        let Header { id, flags, rcode } = header;
        let mut writer = Self {
            bytes: Vec::with_capacity(UDP_PAYLOAD_MIN),
            names: HashMap::new(),
            limit,
        };
        writer.word(id);
        writer.word(flags | rcode & 0xf);
        writer.bytes.extend([0; 8]);
        if let Some(question) = question {
            let Question {
                name,
                qtype,
                qclass,
            } = question;
            writer.name(name, true);
            writer.word(*qtype);
            writer.word(*qclass);
            writer.count(0);
        }
        writer
    }

    fn word(&mut self, word: u16) {
        self.bytes.extend(word.to_be_bytes());
    }

    /// Adds one to the count of a section.
    fn count(&mut self, section: usize) {
        let at = COUNTS + section * 2;
        if let Some(field) = self.bytes.get_mut(at..at + 2)
            && let Some(field) = field.as_mut_array::<2>()
        {
            *field = u16::from_be_bytes(*field).saturating_add(1).to_be_bytes();
        }
    }

    /// Writes a name. Later names may point to a name that was not compressed itself.
    fn name(&mut self, name: &Name, compress: bool) {
        let mut wire = Vec::with_capacity(name.len());
        let mut starts = Vec::new();
        for label in name {
            starts.push(wire.len());
            wire.push(label.len() as u8);
            wire.extend(label);
        }
        let start = self.bytes.len();
        for at in starts {
            if let Some(pointer) = self.names.get(&wire[at..]) {
                if compress {
                    let pointer = dns::pointer(usize::from(*pointer));
                    self.bytes.extend(&wire[..at]);
                    return self.word(pointer);
                }
            } else if start + at < POINTER_MAX {
                self.names.insert(wire[at..].to_vec(), (start + at) as u16);
            }
        }
        self.bytes.extend(&wire);
        self.bytes.push(0);
    }

    /// Appends a record to a section. Returns `false` and writes nothing where the record
    /// does not fit. No other record may follow then, because `names` already holds the
    /// names of this one.
    pub(super) fn record(&mut self, section: usize, record: &Record) -> bool {
        let start = self.bytes.len();
        self.name(&record.name, true);
        self.word(record.record_type().into());
        self.word(record.dns_class.into());
        self.bytes.extend(record.ttl.to_be_bytes());
        let length = self.bytes.len();
        self.word(0);
        self.data(&record.data);
        let written = (self.bytes.len() - length - 2) as u16;
        if let Some(field) = self.bytes.get_mut(length..length + 2) {
            field.copy_from_slice(&written.to_be_bytes());
        }
        if self.bytes.len() > self.limit {
            self.bytes.truncate(start);
            return false;
        }
        self.count(section);
        true
    }

    /// Writes RDATA. Names in types of RFC 1035 are compressed (RFC 3597, section 4). The
    /// target of an SRV record is not (RFC 2782).
    fn data(&mut self, data: &RData) {
        match data {
            RData::A(address) => self.bytes.extend(address.0.octets()),
            RData::AAAA(address) => self.bytes.extend(address.0.octets()),
            RData::CNAME(name) => self.name(name, true),
            RData::NS(name) => self.name(name, true),
            RData::PTR(name) => self.name(name, true),
            RData::MX(mx) => {
                self.word(mx.preference);
                self.name(&mx.exchange, true);
            }
            RData::SRV(srv) => {
                self.word(srv.priority);
                self.word(srv.weight);
                self.word(srv.port);
                self.name(&srv.target, false);
            }
            RData::SOA(soa) => {
                self.name(&soa.mname, true);
                self.name(&soa.rname, true);
                self.bytes.extend(soa.serial.to_be_bytes());
                for seconds in [soa.refresh, soa.retry, soa.expire] {
                    self.bytes.extend(seconds.to_be_bytes());
                }
                self.bytes.extend(soa.minimum.to_be_bytes());
            }
            // Upstream resolvers may add any type to a chain of CNAMEs.
            other => {
                let mut bytes = Vec::new();
                let mut encoder = BinEncoder::new(&mut bytes);
                encoder.set_name_encoding(NameEncoding::Uncompressed);
                if other.emit(&mut encoder).is_ok() {
                    self.bytes.extend(bytes);
                }
            }
        }
    }

    /// Sets TC.
    pub(super) fn truncated(mut self) -> Self {
        if let Some(byte) = self.bytes.get_mut(2) {
            *byte |= (TC >> 8) as u8;
        }
        self
    }

    /// Ends the message with the OPT record.
    pub(super) fn finish(mut self, opt: Option<&Opt>) -> Vec<u8> {
        if let Some(Opt { size, ttl, options }) = opt {
            self.bytes.push(0);
            self.word(u16::from(hickory_proto::rr::RecordType::OPT));
            self.word(*size);
            self.bytes.extend(ttl.to_be_bytes());
            self.word(options.len() as u16);
            self.bytes.extend(options);
            self.count(ADDITIONAL);
        }
        self.bytes
    }
}
