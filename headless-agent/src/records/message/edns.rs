//! EDNS: the OPT record and its options (RFC 6891).

use headless_ebpf::wire::dns::OPT_FLAGS_ECHOED;

use super::reader::{RawRecord, Reader};

/// An OPT record (RFC 6891, section 6.1.2).
#[derive(Debug)]
pub(super) struct Opt {
    /// UDP payload size in bytes.
    pub(super) size: u16,
    /// Upper bits of the RCODE, version and flags.
    pub(super) ttl: u32,
    /// The options that the reply repeats, each with code and length.
    pub(super) options: Vec<u8>,
}

impl Opt {
    /// Reads an OPT record. `None` where an option is malformed.
    pub(super) fn read(record: &RawRecord<'_>) -> Option<Self> {
        Some(Self {
            size: record.class,
            ttl: record.ttl,
            options: echoed(record.rdata)?,
        })
    }

    pub(super) const fn version(&self) -> u8 {
        (self.ttl >> 16) as u8
    }

    /// The OPT record of the reply: the size of the query, and of the flags the byte that
    /// holds DO (CoreDNS, `SizeAndDo` in `request/request.go`).
    pub(super) fn echo(&self) -> Self {
        Self {
            size: self.size,
            ttl: self.ttl & u32::from(OPT_FLAGS_ECHOED),
            options: self.options.clone(),
        }
    }

    /// Length on the wire in bytes.
    pub(super) fn len(&self) -> usize {
        11 + self.options.len()
    }
}

/// The options that CoreDNS repeats in its reply, in the form in which it writes them
/// (`supportedOptions` in `request/edns0.go`). `None` where any option is malformed
/// (miekg/dns, `edns.go`).
fn echoed(data: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(data);
    let mut echoed = Vec::new();
    while !reader.is_at_end() {
        let code = reader.word()?;
        let len = reader.word()?;
        let value = reader.take(len.into())?;
        let echo = match (code, value) {
            // NSID, COOKIE, PADDING.
            (3 | 10 | 12, value) => Some(value),
            // EXPIRE: empty or four bytes. miekg/dns cuts off more.
            (9, []) => Some(value),
            (9, value) => Some(value.get(..4)?),
            // TCP-KEEPALIVE: empty or two bytes. miekg/dns writes zero as empty.
            (11, [] | [0, 0]) => Some(&[][..]),
            (11, [_, _]) => Some(value),
            (11, _) => return None,
            // Not repeated, but their lengths are checked: LLQ, UPDATE-LEASE, EDE,
            // ZONEVERSION, CLIENT-SUBNET.
            (1, value) if value.len() < 18 => return None,
            (2, value) if value.len() != 4 && value.len() != 8 => return None,
            (15 | 19, value) if value.len() < 2 => return None,
            (8, value) if !is_subnet(value) => return None,
            // REPORT-CHANNEL holds a name.
            (18, value) => {
                Reader::new(value).name()?;
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

/// Whether miekg/dns can read this client subnet (RFC 7871, section 6).
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
