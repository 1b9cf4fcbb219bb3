//! The answer to a question for a reverse name.

use super::name::ReverseName;
use crate::{
    abi::{CHUNK_BYTES, DetailsHeader, KeyClass, NameFlags, NameRecord, PassReason},
    maps::Lookup,
    respond::{
        chunks::Extent,
        names::{Names, Span, is_regular_endpoint},
        reply::{Body, Written},
        request::Request,
        shape::{SVC, SVC_LEN},
        srv::{DetailsLocation, SrvMemory, Walk},
    },
    verifier,
    wire::{
        ChunkBytes, Image, KeyBytes,
        dns::{
            DNS_HEADER_LEN, Edns, LabelOffsets, NAME_LEN_MAX, QUESTION_FIXED_LEN, QUESTION_NAME,
            Question, RECORD_HEADER_LEN, RecordHeader, put_dashed, qtype,
        },
    },
};

/// Most steps of the search for the endpoint with an address among a Service's targets. A step
/// is a target or a change of chunks. Where more are needed, the question passes. Most targets
/// take 16 bytes, so that the steps lead over some 110 endpoints.
const STEPS_MAX: usize = 128;

/// A question for a reverse name, and the working memory for its answer.
pub(in crate::respond) struct PtrQuestion<'a, L> {
    pub(in crate::respond) request: Request<'a, L>,
    /// Memory for the question, from which the reply is written. The parser of questions in
    /// the zone has not filled it in.
    pub(in crate::respond) question: &'a mut Question,
    pub(in crate::respond) image: &'a mut Image,
    /// Memory for a key.
    pub(in crate::respond) key: &'a mut KeyBytes,
    /// Memory for the record of the Service or the endpoint.
    pub(in crate::respond) record: &'a mut NameRecord,
    pub(in crate::respond) reverse: &'a mut ReverseName,
    pub(in crate::respond) memory: &'a mut SrvMemory,
    /// Memory for a chunk.
    pub(in crate::respond) content: &'a mut ChunkBytes,
}

impl<L: Lookup> PtrQuestion<'_, L> {
    /// Writes the PTR record if the cluster has the address. [`PassReason::OutsideZone`]
    /// where the name is no reverse name or the table has no slot for the address,
    /// [`PassReason::Userspace`] where the slot leads to no name with the address.
    #[inline(always)]
    pub(in crate::respond) fn answer(&mut self) -> Result<(), PassReason> {
        self.read_question()?;
        self.reverse.find_slot(self.content, self.request)?;
        let Request {
            start, capacity, ..
        } = self.request;
        let question = verifier::reread(self.question);
        self.memory.walk.limits = Body::new(start, question, capacity).limits();
        self.put_suffix()?;
        if !self.belongs_to_service()? {
            self.find_endpoint()?;
        }
        self.put_record()
    }

    /// Reads name, type and OPT record of the question.
    #[inline(always)]
    fn read_question(&mut self) -> Result<(), PassReason> {
        let start = self.request.start;
        let name = start + DNS_HEADER_LEN;
        if !self.reverse.read_ipv6(self.image, name) && !self.reverse.read_ipv4(self.image, name) {
            return Err(PassReason::OutsideZone);
        }
        let name_len = verifier::reread(self.reverse).name_len;
        let after = name + name_len as usize;
        if self.image.be16_at(after) != qtype::PTR {
            return Err(PassReason::OutsideZone);
        }
        // Field by field: the compiler would zero the whole structure by a call of `memset`.
        self.question.name_len = name_len;
        self.question.zone = 0;
        self.question.labels = LabelOffsets::default();
        self.question.qtype = qtype::PTR;
        self.question.edns = Edns::absent();
        // `pass_reason` has checked that nothing but an OPT record follows the question.
        let has_additional = self.image.u8_at(start + DNS_HEADER_LEN - 1) != 0;
        if has_additional && let Some(edns) = Edns::parse(self.image, after + QUESTION_FIXED_LEN) {
            self.question.edns = edns.lowered(self.request.config.edns_max);
        }
        Ok(())
    }

    /// Writes the absolute name of the Service to which the slot leads into
    /// [`SrvMemory::suffix`]: the relative name from the name chunk, `\3svc`, and the zone in
    /// small letters.
    #[inline(always)]
    fn put_suffix(&mut self) -> Result<(), PassReason> {
        let Request { config, lookup, .. } = self.request;
        let chunk = verifier::reread(self.reverse).slot.chunk();
        let name = Extent::name(chunk);
        if name
            .load(0, &config.hash_key, self.content, lookup)
            .is_err()
        {
            return Err(PassReason::Userspace);
        }
        let service_len = u32::from(self.content.u8_at(0));
        let suffix_len = service_len + SVC_LEN as u32 + config.zone_len;
        if suffix_len as usize > NAME_LEN_MAX {
            return Err(PassReason::Userspace);
        }
        self.reverse.service_len = service_len;
        self.memory.walk.suffix_len = suffix_len;
        let suffix = &mut self.memory.suffix;
        for i in 0..CHUNK_BYTES / 16 {
            suffix.put_u128(i * 16, self.content.u128_at(1 + i * 16));
        }
        let svc_at = verifier::reread(self.reverse).service_len as usize;
        suffix.put_u32(svc_at, SVC);
        for (i, word) in config.zone.iter().enumerate() {
            if i * 8 >= config.zone_len as usize {
                break;
            }
            suffix.put_u64(svc_at + SVC_LEN + i * 8, *word);
        }
        Ok(())
    }

    /// Whether the address belongs to the Service itself. [`PassReason::Userspace`] where the
    /// Service does not exist.
    #[inline(always)]
    fn belongs_to_service(&mut self) -> Result<bool, PassReason> {
        self.memory.walk.label_len = 0;
        let name = Span {
            at: self.put_name(),
            len: verifier::reread(self.reverse).service_len as usize,
        };
        // Hardly a Service has a name of class Long, so the subprogram has no code for it.
        if KeyClass::of_len(name.len) == KeyClass::Long {
            return Err(PassReason::Userspace);
        }
        let (mut names, record) = self.names();
        if !names.look_up_inline(name, record)? {
            return Err(PassReason::Userspace);
        }
        let record = verifier::reread(self.record);
        self.reverse.service = record.service;
        self.memory.details = DetailsLocation::endpoints(record);
        Ok(record.flags.contains(NameFlags::CLUSTER_IP) && self.reverse.is_proven(record))
    }

    /// Finds the Service's endpoint with the address: a regular endpoint, or an endpoint whose
    /// label is in the Service's details. Writes the endpoint's name where the record's RDATA
    /// goes.
    #[inline(always)]
    fn find_endpoint(&mut self) -> Result<(), PassReason> {
        let service = verifier::reread(self.reverse).service;
        if service == 0 {
            return Err(PassReason::Userspace);
        }
        let mut is_regular = false;
        if let Some(address) = self.reverse.address.ipv4_word() {
            let label_len = put_dashed(&mut self.memory.label, address);
            self.memory.walk.label_len = label_len as u32;
            is_regular = is_regular_endpoint(self.request, service, address);
        }
        if !is_regular {
            self.search()?;
        }
        let at = self.put_name();
        if is_regular || self.has_address(at)? {
            Ok(())
        } else {
            Err(PassReason::Userspace)
        }
    }

    /// Whether the endpoint whose name is at `at` of the image exists and has the address.
    #[inline(always)]
    fn has_address(&mut self, at: usize) -> Result<bool, PassReason> {
        let label_len = verifier::reread(&mut self.memory.walk).label_len as usize;
        let reverse = verifier::reread(self.reverse);
        let (len, service) = (label_len + reverse.service_len as usize, reverse.service);
        let (mut names, record) = self.names();
        let exists = if len <= KeyClass::Short.bytes() {
            names.look_up_short(Span { at, len }, record)?
        } else {
            let label = Span { at, len: label_len };
            names.look_up_endpoint(label, service, record)?
        };
        let record = verifier::reread(self.record);
        Ok(exists
            && !record.flags.contains(NameFlags::CLUSTER_IP)
            && verifier::reread(self.reverse).is_proven(record))
    }

    /// Searches the targets in the Service's details for the address. Writes the label of the
    /// target with the address into [`SrvMemory::label`].
    #[inline(always)]
    fn search(&mut self) -> Result<(), PassReason> {
        if !verifier::reread(&mut self.memory.details).exists() {
            return Err(PassReason::Userspace);
        }
        let header = self.memory.open_details(self.content, self.request)?;
        if header.flags & DetailsHeader::IMPLICIT != 0 {
            // Every endpoint with an IPv4 address has the dashed label of this address, which
            // `find_endpoint` has written already. IPv6 addresses have no label here.
            return if verifier::reread(&mut self.memory.walk).label_len == 0 {
                Err(PassReason::Userspace)
            } else {
                Ok(())
            };
        }
        self.memory.walk.rewind();
        self.reverse.found = 0;
        self.search_targets()?;
        if verifier::reread(self.reverse).found == 0 {
            return Err(PassReason::Userspace);
        }
        let walk = verifier::reread(&mut self.memory.walk);
        let Some(target) = walk.target(self.content) else {
            return Err(PassReason::Userspace);
        };
        self.memory.put_label(target, self.content);
        Ok(())
    }

    /// Searches the targets for the address. Leaves the walk at the target that has it, and
    /// [`ReverseName::found`] set.
    ///
    /// One loop, whose body has few branches: the verifier checks it for each step and path.
    #[inline(always)]
    fn search_targets(&mut self) -> Result<(), PassReason> {
        for _ in 0..STEPS_MAX {
            let walk = verifier::reread(&mut self.memory.walk);
            if walk.left == 0 {
                break;
            }
            let Some(target) = walk.target(self.content) else {
                walk.next_chunk();
                walk.load(self.content, self.request)?;
                continue;
            };
            let found = target.has(self.content, &self.reverse.address);
            self.reverse.found = found;
            if found != 0 {
                break;
            }
            verifier::reread(&mut self.memory.walk).skip(target);
        }
        Ok(())
    }

    /// Writes label and suffix where the record's RDATA goes. Returns this offset.
    #[inline(always)]
    fn put_name(&mut self) -> usize {
        let walk = verifier::reread(&mut self.memory.walk);
        let at = walk.limits.at as usize + RECORD_HEADER_LEN;
        self.memory.put_name(self.image, at);
        at
    }

    /// Everything that a look-up of a name in the image needs.
    #[inline(always)]
    fn names(&mut self) -> (Names<'_, L>, &mut NameRecord) {
        let names = Names::new(self.image, self.key, self.request);
        (names, self.record)
    }

    /// Writes the record's header. The RDATA behind it, a name, is written already.
    #[inline(always)]
    fn put_record(&mut self) -> Result<(), PassReason> {
        let walk: &mut Walk = verifier::reread(&mut self.memory.walk);
        let name_len = (walk.label_len + walk.suffix_len) as usize;
        let at = walk.limits.at as usize;
        let end = at + RECORD_HEADER_LEN + name_len;
        if name_len > NAME_LEN_MAX {
            return Err(PassReason::Userspace);
        }
        if !walk.limits.allow(end)? {
            return Err(PassReason::TooLarge);
        }
        let ttl = self.request.config.ttl;
        RecordHeader::new(QUESTION_NAME, qtype::PTR, ttl, name_len as u16).put(self.image, at);
        walk.written = Written {
            end: end as u32,
            answers: 1,
            additionals: 0,
            truncated: 0,
        };
        Ok(())
    }
}
