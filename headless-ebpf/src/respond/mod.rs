//! The whole decision: from a frame, or a bare DNS message, to an answer or a
//! reason to leave it alone.
//!
//! What is answered and how follows CoreDNS's `kubernetes` plugin, because a
//! pod must not be able to tell who answered.
//!
//! In reading order: [`respond`] takes a frame apart, [`answer`] its message. `shape` says
//! what a name can be by its labels, `find` looks it up, `addresses`, `srv`, `ptr` and
//! `reply` write the answer. All of them work in [`Scratch`], of which each gets the parts
//! that it needs.
#![forbid(unsafe_code)]

mod addresses;
mod below;
mod chunks;
mod find;
mod frame;
mod message;
mod names;
mod ptr;
mod reply;
mod request;
mod scratch;
mod shape;
mod srv;
mod subprogram;
mod verdict;

pub use self::{
    frame::{respond, respond_coded},
    message::{Message, answer},
    scratch::Scratch,
    subprogram::{Runtime, Subprogram},
    verdict::{Reply, Verdict, VerdictCode},
};
