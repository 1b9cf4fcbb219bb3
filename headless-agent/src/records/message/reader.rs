//! Reads the parts of a message.

use headless_ebpf::wire::dns::NAME_LEN_MAX;
use hickory_proto::rr::Name;

use crate::records::rules::Question;

/// Most compression pointers in a name (miekg/dns, `maxCompressionPointers`).
const POINTERS_MAX: usize = 126;

/// A record without its owner name.
pub(super) struct RawRecord<'a> {
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    pub(super) rdata: &'a [u8],
}

/// A place in a message, or in other bytes of the same encoding.
pub(super) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at == self.message.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(bytes)
    }

    pub(super) fn word(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)?.as_array()?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// Reads a name, compressed or not.
    pub(super) fn name(&mut self) -> Option<Name> {
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
                    if bytes > NAME_LEN_MAX {
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

    /// Reads a question. At the end of the message the type and the class may be missing,
    /// and are zero then (miekg/dns, `unpackQuestion`).
    pub(super) fn question(&mut self) -> Option<Question> {
        let name = self.name()?;
        let mut field = || {
            if self.is_at_end() {
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

    /// Reads a record. The owner name of an OPT record should be the root, but miekg/dns does
    /// not check it.
    pub(super) fn record(&mut self) -> Option<RawRecord<'a>> {
        self.name()?;
        let kind = self.word()?;
        let class = self.word()?;
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        let len = self.word()?;
        let rdata = self.take(len.into())?;
        Some(RawRecord {
            kind,
            class,
            ttl,
            rdata,
        })
    }
}
