//! Bytes to meaning and back: no maps, no allocation, no clock.
//!
//! Everything is read from and written into [`Bytes`], by offsets that are masked by the
//! capacity, so that no access can fail or panic. That an offset means what its name says
//! is the caller's duty, and the tests' subject.
#![forbid(unsafe_code)]

mod bytes;
mod capacity;
pub mod dns;
pub mod frame;

pub use self::{
    bytes::{Bytes, ChunkBytes, IMAGE_CAPACITY, Image, KeyBytes, LabelBytes, NameBytes},
    capacity::{Capacity, Large, Small},
};
