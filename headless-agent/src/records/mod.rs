//! The names that exist, their records, and the answers to questions about them.
//!
//! Events of the source change the index ([`index`]), which returns the names that have
//! changed. Questions are answered from the index, by the rules of DNS for Services
//! ([`rules`]) and as whole messages ([`message`]). All of it is pure and
//! synchronous: no I/O and no clock.
//!
//! The rules are those of the Kubernetes DNS specification 1.1.0. Where CoreDNS's
//! `kubernetes` plugin differs from it, CoreDNS's behaviour holds, so that no client can
//! tell which of both has answered.

pub mod name;

mod types;

mod service;

pub mod index;

pub mod rules;

pub mod message;

#[cfg(test)]
mod fixtures;

pub use self::index::{Index, Part, Parts, Pointed, Pointers, Walk};
pub use self::message::{Reply, Transport, refusal, reply};
pub use self::name::RelativeName;
pub use self::rules::{Answer, Chase, Forward, Question, Resolution, resolve};
pub use self::types::{
    Counted, Details, EndpointScope, NameChange, NameData, Settings, Target, TargetSet, Targets,
};
