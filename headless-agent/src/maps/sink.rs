//! The home of the maps.

use headless_ebpf::abi::{Config, KeyClass, NameRecord, ServedSlot, State};

use super::arrays::Arrays;
use super::key::MapKey;
use super::kind::SinkError;

/// The maps' home. The arrays are written directly; this is what takes a system call in
/// the kernel.
pub trait RecordSink {
    /// The maps that are arrays of words.
    fn arrays(&self) -> &Arrays;
    /// The operator's choices.
    fn config(&self) -> Result<Config, SinkError>;
    /// Replaces the operator's choices.
    fn put_config(&mut self, config: &Config) -> Result<(), SinkError>;
    /// The liveness entry.
    fn state(&self) -> Result<State, SinkError>;
    /// Replaces the liveness entry.
    fn put_state(&mut self, state: State) -> Result<(), SinkError>;
    /// A slot of the table of served addresses.
    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError>;
    /// Replaces a slot of the table of served addresses.
    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError>;
    /// The record under a key in the hash map of the key's class.
    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError>;
    /// Stores a record in the hash map of its key's class; whether the key is new.
    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError>;
    /// Removes a record from the hash map of its key's class; whether it was there.
    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError>;
    /// Visits all records of the hash map of a class, in no order.
    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError>;
}

impl<S: RecordSink> RecordSink for &mut S {
    fn arrays(&self) -> &Arrays {
        (**self).arrays()
    }

    fn config(&self) -> Result<Config, SinkError> {
        (**self).config()
    }

    fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        (**self).put_config(config)
    }

    fn state(&self) -> Result<State, SinkError> {
        (**self).state()
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        (**self).put_state(state)
    }

    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError> {
        (**self).served_slot(at)
    }

    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        (**self).put_served_slot(at, slot)
    }

    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
        (**self).get(key)
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        (**self).put(key, record)
    }

    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError> {
        (**self).delete(key)
    }

    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError> {
        (**self).for_each(class, visit)
    }
}
