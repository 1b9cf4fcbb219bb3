//! Stage three: the names of the index become map entries, which the programs look up.
//!
//! [`encode`] turns a name into bytes. A [`RecordSink`] is the maps' home: BPF maps
//! ([`kernel`]) or memory ([`memory`], for tests). Most maps are [`arrays`] of words
//! that the agent writes by plain stores. [`writer`] decides which entry is written in
//! which order, [`reconcile`] compares all of them with the index, and [`heartbeat`]
//! tells the programs that all of this still happens. [`capacity`] says how large maps
//! must be.

pub mod arrays;
mod capacities;
pub mod capacity;
mod counts;
pub mod encode;
mod endpoints;
mod extents;
pub mod heartbeat;
pub mod kernel;
pub mod key;
mod kind;
mod marks;
pub mod memory;
mod name;
mod name_chunks;
pub mod read;
pub mod reconcile;
mod reverse;
mod served;
mod sets;
mod sink;
mod table;
mod words;
pub mod writer;

#[cfg(test)]
mod tests;

use headless_ebpf::abi::{HASH_WORDS, HashKey};

pub use self::counts::WriteCounts;
pub use self::key::MapKey;
pub use self::kind::{MapKind, SinkError};
pub use self::sink::RecordSink;

/// A new key for hashes and seals, from the system's random source.
pub fn new_hash_key() -> Result<HashKey, getrandom::Error> {
    let mut bytes = [0; HASH_WORDS * size_of::<u64>()];
    getrandom::fill(&mut bytes)?;
    Ok(bytemuck::cast(bytes))
}
