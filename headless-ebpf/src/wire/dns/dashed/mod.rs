//! Addresses as labels: `10-0-0-22`, `fd00--1`. CoreDNS names endpoints without a hostname and
//! pods this way.

mod parse;
mod write;

pub use self::{
    parse::{Dashed, dashed_ipv4},
    write::put_dashed,
};
