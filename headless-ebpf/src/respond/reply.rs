//! The parts of a reply around the answer's records: header, counts, SOA, OPT, and how many
//! records fit.

use bytemuck::{Pod, Zeroable};

use crate::{
    abi::{Config, Outcome, PassReason},
    verifier,
    wire::{
        Image, NameBytes,
        dns::{
            DNS_HEADER_LEN, Edns, QUESTION_FIXED_LEN, Question, SOA_LEN, SectionCounts, Soa,
            UDP_PAYLOAD_MIN, VERSION_LEN, flags, pointer, put_counts, put_flags, put_version,
            rcode,
        },
    },
};

/// The space for records in the reply, as offsets in the image.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Limits {
    /// Start of the message.
    pub(super) start: u32,
    /// Start of the first record.
    pub(super) at: u32,
    /// The client takes records that end here at the latest.
    client: u32,
    /// The packet can carry records that end here at the latest.
    capacity: u32,
}

impl Limits {
    /// The bytes of records that the client takes.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        (self.client as usize).saturating_sub(self.at as usize)
    }

    /// Whether the client takes a record that ends at `end`. [`PassReason::TooLarge`] where the
    /// client does and the packet cannot carry the record.
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

/// The records that a subprogram has written into the image.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Written {
    /// Offset behind the last record.
    pub(super) end: u32,
    /// Number of records in the answer section.
    pub(super) answers: u32,
    /// Number of records in the additional section.
    pub(super) additionals: u32,
    /// 1 where further records did not fit, else 0.
    pub(super) truncated: u32,
}

/// A reply that is being written, from the question on.
pub(super) struct Body {
    /// Offset of the message in the image.
    start: usize,
    /// Offset of the next record in the image.
    at: usize,
    /// Most bytes of a message that the client takes.
    client: usize,
    /// Most bytes of a message that the packet can carry.
    capacity: usize,
    /// A compression pointer to the zone in the question.
    zone: u16,
    edns: Edns,
    counts: SectionCounts,
}

impl Body {
    /// The reply to the question of the message at offset `start`. The packet can carry
    /// `capacity` bytes.
    #[inline(always)]
    pub(super) fn new(start: usize, question: &Question, capacity: usize) -> Self {
        // A size below 512 means 512 (RFC 6891, section 6.2.3). Without an OPT record, the size is
        // 0 and means 512, too.
        let client = usize::from(question.edns.size).max(UDP_PAYLOAD_MIN);
        Self {
            start,
            at: start + DNS_HEADER_LEN + question.name_len as usize + QUESTION_FIXED_LEN,
            client,
            capacity,
            zone: pointer(DNS_HEADER_LEN + question.zone as usize),
            edns: question.edns,
            counts: SectionCounts::default(),
        }
    }

    /// Offset of the next record in the image.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many of `total` records of `len` bytes each fit into the size that the client takes,
    /// the OPT record included (miekg/dns, `msg_truncate.go`). [`PassReason::TooLarge`] where
    /// the packet cannot carry this reply.
    #[inline(always)]
    pub(super) fn count_that_fits(&self, total: usize, len: usize) -> Result<usize, PassReason> {
        let used = self.at - self.start + self.edns.reply_len();
        // A division is slow, and nearly always all records fit.
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

    /// Counts `count` answers of `len` bytes each, which have been written at [`Self::at`].
    #[inline(always)]
    pub(super) fn answers(&mut self, count: usize, len: usize) {
        self.at += count * len;
        self.counts.answers = count as u16;
    }

    /// The space for records, without the space for the OPT record.
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

    /// Counts the records that a subprogram has written at [`Self::at`].
    #[inline(always)]
    pub(super) fn written(&mut self, written: &Written) {
        self.at = written.end as usize;
        self.counts.answers = written.answers as u16;
        self.counts.additionals = written.additionals as u16;
    }

    /// Writes the TXT record with the specification's version as the answer.
    #[inline(always)]
    pub(super) fn version(&mut self, image: &mut Image, ttl: u32) -> Result<(), PassReason> {
        if !self.limits().allow(self.at + VERSION_LEN)? {
            return Err(PassReason::TooLarge);
        }
        // The compiler would remove the mask of the access after the comparison above. The
        // verifier needs the mask.
        put_version(image, verifier::opaque(self.at), ttl);
        self.at += VERSION_LEN;
        self.counts.answers = 1;
        Ok(())
    }

    /// Writes the zone's SOA record as the answer.
    #[inline(always)]
    pub(super) fn authority(
        &mut self,
        image: &mut Image,
        config: &Config,
        serial: u32,
    ) -> Result<(), PassReason> {
        self.soa(image, config.authority_ttl, config.soa_minimum, serial)?;
        (self.counts.answers, self.counts.authorities) = (1, 0);
        Ok(())
    }

    /// Writes the zone's SOA record into the authority section, for a denial (RFC 2308, section
    /// 3).
    #[inline(always)]
    pub(super) fn negative(
        &mut self,
        image: &mut Image,
        config: &Config,
        serial: u32,
    ) -> Result<(), PassReason> {
        self.soa(image, config.negative_ttl, config.soa_minimum, serial)
    }

    /// Writes the zone's SOA record into the authority section.
    #[inline(always)]
    fn soa(
        &mut self,
        image: &mut Image,
        ttl: u32,
        minimum: u32,
        serial: u32,
    ) -> Result<(), PassReason> {
        let len = self.at - self.start + SOA_LEN + self.edns.reply_len();
        if len > self.capacity || len > self.client {
            return Err(PassReason::TooLarge);
        }
        let soa = Soa {
            zone: self.zone,
            ttl,
            serial,
            minimum,
        };
        soa.put(image, self.at);
        self.at += SOA_LEN;
        self.counts.authorities = 1;
        Ok(())
    }

    /// Writes OPT record, flags and counts. `options` are the options of the OPT record. Returns
    /// the length of the reply in bytes.
    #[inline(always)]
    pub(super) fn finish(
        mut self,
        image: &mut Image,
        options: &NameBytes,
        outcome: Outcome,
    ) -> usize {
        if self.edns.is_present() {
            self.edns.put(image, self.at, options);
            self.at += self.edns.reply_len();
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
