//! What the engine asks of the maps.

use crate::{
    abi::{Address, Config, EndpointEntry, KeyClass, KeyedHash, NameRecord, State},
    wire::{ChunkBytes, KeyBytes},
};

/// A [`NameRecord`] as it was read, not yet proven by its seal.
pub type RecordWords = [u64; NameRecord::WORDS];

/// The maps, the clock and chance, as the engine sees them.
///
/// Implemented by the BPF programs over BPF maps and by the agent and the tests
/// over memory. Values are handed out as copies: a value that the agent may change
/// meanwhile is read once and then proven by its seal.
pub trait Lookup {
    /// The operator's choices; `None` before they are written.
    fn config(&self) -> Option<&Config>;

    /// Liveness and completeness; `None` before they are written.
    fn state(&self) -> Option<State>;

    /// The same, read after everything that was looked up before, also where the
    /// processor may carry out loads in another order
    /// ([`crate::abi::global::WEAKLY_ORDERED`]).
    fn state_after_lookups(&self) -> Option<State> {
        self.state()
    }

    /// Whether port 53 of this address is ours to answer. `config` is
    /// [`Self::config`], as everywhere here: it is read once for each packet.
    fn serves(&self, config: &Config, address: &Address) -> bool;

    /// Copies the record under the first [`KeyClass::bytes`] bytes of `key`, a name or an
    /// endpoint key ([`crate::abi::NameKey::of_endpoint`]) of that class, to `record`.
    /// `hash` has taken in these bytes. `false` where there is none, and `record` is
    /// undefined.
    fn name(
        &self,
        config: &Config,
        class: KeyClass,
        key: &KeyBytes,
        hash: KeyedHash,
        record: &mut RecordWords,
    ) -> bool;

    /// Copies the words of the chunk at this index to the start of `content` and returns
    /// its seal; `None` where there is no such chunk.
    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64>;

    /// Whether an entry is in either of these buckets, its own
    /// ([`EndpointEntry::buckets`]).
    fn endpoint(&self, entry: EndpointEntry, buckets: [u32; 2]) -> bool;

    /// Copies this bucket of the table of addresses to the start of `slots`;
    /// `false` where there is no such bucket.
    fn reverse(&self, bucket: u32, slots: &mut ChunkBytes) -> bool;

    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;

    /// Any 32 bits.
    fn random(&self) -> u32;
}
