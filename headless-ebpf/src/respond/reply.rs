//! What stands around the records: header, counts, SOA, OPT, and how much fits.

use bytemuck::{Pod, Zeroable};

use super::{addresses::record_len, servers::Written};
use crate::{
    abi::{Config, Family, Outcome, PassReason},
    opaque,
    wire::{
        DNS_HEADER_LEN, Edns, Image, OPT_LEN, Question, SOA_LEN, UDP_PAYLOAD_MIN, flags, pointer,
        put_soa, rcode,
    },
};

/// A reply as it grows behind the question.
pub(super) struct Body {
    start: usize,
    /// Where the next record goes.
    at: usize,
    /// What the client takes, in bytes of message.
    client: usize,
    /// What we can send, in bytes of message.
    room: usize,
    /// Where the zone is in the message, as a compression pointer.
    zone: u16,
    edns: Edns,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

/// Where records may stand, as offsets in the image.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Limits {
    /// The message's start.
    pub(super) start: u32,
    /// Where the first record goes.
    pub(super) at: u32,
    /// Where the last one ends at the latest, for the client.
    client: u32,
    /// The same for us.
    room: u32,
}

impl Limits {
    /// Whether a record that ends here may be written. An error where the client
    /// would take it and we cannot send it.
    #[inline(always)]
    pub(super) fn allow(&self, end: usize) -> Result<bool, PassReason> {
        if end > self.client as usize {
            Ok(false)
        } else if end > self.room as usize {
            Err(PassReason::TooLarge)
        } else {
            Ok(true)
        }
    }
}

/// The version record (Kubernetes DNS specification, section 2.2), of the
/// question's name: TXT, class IN, TTL 28800 (CoreDNS, `Services`).
const VERSION: &[u8; VERSION_LEN] = b"\xc0\x0c\0\x10\0\x01\0\0\x70\x80\0\x06\x051.1.0";

const VERSION_LEN: usize = 18;

impl Body {
    #[inline(always)]
    pub(super) fn new(start: usize, question: &Question, room: usize) -> Self {
        // A size below 512 means 512 (RFC 6891, section 6.2.3); without OPT it
        // reads as zero.
        let client = usize::from(question.edns.size).max(UDP_PAYLOAD_MIN);
        Self {
            start,
            at: start + DNS_HEADER_LEN + question.name_len as usize + 4,
            client,
            room,
            zone: pointer(DNS_HEADER_LEN + question.zone as usize),
            edns: question.edns,
            answers: 0,
            authorities: 0,
            additionals: 0,
        }
    }

    /// Offset of the next record in the image.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many of `total` records the reply holds: as many as the client
    /// takes, in whole records, with the OPT record reserved (miekg/dns,
    /// `msg_truncate.go`). An error where the client would take more than we
    /// can send.
    #[inline(always)]
    pub(super) fn count_that_fits(
        &self,
        total: usize,
        family: Family,
    ) -> Result<usize, PassReason> {
        let used = self.at - self.start + self.edns.reply_len();
        let len = record_len(family);
        // Dividing takes long, and hardly ever is there more than fits.
        let wanted = if used + total * len <= self.client {
            total
        } else {
            total.min(self.client.saturating_sub(used) / len)
        };
        if used + wanted * len > self.room {
            return Err(PassReason::TooLarge);
        }
        Ok(wanted)
    }

    /// Takes note of `count` records written at [`Self::at`].
    #[inline(always)]
    pub(super) fn answers(&mut self, count: usize, family: Family) {
        self.at += count * record_len(family);
        self.answers = count as u16;
    }

    /// Where records may stand, with the OPT record reserved.
    #[inline(always)]
    pub(super) fn limits(&self) -> Limits {
        let opt = self.edns.reply_len();
        Limits {
            start: self.start as u32,
            at: self.at as u32,
            client: (self.start + self.client - opt) as u32,
            room: (self.start + self.room - opt) as u32,
        }
    }

    /// Takes note of SRV records written at [`Self::at`].
    #[inline(always)]
    pub(super) fn servers(&mut self, written: &Written) {
        self.at = written.end as usize;
        self.answers = written.answers as u16;
        self.additionals = written.additionals as u16;
    }

    /// Writes the version of the specification.
    #[inline(always)]
    pub(super) fn version(&mut self, image: &mut Image) -> Result<(), PassReason> {
        if !self.limits().allow(self.at + VERSION_LEN)? {
            return Err(PassReason::TooLarge);
        }
        // The compiler has compared and would leave out the mask of the access, by
        // which the verifier knows that it is inside.
        if let Some(record) = image.window_mut(opaque::number(self.at)) {
            *record = *VERSION;
        }
        self.at += VERSION_LEN;
        self.answers = 1;
        Ok(())
    }

    /// Writes the SOA of the zone that was asked for it.
    #[inline(always)]
    pub(super) fn authority(
        &mut self,
        image: &mut Image,
        config: &Config,
        serial: u32,
    ) -> Result<(), PassReason> {
        self.negative(image, config, serial)?;
        (self.answers, self.authorities) = (1, 0);
        Ok(())
    }

    /// Writes the SOA of a negative answer (RFC 2308, section 3).
    #[inline(always)]
    pub(super) fn negative(
        &mut self,
        image: &mut Image,
        config: &Config,
        serial: u32,
    ) -> Result<(), PassReason> {
        let len = self.at - self.start + SOA_LEN + self.edns.reply_len();
        if len > self.room || len > self.client {
            return Err(PassReason::TooLarge);
        }
        put_soa(
            image,
            self.at,
            self.zone,
            config.negative_ttl,
            serial,
            config.ttl,
        );
        self.at += SOA_LEN;
        self.authorities = 1;
        Ok(())
    }

    /// Writes OPT, flags and counts; returns the message's length in bytes.
    ///
    /// AA is set and RA is not, RD and CD are echoed, AD is cleared, as CoreDNS
    /// answers for its own zone (miekg/dns, `SetReply`).
    #[inline(always)]
    pub(super) fn finish(mut self, image: &mut Image, outcome: Outcome) -> usize {
        if self.edns.is_present() {
            self.edns.put(image, self.at);
            self.at += OPT_LEN;
            self.additionals += 1;
        }
        let query = image.be16_at(self.start + 2);
        let mut header = flags::QR | flags::AA | query & (flags::RD | flags::CD);
        header |= match outcome {
            Outcome::Data | Outcome::NoData => rcode::NOERROR,
            Outcome::Truncated => flags::TC,
            Outcome::NxDomain => rcode::NXDOMAIN,
        };
        image.put_be16(self.start + 2, header);
        image.put_be16(self.start + 6, self.answers);
        image.put_be16(self.start + 8, self.authorities);
        image.put_be16(self.start + 10, self.additionals);
        self.at - self.start
    }
}
