//! The maps as the agent sees them.
//!
//! [`Arrays`] are memory that the agent shares with the programs. The other maps take a
//! system call for each access, so they stand behind the trait [`RecordSink`].

mod arrays;
mod capacities;
mod kind;
mod words;

use headless_ebpf::abi::{Config, KeyClass, NameRecord, ServedSlot, State};

pub use self::arrays::Arrays;
pub use self::capacities::Capacities;
pub use self::kind::{MapKind, SinkError};
pub use self::words::Words;
use super::encode::MapKey;

/// All maps of the programs that the agent writes: the kernel's, or maps in memory.
pub trait RecordSink {
    /// The array maps that the agent writes by plain stores.
    fn arrays(&self) -> &Arrays;

    /// The most records in the hash map of a class.
    fn capacity(&self, class: KeyClass) -> u32;

    /// Reads the settings of the programs.
    ///
    /// # Errors
    /// When the kernel refuses, as for all methods of this trait.
    fn config(&self) -> Result<Config, SinkError>;

    /// Replaces the settings of the programs. The sink fills in the numbers of buckets of
    /// its own arrays.
    fn put_config(&mut self, config: &Config) -> Result<(), SinkError>;

    /// Reads deadline, serial, completeness and generation.
    fn state(&self) -> Result<State, SinkError>;

    /// Replaces deadline, serial, completeness and generation.
    fn put_state(&mut self, state: State) -> Result<(), SinkError>;

    /// Reads slot `at` of the table of served addresses.
    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError>;

    /// Replaces slot `at` of the table of served addresses.
    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError>;

    /// Reads the record of a key from the hash map of the key's class.
    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError>;

    /// Writes a record to the hash map of its key's class. Returns whether the key is new.
    ///
    /// # Errors
    /// [`SinkError::Full`] when a new key finds no free element.
    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError>;

    /// Deletes a record from the hash map of its key's class. Returns whether the record
    /// was there.
    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError>;

    /// Visits all records of the hash map of a class, in no particular order.
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

    fn capacity(&self, class: KeyClass) -> u32 {
        (**self).capacity(class)
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
