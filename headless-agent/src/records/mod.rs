//! Stage two: which names exist and what they hold.
//!
//! Everything here is pure and synchronous: events go in ([`index`]), changes of
//! names come out, and questions are answered from what was put in
//! ([`mod@resolve`], [`mod@reply`]). There is no I/O and no clock.
//!
//! The rules are those of the Kubernetes DNS specification 1.1.0 and, where the
//! two differ, of CoreDNS's `kubernetes` plugin: nobody may be able to tell who
//! answered.

pub mod name;

mod types;

mod service;

pub mod index;

pub mod resolve;

pub mod reply;

#[cfg(test)]
mod fixtures;

pub use self::index::{Index, Pointers, Walk};
pub use self::name::RelativeName;
pub use self::reply::{Reply, Transport, reply};
pub use self::resolve::{Answer, Chase, Forward, Question, Resolution, resolve};
pub use self::types::{
    Counted, Details, EndpointScope, NameChange, NameData, Settings, Target, Targets,
};
