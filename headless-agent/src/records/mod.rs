//! Stage two: which names exist and what they hold.
//!
//! Everything here is pure and synchronous: events go in ([`index`]), changes of
//! names come out, and questions are answered from what was put in
//! ([`resolve`], [`reply`]). There is no I/O and no clock.
//!
//! The rules are those of the Kubernetes DNS specification 1.1.0 and, where the
//! two differ, of CoreDNS's `kubernetes` plugin: nobody may be able to tell who
//! answered.

pub mod name;

mod service;

pub mod index;

#[cfg(test)]
mod fixtures;

pub use self::index::{EndpointScope, Index, NameChange, NameData, Settings};
pub use self::name::RelativeName;
