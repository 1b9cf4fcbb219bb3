//! The answer to a question for a port, a pod or SRV records.

use super::{memory::SrvMemory, ports::Ports};
use crate::{
    abi::{NameFlags, NameRecord, PassReason},
    maps::Lookup,
    respond::{reply::Body, request::Request, shape::NameKind},
    verifier,
    wire::{
        Capacity, ChunkBytes, Image,
        dns::{DNS_HEADER_LEN, Dashed, Question, qtype},
    },
};

/// A question for a port, a pod or SRV records, with the working memory for the answer.
pub(in crate::respond) struct SrvQuestion<'a, L> {
    pub(in crate::respond) request: Request<'a, L>,
    /// [`NameKind`] as a number.
    pub(in crate::respond) kind: u32,
    pub(in crate::respond) question: &'a Question,
    pub(in crate::respond) image: &'a mut Image,
    /// The record of the name. A pod's record is made here from its label.
    pub(in crate::respond) record: &'a mut NameRecord,
    pub(in crate::respond) dashed: &'a mut Dashed,
    pub(in crate::respond) memory: &'a mut SrvMemory,
    /// Memory for a chunk.
    pub(in crate::respond) content: &'a mut ChunkBytes,
}

impl<L: Lookup> SrvQuestion<'_, L> {
    /// Reads a pod's address, or matches a Service's ports with the question. Writes the SRV
    /// records if the question has type SRV.
    ///
    /// [`PassReason::Userspace`] where the maps do not hold everything that the answer needs.
    #[inline(always)]
    pub(in crate::respond) fn answer<C: Capacity>(&mut self) -> Result<Ports, PassReason> {
        let ports = self.ports()?;
        if self.question.qtype != qtype::SRV {
            let everywhere = verifier::reread(&mut self.memory.walk).everywhere;
            let differ = ports != Ports::None && everywhere == 0;
            return Ok(if differ { Ports::Differing } else { ports });
        }
        if ports != Ports::Numbered {
            return Ok(ports);
        }
        let is_endpoint = self.is(NameKind::Endpoint);
        if is_endpoint || self.is_pod() {
            let differ = verifier::reread(&mut self.memory.walk).differing != 0;
            let flags = NameFlags::REPEATED.with(NameFlags::SET);
            if differ || self.record.flags.intersects(flags) {
                return Err(PassReason::Userspace);
            }
            self.memory.use_name_as_target(self.record, self.content);
        } else if verifier::reread(&mut self.memory.walk).implicit != 0 {
            let (record, content) = (&*self.record, &mut *self.content);
            self.memory
                .use_addresses_as_targets(record, content, self.request)?;
        }
        let Request {
            start, capacity, ..
        } = self.request;
        let label = self
            .question
            .labels
            .from_right(if is_endpoint { 3 } else { 2 });
        self.memory
            .put_suffix(self.image, start, self.question, label);
        let limits = Body::new(start, self.question, capacity).limits();
        self.memory
            .put_records::<C, L>(self.image, limits, self.content, self.request)?;
        Ok(Ports::Written)
    }

    /// Finds the ports that the question's name means.
    #[inline(always)]
    fn ports(&mut self) -> Result<Ports, PassReason> {
        let name = self.request.start + DNS_HEADER_LEN;
        let labels = self.question.labels;
        if self.is_pod() {
            if self.is(NameKind::Pod) {
                let label = name + labels.from_right(2);
                if !self.dashed.read(self.image, label) {
                    return Ok(Ports::None);
                }
                let Some(address) = self.dashed.address() else {
                    return Ok(Ports::None);
                };
                *self.record = NameRecord::of_address(address);
            }
            self.memory.use_port_of_pods();
            return Ok(Ports::Numbered);
        }
        if !verifier::reread(&mut self.memory.details).exists() {
            return Err(PassReason::Userspace);
        }
        let at = |label| name + labels.from_right(label);
        let labels = self.is(NameKind::Port).then(|| (at(4), at(3)));
        self.memory
            .read_details(self.image, labels, self.content, self.request)
    }

    /// Whether the name is of this kind.
    #[inline(always)]
    fn is(&self, kind: NameKind) -> bool {
        self.kind == kind as u32
    }

    /// Whether the name is a pod, of either kind.
    #[inline(always)]
    fn is_pod(&self) -> bool {
        self.is(NameKind::Pod) || self.is(NameKind::VerifiedPod)
    }
}
