//! Turns the names of the index into entries of BPF maps.
//!
//! The folders follow the way of a name into the kernel:
//!
//! ```text
//!  capacity   how many entries each map must have for this cluster
//!     │
//!  store      the maps as the agent sees them: kinds, sizes, arrays of words, and the
//!     │       trait `RecordSink`. `kernel` and `memory` are its two homes
//!  encode     a name becomes a key, a name record and chunks
//!     │
//!  place      the element of a map in which each of these stands, and the free elements
//!     │
//!  budget     how much each namespace holds, and which names yield when a map is nearly full
//!     │
//!  writer     changes become writes, in an order that shows readers no half state
//!     │
//!  reconcile  the full pass: all maps are compared with the index and corrected
//! ```
//!
//! [`read`] reads the maps back, for `dump` and for tests. [`heartbeat`] says how often the
//! programs are told that the agent lives.

mod budget;
pub mod capacity;
pub mod encode;
pub mod heartbeat;
pub mod kernel;
pub mod memory;
mod place;
pub mod read;
pub mod reconcile;
pub mod store;
pub mod writer;

#[cfg(test)]
mod tests;

use headless_ebpf::abi::{HASH_WORDS, HashKey};

pub use self::encode::MapKey;
pub use self::store::{MapKind, RecordSink, SinkError};
pub use self::writer::WriteCounts;

/// Draws a key for hashes and seals from the kernel's random numbers (getrandom(2)).
///
/// # Errors
/// When the kernel has no random numbers to give.
pub fn new_hash_key() -> Result<HashKey, getrandom::Error> {
    let mut bytes = [0; HASH_WORDS * size_of::<u64>()];
    getrandom::fill(&mut bytes)?;
    Ok(bytemuck::cast(bytes))
}
