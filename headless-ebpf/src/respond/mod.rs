//! The engine: from a frame, or a bare DNS message, to the reply or to the reason why the query
//! passes.
//!
//! Answers follow CoreDNS's `kubernetes` plugin, because a pod must not be able to tell whether
//! CoreDNS or headless has answered.
//!
//! The modules in the order of the data path: `frame` ([`respond`]) reads the headers of a
//! frame, and `message` ([`answer`]) its DNS message. `find` decides by the question's name,
//! with `shape` (what the labels say) and `names` (keys and look-ups). `subprogram` calls the
//! rare parts: `below` (endpoints and pods), `srv` (ports and SRV records), `ptr` (reverse
//! names) and `options` (EDNS options). `addresses` writes A and AAAA records, `reply` the rest of the message. `chunks`
//! reads chunks. All work in the memory of [`Scratch`], and each step gets only the parts that
//! it needs.
#![forbid(unsafe_code)]

mod addresses;
mod below;
mod chunks;
mod find;
mod frame;
mod message;
mod names;
mod options;
mod passed;
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
