//! Reverse names: from `22.0.0.10.in-addr.arpa` to `web-0.nginx.default.svc.<zone>`
//! (`reverse.go` of CoreDNS's `kubernetes` plugin).
//!
//! [`name`] reads the address from the question's name and finds the address's slot in
//! [`crate::abi::map::REVERSE`], and [`answer`] follows the slot to a name and writes the
//! record. Only [`super::Subprogram::Ptr`] runs this code.
//!
//! A slot is a hint: it names a Service that may have the address. The engine answers only
//! after it has found the address in the record of the Service or of one of its endpoints.
//! All other reverse names pass, since only userspace knows every name of an address.

mod answer;
mod name;

pub(super) use self::{answer::PtrQuestion, name::ReverseName};
