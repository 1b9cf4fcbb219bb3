//! [`Lookup`] over the index: records are rendered as they are asked for, so
//! that there is no second copy of the data.

use std::cell::RefCell;

use headless_ebpf::abi::{ChunkKey, Config, KeyClass, ServerAddress, State};
use headless_ebpf::lookup::{Lookup, RecordWords};
use headless_ebpf::wire::{AddressBytes, KeyBytes};

use crate::maps::{MapName, encode, heartbeat};
use crate::records::{Index, NameData};

/// The index as the engine wants it, for one query.
#[derive(Debug)]
pub struct IndexLookup<'a> {
    index: &'a Index,
    config: &'a Config,
    /// Address sets that were handed out; their numbers count from 1.
    sets: RefCell<Vec<NameData>>,
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

    /// Always alive; complete once every watch has synced.
    fn state(&self) -> Option<State> {
        Some(State {
            deadline_ns: u64::MAX,
            serial: self.index.serial(),
            flags: if self.index.synced() {
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

    fn name(&self, class: KeyClass, key: &KeyBytes) -> Option<RecordWords> {
        let name = MapName::from_key_bytes(class, key);
        let data = self.index.name(&name.wire())?;
        let seed = self.config.seal_seed;
        let record = if encode::needs_set(&data) {
            let mut sets = self.sets.borrow_mut();
            let number = u32::try_from(sets.len() + 1).ok();
            let record = encode::record(&name, seed, &data, number);
            sets.push(data);
            record
        } else {
            encode::record(&name, seed, &data, None)
        };
        Some(bytemuck::cast(record))
    }

    fn chunk(&self, key: ChunkKey, words: &mut AddressBytes) -> Option<u64> {
        let sets = self.sets.borrow();
        let data = sets.get((key.set as usize).checked_sub(1)?)?;
        let (_, chunk) = encode::chunks(self.config.seal_seed, key.set, data)
            .find(|(found, _)| *found == key)?;
        for (i, word) in chunk.words.iter().enumerate() {
            words.put_u64(i * 8, *word);
        }
        Some(chunk.seal)
    }

    fn now_ns(&self) -> u64 {
        heartbeat::monotonic_ns()
    }

    fn random(&self) -> u32 {
        fastrand::u32(..)
    }
}
