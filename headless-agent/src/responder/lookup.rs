//! [`Lookup`] over the index. It renders a record when the engine asks for it, so that
//! there is no second copy of the data.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use headless_ebpf::abi::{
    Address, Chunk, Config, EndpointEntry, KeyClass, KeyedHash, NameFlags, NameRecord, State,
};
use headless_ebpf::maps::{Lookup, RecordWords};
use headless_ebpf::wire::{ChunkBytes, KeyBytes};

use crate::corefile::Parts;
use crate::maps::encode::{Place, encode};
use crate::maps::{MapKey, heartbeat};
use crate::records::Index;

/// The index in the form that the engine reads, for one query.
#[derive(Debug)]
pub struct IndexLookup<'a> {
    index: &'a Index,
    config: &'a Config,
    passes: Parts,
    /// The chunks that records name, each at the index that the record says.
    chunks: RefCell<Vec<Chunk>>,
}

impl<'a> IndexLookup<'a> {
    /// A look-up in `index`, with the operator's choices in `config`. `passes` are the parts of
    /// the questions that are left to CoreDNS.
    pub fn new(index: &'a Index, config: &'a Config, passes: Parts) -> Self {
        Self {
            index,
            config,
            passes,
            chunks: RefCell::default(),
        }
    }
}

impl IndexLookup<'_> {
    /// The record of a name or an endpoint. It has no details, so the engine leaves SRV
    /// questions to the resolver.
    fn record(&self, key: &MapKey) -> Option<NameRecord> {
        let wire = key.wire();
        let (data, service) = match key.endpoint_service() {
            Some(number) => (self.index.endpoint(number, wire.get(1..)?)?, number),
            None => (
                self.index.name(&wire)?,
                self.index.number_of(&wire).unwrap_or_default(),
            ),
        };
        let mut chunks = self.chunks.borrow_mut();
        let extent = u32::try_from(chunks.len()).ok()?;
        let encoded = encode(&data);
        let place = Place {
            service,
            extent,
            set: extent,
        };
        let hash_key = &self.config.hash_key;
        chunks.extend(encoded.chunks(hash_key, place.set));
        Some(encoded.record(hash_key, key, place))
    }
}

impl Lookup for IndexLookup<'_> {
    fn config(&self) -> Option<&Config> {
        Some(self.config)
    }

    /// The deadline never passes, because the agent itself is running. Denials are given
    /// while the index allows them.
    fn state(&self) -> Option<State> {
        Some(State {
            deadline_ns: u64::MAX,
            serial: self.index.serial(),
            flags: self.passes.bits()
                | self.config.passed.flag()
                | if self.index.may_deny() {
                    State::COMPLETE
                } else {
                    0
                },
        })
    }

    /// Always true: the query has reached the responder, so its address is right.
    fn serves(&self, _config: &Config, _address: &Address) -> bool {
        true
    }

    fn name(
        &self,
        _config: &Config,
        class: KeyClass,
        key: &KeyBytes,
        _hash: KeyedHash,
        record: &mut RecordWords,
    ) -> bool {
        let found = self.record(&MapKey::from_key_bytes(class, key));
        if let Some(found) = found {
            *record = bytemuck::cast(found);
        }
        found.is_some()
    }

    fn chunk(&self, index: u32, content: &mut ChunkBytes) -> Option<u64> {
        let chunks = self.chunks.borrow();
        let chunk = chunks.get(index as usize)?;
        for (i, word) in chunk.words.iter().enumerate() {
            content.put_u64(i * 8, *word);
        }
        Some(chunk.seal)
    }

    fn endpoint(&self, entry: EndpointEntry, _buckets: [u32; 2]) -> bool {
        let address = Ipv4Addr::from(entry.address().to_ne_bytes());
        let label = address.to_string().replace('.', "-");
        let data = self.index.endpoint(entry.service(), label.as_bytes());
        data.is_some_and(|data| {
            data.flags == NameFlags::empty() && data.ipv4 == [address] && data.ipv6.is_empty()
        })
    }

    /// Finds nothing, so the engine leaves reverse names to the resolver.
    fn reverse(&self, _bucket: u32, _slots: &mut ChunkBytes) -> bool {
        false
    }

    fn now_ns(&self) -> u64 {
        heartbeat::monotonic_ns()
    }

    fn random(&self) -> u32 {
        fastrand::u32(..)
    }
}
