//! The working memory in which one packet is answered.

use super::{addresses::Rrset, ptr::ReverseName, srv::SrvMemory};
use crate::{
    abi::NameRecord,
    verifier::{self, Slot},
    wire::{
        ChunkBytes, Image, KeyBytes, NameBytes,
        dns::{Dashed, Options, Question},
    },
};

/// The working memory of one packet. It is too large for a BPF stack (512 bytes), so that the
/// programs keep one for each CPU. Nothing in it is valid for the next packet.
///
/// No step works on all of it: [`super::respond`] and [`super::answer`] lend each step the parts
/// that it needs.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// The copy of the frame or message, which becomes the reply.
    pub image: Image,
    /// First the end of the query in the image, then the end without its options, then the
    /// length of the reply.
    pub(super) len: Slot,
    /// [`crate::wire::frame::Shape::at`] of the frame.
    pub(super) shape: Slot,
    /// The decision of [`super::message`] as a number.
    pub(super) decision: Slot,
    /// [`super::VerdictCode`] of the answer as a number.
    pub(super) verdict: Slot,
    /// The question.
    pub question: Question,
    /// The key of a look-up.
    pub key: KeyBytes,
    /// The arguments of a subprogram.
    pub(super) task: Task,
    /// The record of the question's name.
    pub(super) record: NameRecord,
    /// The record of the Service to which an endpoint belongs.
    pub(super) service: NameRecord,
    pub(super) rrset: Rrset,
    pub(super) dashed: Dashed,
    pub(super) srv: SrvMemory,
    pub(super) reverse: ReverseName,
    /// The progress of reading the query's EDNS options.
    pub(super) reader: Options,
    /// The EDNS options of the reply.
    pub options: NameBytes,
    /// The content of a chunk.
    pub content: ChunkBytes,
}

/// The arguments of a subprogram, besides the question.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Task {
    /// [`super::shape::NameKind`] as a number. For [`super::Subprogram::Options`], the offset
    /// behind the message.
    pub(super) argument: u32,
    /// [`super::request::Request::start`].
    pub(super) start: u32,
    /// [`super::request::Request::capacity`].
    pub(super) capacity: u32,
}

impl Task {
    /// The arguments. Neither the compiler nor the verifier knows anything about them.
    #[inline(always)]
    pub(super) fn get(&mut self) -> Self {
        *verifier::reread(self)
    }
}
