//! Ports and SRV records (RFC 2782). Only [`super::Subprogram::Srv`] runs most of this code;
//! reverse names use the walk over targets, too.
//!
//! [`location`] says which chunks hold a Service's details, [`details`] reads them, [`ports`]
//! compares their ports with the question, [`walk`] goes from target to target, and
//! [`mod@write`] writes the records. [`answer`] puts these steps together.

mod answer;
mod details;
mod location;
mod memory;
mod ports;
mod walk;
mod write;

pub(super) use self::{
    answer::SrvQuestion, location::DetailsLocation, memory::SrvMemory, ports::Ports, walk::Walk,
};
