//! Reads and writes frames and DNS messages. No maps, no allocation, no clock.
//!
//! All data are in [`Bytes`]. An offset is masked by the buffer's capacity, so that no access
//! can fail or panic. A wrong offset therefore gives wrong bytes and no error: callers check
//! offsets where the query decides about them, and tests cover the rest.
#![forbid(unsafe_code)]

mod bytes;
mod capacity;
pub mod dns;
pub mod frame;

pub use self::{
    bytes::{Bytes, ChunkBytes, IMAGE_CAPACITY, Image, KeyBytes, LabelBytes, NameBytes},
    capacity::{Capacity, Large, Small},
};
