//! The parts of a reply around its records: header, counts, SOA, OPT, and how much fits.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{Config, Outcome, PassReason},
    verifier,
    wire::{
        Image,
        dns::{
            Counts, DNS_HEADER_LEN, Edns, OPT_LEN, QUESTION_FIXED_LEN, Question, SOA_LEN, Soa,
            UDP_PAYLOAD_MIN, VERSION_LEN, flags, pointer, put_counts, put_flags, put_version,
            rcode,
        },
    },
};

/// Where records may stand, as offsets in the image.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Limits {
    /// The message's start.
    pub(super) start: u32,
    /// Where the first record goes.
    pub(super) at: u32,
    /// Where the last record ends at the latest, for the client to take it.
    client: u32,
    /// Where the last record ends at the latest, for us to send it.
    capacity: u32,
}

impl Limits {
    /// Whether a record that ends here may be written. An error where the client
    /// would take it and we cannot send it.
    #[inline(always)]
    pub(super) fn allow(&self, end: usize) -> Result<bool, PassReason> {
        if end > self.client as usize {
            Ok(false)
        } else if end > self.capacity as usize {
            Err(PassReason::TooLarge)
        } else {
            Ok(true)
        }
    }
}

/// The records that a subprogram has written.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Written {
    /// Offset of the next record in the image.
    pub(super) end: u32,
    pub(super) answers: u32,
    pub(super) additionals: u32,
    /// Whether more records did not fit: 1 or 0.
    pub(super) truncated: u32,
}

/// A reply as it grows behind the question.
pub(super) struct Body {
    start: usize,
    /// Where the next record goes.
    at: usize,
    /// Most bytes of a message that the client takes.
    client: usize,
    /// Most bytes of a message that we can send.
    capacity: usize,
    /// The zone within the question, as a compression pointer.
    zone: u16,
    edns: Edns,
    counts: Counts,
}

impl Body {
    /// The reply to the question of a message that starts at `start`, of at most
    /// `capacity` bytes.
    #[inline(always)]
    pub(super) fn new(start: usize, question: &Question, capacity: usize) -> Self {
        // A size below 512 means 512 (RFC 6891, section 6.2.3); without OPT it
        // reads as zero.
        let client = usize::from(question.edns.size).max(UDP_PAYLOAD_MIN);
        Self {
            start,
            at: start + DNS_HEADER_LEN + question.name_len as usize + QUESTION_FIXED_LEN,
            client,
            capacity,
            zone: pointer(DNS_HEADER_LEN + question.zone as usize),
            edns: question.edns,
            counts: Counts::default(),
        }
    }

    /// Offset of the next record in the image.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many of `total` records of `len` bytes the reply holds: as many as the client
    /// takes, in whole records, with the OPT record reserved (miekg/dns,
    /// `msg_truncate.go`). An error where the client would take more than we
    /// can send.
    #[inline(always)]
    pub(super) fn count_that_fits(&self, total: usize, len: usize) -> Result<usize, PassReason> {
        let used = self.at - self.start + self.edns.reply_len();
        // Dividing takes long, and hardly ever is there more than fits.
        let wanted = if used + total * len <= self.client {
            total
        } else {
            total.min(self.client.saturating_sub(used) / len)
        };
        if used + wanted * len > self.capacity {
            return Err(PassReason::TooLarge);
        }
        Ok(wanted)
    }

    /// Takes note of `count` answers of `len` bytes written at [`Self::at`].
    #[inline(always)]
    pub(super) fn answers(&mut self, count: usize, len: usize) {
        self.at += count * len;
        self.counts.answers = count as u16;
    }

    /// Where records may stand, with the OPT record reserved.
    #[inline(always)]
    pub(super) fn limits(&self) -> Limits {
        let opt = self.edns.reply_len();
        Limits {
            start: self.start as u32,
            at: self.at as u32,
            client: (self.start + self.client - opt) as u32,
            capacity: (self.start + self.capacity - opt) as u32,
        }
    }

    /// Takes note of the records that a subprogram has written at [`Self::at`].
    #[inline(always)]
    pub(super) fn written(&mut self, written: &Written) {
        self.at = written.end as usize;
        self.counts.answers = written.answers as u16;
        self.counts.additionals = written.additionals as u16;
    }

    /// Writes the version of the specification.
    #[inline(always)]
    pub(super) fn version(&mut self, image: &mut Image) -> Result<(), PassReason> {
        if !self.limits().allow(self.at + VERSION_LEN)? {
            return Err(PassReason::TooLarge);
        }
        // The compiler has compared and would leave out the mask of the access, by
        // which the verifier knows that it is inside.
        put_version(image, verifier::opaque(self.at));
        self.at += VERSION_LEN;
        self.counts.answers = 1;
        Ok(())
    }

    /// Writes the SOA of the zone, for which the question asks.
    #[inline(always)]
    pub(super) fn authority(
        &mut self,
        image: &mut Image,
        config: &Config,
        serial: u32,
    ) -> Result<(), PassReason> {
        self.negative(image, config, serial)?;
        (self.counts.answers, self.counts.authorities) = (1, 0);
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
        if len > self.capacity || len > self.client {
            return Err(PassReason::TooLarge);
        }
        let soa = Soa {
            zone: self.zone,
            ttl: config.negative_ttl,
            serial,
            minimum: config.ttl,
        };
        soa.put(image, self.at);
        self.at += SOA_LEN;
        self.counts.authorities = 1;
        Ok(())
    }

    /// Writes OPT, flags and counts; returns the message's length in bytes.
    #[inline(always)]
    pub(super) fn finish(mut self, image: &mut Image, outcome: Outcome) -> usize {
        if self.edns.is_present() {
            self.edns.put(image, self.at);
            self.at += OPT_LEN;
            self.counts.additionals += 1;
        }
        let more = match outcome {
            Outcome::Data | Outcome::NoData => rcode::NOERROR,
            Outcome::Truncated => flags::TC,
            Outcome::NxDomain => rcode::NXDOMAIN,
        };
        put_flags(image, self.start, more);
        put_counts(image, self.start, self.counts);
        self.at - self.start
    }
}
