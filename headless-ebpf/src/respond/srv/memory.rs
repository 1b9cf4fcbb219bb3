//! Working memory for SRV and PTR records.

use super::{details::DetailsAt, ports::PortLabel, walk::Walk};
use crate::{
    respond::reply::Written,
    verifier,
    wire::{LabelBytes, NameBytes},
};

/// Working memory for SRV and PTR records.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(in crate::respond) struct SrvMemory {
    /// Where the details of the name are.
    pub(in crate::respond) details: DetailsAt,
    /// How far the targets are written.
    pub(in crate::respond) walk: Walk,
    /// The asked port's name.
    pub(super) name: PortLabel,
    /// The asked port's protocol.
    pub(super) protocol: PortLabel,
    /// The ports that are meant and have numbers: two bytes number, two bytes for which
    /// port of the details it is.
    pub(super) ports: LabelBytes,
    /// Where the name of each target is in the message: 0 where it has no record.
    pub(super) names: NameBytes,
    /// The bytes with which all targets' names end.
    pub(in crate::respond) suffix: NameBytes,
    /// The label of a target, before the suffix.
    pub(in crate::respond) label: LabelBytes,
}

impl SrvMemory {
    /// The records that have been written. A reference, from which numbers are read one by
    /// one: the compiler would put a copy on the stack and look at it by unaligned parts.
    #[inline(always)]
    pub(in crate::respond) fn written(&mut self) -> &Written {
        &verifier::reread(&mut self.walk).written
    }
}
