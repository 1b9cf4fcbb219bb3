//! What the engine asks of the maps.

use crate::{
    abi::{ChunkKey, Config, KeyClass, NameRecord, Seal, ServerAddress, State},
    respond::{self, Scratch},
    wire::{AddressBytes, KeyBytes, Room},
};

/// A [`NameRecord`] as it was read, not yet proven by its seal.
pub type RecordWords = [u64; NameRecord::WORDS];

/// The maps, the clock and chance, as the engine sees them.
///
/// Implemented by the BPF programs over BPF maps and by the agent and the tests
/// over memory. Values are handed out as copies: what the kernel may change
/// meanwhile is read once and then proven by its seal.
pub trait Lookup {
    /// The operator's choices; `None` before they are written.
    fn config(&self) -> Option<&Config>;

    /// Liveness and completeness; `None` before they are written.
    fn state(&self) -> Option<State>;

    /// Whether port 53 of this address is ours to answer.
    fn serves(&self, address: &ServerAddress) -> bool;

    /// The record under the first [`KeyClass::bytes`] bytes of `key` in the map
    /// of that class; `seal` has taken in these bytes. `None` proves that the name is
    /// not there.
    fn name(&self, class: KeyClass, key: &KeyBytes, seal: Seal) -> Option<RecordWords>;

    /// Copies the chunk's words to `words` and returns its seal.
    fn chunk(&self, key: ChunkKey, words: &mut AddressBytes) -> Option<u64>;

    /// Copies this bucket of the table of addresses to the first words of `slots`;
    /// `false` where there is no such bucket.
    fn reverse(&self, bucket: u32, slots: &mut AddressBytes) -> bool;

    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;

    /// Any 32 bits.
    fn random(&self) -> u32;

    /// Runs the part of the engine that rare questions need, [`respond::apart`].
    ///
    /// The BPF programs have it as a function that the verifier looks at once and
    /// not on every way that leads to it: of the same parts it makes half as many
    /// instructions.
    fn apart<R: Room>(&self, scratch: &mut Scratch) -> u64
    where
        Self: Sized,
    {
        respond::apart::<R, Self>(scratch, self)
    }

    /// The same for reverse names, [`respond::apart_reverse`].
    fn apart_reverse(&self, scratch: &mut Scratch) -> u64
    where
        Self: Sized,
    {
        respond::apart_reverse(scratch, self)
    }
}
