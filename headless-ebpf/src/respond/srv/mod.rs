//! Ports and SRV records (RFC 2782).
//!
//! [`details`] reads what the maps know of a Service's ports, [`ports`] which of them a name
//! means, [`walk`] goes from target to target, and [`mod@write`] writes their records.

mod answer;
mod details;
mod memory;
mod ports;
mod walk;
mod write;

pub(super) use self::{
    answer::SrvQuestion, details::DetailsAt, memory::SrvMemory, ports::Ports, walk::Walk,
};
