//! The working memory for SRV and PTR records, one part of [`crate::respond::Scratch`].

use super::{location::DetailsLocation, ports::PortLabel, walk::Walk};
use crate::{
    respond::reply::Written,
    verifier,
    wire::{LabelBytes, NameBytes},
};

/// The working memory for SRV and PTR records.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(in crate::respond) struct SrvMemory {
    /// Where the details of the asked Service are.
    pub(in crate::respond) details: DetailsLocation,
    /// The walk over the targets.
    pub(in crate::respond) walk: Walk,
    /// The port's name in the question.
    pub(super) name: PortLabel,
    /// The protocol in the question.
    pub(super) protocol: PortLabel,
    /// The ports that the question means and that have numbers. Four bytes each: the number,
    /// then the index of the port in the details.
    pub(super) ports: LabelBytes,
    /// Offset in the message of each target's name, two bytes each. 0 where the target has no
    /// SRV record.
    pub(super) names: NameBytes,
    /// The bytes with which the names of all targets end.
    pub(in crate::respond) suffix: NameBytes,
    /// The label or labels of the current target, which come before the suffix.
    pub(in crate::respond) label: LabelBytes,
}

impl SrvMemory {
    /// The records that have been written. This is a reference, because the compiler would put
    /// a copy on the stack and read it by unaligned parts.
    #[inline(always)]
    pub(in crate::respond) fn written(&mut self) -> &Written {
        &verifier::reread(&mut self.walk).written
    }
}
