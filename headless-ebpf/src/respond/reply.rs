//! What stands around the records: header, counts, SOA, OPT, and how much fits.

use super::addresses::record_len;
use crate::{
    abi::{Config, Family, Outcome, PassReason},
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
}

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
        let wanted = total.min(self.client.saturating_sub(used) / len);
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
        let mut additionals = 0;
        if self.edns.is_present() {
            self.edns.put(image, self.at);
            self.at += OPT_LEN;
            additionals = 1;
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
        image.put_be16(self.start + 10, additionals);
        self.at - self.start
    }
}
