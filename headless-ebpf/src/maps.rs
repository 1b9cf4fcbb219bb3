//! The trait through which the engine reads maps, the clock and random numbers.

use crate::{
    abi::{Address, Config, EndpointEntry, KeyClass, KeyedHash, NameRecord, State},
    wire::{ChunkBytes, KeyBytes},
};

/// A copy of a [`NameRecord`] whose seal has not been checked.
pub type RecordWords = [u64; NameRecord::WORDS];

/// The maps, the clock and the source of random numbers, as the engine sees them.
///
/// The BPF programs implement this trait over BPF maps, the agent and the tests over memory.
/// Methods copy values, because the agent may change a value in the map at any time. The
/// engine checks the copy by its seal. An implementation checks no seals and makes no
/// decisions.
///
/// `config` is always the result of [`Self::config`], which is read once for each packet.
pub trait Lookup {
    /// The configuration. `None` before it is written. The BPF map then reads as zeros, and no
    /// address is a served address.
    fn config(&self) -> Option<&Config>;

    /// The agent's state: deadline, completeness, generation. `None` before it is written. The
    /// BPF map then reads as zeros, and the deadline has passed.
    fn state(&self) -> Option<State>;

    /// The agent's state, read after all look-ups before this call. On processors that may
    /// reorder loads ([`crate::abi::global::WEAKLY_ORDERED`]), this needs a barrier.
    fn state_after_lookups(&self) -> Option<State> {
        self.state()
    }

    /// Whether `address` is a served address.
    fn serves(&self, config: &Config, address: &Address) -> bool;

    /// Copies the record under a key of this class to `record`. The key is the first
    /// [`KeyClass::bytes`] bytes of `key`: a relative name or an endpoint key
    /// ([`crate::abi::NameKey::of_endpoint`]). `hash` has taken in these bytes. Returns `false`
    /// where there is no such record. The content of `record` is then undefined.
    fn name(
        &self,
        config: &Config,
        class: KeyClass,
        key: &KeyBytes,
        hash: KeyedHash,
        record: &mut RecordWords,
    ) -> bool;

    /// Copies the words of the chunk at this index to the start of `content`, and returns the
    /// chunk's seal. `None` where the index is outside of the map.
    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64>;

    /// Whether `entry` is stored in one of `buckets`, which are [`EndpointEntry::buckets`].
    fn endpoint(&self, entry: EndpointEntry, buckets: [u32; 2]) -> bool;

    /// Copies a bucket of [`crate::abi::map::REVERSE`] to the start of `slots`. Returns `false`
    /// where the index is outside of the map.
    fn reverse(&self, bucket: u32, slots: &mut ChunkBytes) -> bool;

    /// `CLOCK_MONOTONIC` in nanoseconds. A reading may be up to one tick old.
    fn now_ns(&self) -> u64;

    /// A random number. It spreads clients over addresses and need not be secure.
    fn random(&self) -> u32;
}
