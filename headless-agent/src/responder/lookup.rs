//! [`Lookup`] over the index: records are rendered as they are asked for, so
//! that there is no second copy of the data.

use std::cell::RefCell;

use headless_ebpf::abi::{Chunk, ChunkKey, Config, KeyClass, Seal, ServerAddress, State};
use headless_ebpf::lookup::{Lookup, RecordWords};
use headless_ebpf::wire::{AddressBytes, KeyBytes};

use crate::maps::encode::{Encoded, encode};
use crate::maps::{MapName, heartbeat};
use crate::records::Index;

/// The index as the engine wants it, for one query.
#[derive(Debug)]
pub struct IndexLookup<'a> {
    index: &'a Index,
    config: &'a Config,
    /// Sets of chunks that were handed out; their numbers count from 1.
    sets: RefCell<Vec<Vec<(ChunkKey, Chunk)>>>,
}

impl<'a> IndexLookup<'a> {
    /// Over `index`, with the choices of `config`.
    pub fn new(index: &'a Index, config: &'a Config) -> Self {
        Self {
            index,
            config,
            sets: RefCell::default(),
        }
    }
}

impl Lookup for IndexLookup<'_> {
    fn config(&self) -> Option<&Config> {
        Some(self.config)
    }

    /// Always alive. Denies while the index may.
    fn state(&self) -> Option<State> {
        Some(State {
            deadline_ns: u64::MAX,
            serial: self.index.serial(),
            flags: if self.index.may_deny() {
                State::COMPLETE
            } else {
                0
            },
        })
    }

    /// Whoever asks here has asked the right address.
    fn serves(&self, _address: &ServerAddress) -> bool {
        true
    }

    fn name(&self, class: KeyClass, key: &KeyBytes, _seal: Seal) -> Option<RecordWords> {
        let name = MapName::from_key_bytes(class, key);
        // Without the details: SRV records the resolver gives, too.
        let data = self.index.name(&name.wire())?;
        let mut sets = self.sets.borrow_mut();
        let number = u32::try_from(sets.len() + 1).ok()?;
        let Encoded { record, chunks } = encode(&name, self.config.seal_seed, &data, number);
        if !chunks.is_empty() {
            sets.push(chunks);
        }
        Some(bytemuck::cast(record))
    }

    fn chunk(&self, key: ChunkKey, words: &mut AddressBytes) -> Option<u64> {
        let sets = self.sets.borrow();
        let chunks = sets.get((key.set as usize).checked_sub(1)?)?;
        let (_, chunk) = chunks.iter().find(|(found, _)| *found == key)?;
        for (i, word) in chunk.words.iter().enumerate() {
            words.put_u64(i * 8, *word);
        }
        Some(chunk.seal)
    }

    /// Reverse names the resolver answers, too.
    fn reverse(&self, _bucket: u32, _slots: &mut AddressBytes) -> bool {
        false
    }

    fn now_ns(&self) -> u64 {
        heartbeat::monotonic_ns()
    }

    fn random(&self) -> u32 {
        fastrand::u32(..)
    }
}
