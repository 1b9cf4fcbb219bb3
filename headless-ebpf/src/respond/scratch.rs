//! The working memory of one packet.

use super::{addresses::Rrset, ptr::ReverseName, srv::SrvMemory};
use crate::{
    abi::NameRecord,
    verifier::{self, Slot},
    wire::{
        ChunkBytes, Image, KeyBytes,
        dns::{Dashed, Question},
    },
};

/// Working memory of one packet. Too large for a BPF stack (512 bytes), so the
/// programs keep one for each CPU, and nothing in it outlives a packet.
///
/// Nobody works on the whole of it: [`super::respond`] and [`super::answer`] lend each step
/// the parts that it needs.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// The frame or message.
    pub image: Image,
    /// A length in the frame.
    pub(super) len: Slot,
    /// [`crate::wire::frame::Shape::at`] of the frame.
    pub(super) at: Slot,
    /// [`super::message`]'s decision as a number.
    pub(super) decision: Slot,
    /// [`super::VerdictCode`] of the answer as a number.
    pub(super) verdict: Slot,
    /// The question, once it is parsed.
    pub question: Question,
    /// The key that is looked up.
    pub key: KeyBytes,
    /// What a subprogram is asked.
    pub(super) task: Task,
    /// The record of the name.
    pub(super) record: NameRecord,
    /// The record of the Service that an endpoint belongs to.
    pub(super) service: NameRecord,
    pub(super) rrset: Rrset,
    pub(super) dashed: Dashed,
    pub(super) srv: SrvMemory,
    pub(super) reverse: ReverseName,
    /// The chunk that is read.
    pub content: ChunkBytes,
}

/// What a subprogram is asked, besides the question.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Task {
    /// [`super::shape::NameKind`] as a number.
    pub(super) kind: u32,
    /// Where the message starts in the image.
    pub(super) start: u32,
    /// Most bytes of a reply that can be sent.
    pub(super) capacity: u32,
}

impl Task {
    /// The task, of which neither compiler nor verifier knows anything.
    #[inline(always)]
    pub(super) fn get(&mut self) -> Self {
        *verifier::reread(self)
    }
}
