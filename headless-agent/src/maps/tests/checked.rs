//! Maps that check themselves around each system call that changes names.

use std::cell::Cell;

use headless_ebpf::abi::{PassedNames, ServedSlot};

use super::*;
use crate::maps::store::Arrays;

/// Maps in memory that check themselves before and after each system call that changes names.
pub(super) struct Checked {
    pub(super) sink: MemorySink,
    /// Number of checks.
    pub(super) changed: u32,
    /// Number of system calls that read records.
    pub(super) reads: Cell<u32>,
    /// Whether writes of records fail.
    pub(super) refuses: bool,
    /// Whether writes of the state fail.
    pub(super) refuses_state: bool,
    /// The state's flags and the names that pass, after each write of one of them.
    pub(super) passes: Vec<(u32, PassedNames)>,
}

impl Checked {
    /// Maps whose table has no slots, so that every write of a record is a system call.
    pub(super) fn new() -> Self {
        Self::with(CAPACITIES)
    }

    /// As [`Self::new`], with other capacities of the other maps.
    pub(super) fn with(capacities: Capacities) -> Self {
        let capacities = Capacities {
            table_slots: 0,
            ..capacities
        };
        Self {
            sink: MemorySink::new(config(), capacities),
            changed: 0,
            reads: Cell::new(0),
            refuses: false,
            refuses_state: false,
            passes: Vec::new(),
        }
    }

    fn record_passes(&mut self) {
        let passed = self.sink.config.unwrap().passed;
        self.passes.push((self.sink.state.flags, passed));
    }

    /// Checks that every record has all its chunks, so that no reader sees a half state.
    fn check(&mut self) {
        self.changed += 1;
        for class in KeyClass::ALL {
            let mut visit = |key, record| {
                let found = read::addresses(&self.sink, &key, &record).unwrap();
                assert_eq!(found.damage, None, "{key:?}");
            };
            read::for_each_record(&self.sink, class, &mut visit).unwrap();
        }
    }

    /// Checks that the programs deny nothing while a record is replaced, and that they may deny
    /// names while a new one is written.
    fn check_generation(&self, key: &MapKey) {
        let exists = self.sink.get(key).unwrap().is_some();
        let is_odd = self.sink.state.flags & State::GENERATION != 0;
        assert!(is_odd || !exists, "{key:?} is replaced");
    }
}

impl RecordSink for Checked {
    fn arrays(&self) -> &Arrays {
        self.sink.arrays()
    }

    fn capacity(&self, class: KeyClass) -> u32 {
        self.sink.capacity(class)
    }

    fn config(&self) -> Result<Config, SinkError> {
        RecordSink::config(&self.sink)
    }

    fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        self.sink.put_config(config)?;
        self.record_passes();
        Ok(())
    }

    fn state(&self) -> Result<State, SinkError> {
        RecordSink::state(&self.sink)
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        if self.refuses_state {
            return Err(SinkError::Failed {
                map: "STATE",
                operation: "write",
                source: std::io::ErrorKind::OutOfMemory.into(),
            });
        }
        self.sink.put_state(state)?;
        self.record_passes();
        Ok(())
    }

    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError> {
        self.sink.served_slot(at)
    }

    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        self.sink.put_served_slot(at, slot)
    }

    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
        self.reads.update(|reads| reads + 1);
        self.sink.get(key)
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        self.check();
        self.check_generation(key);
        if self.refuses {
            let map = MapKind::of_class(key.class()).name();
            return Err(SinkError::Failed {
                map,
                operation: "write",
                source: std::io::Error::other("refused"),
            });
        }
        let result = self.sink.put(key, record);
        self.check();
        result
    }

    fn delete(&mut self, key: &MapKey) -> Result<bool, SinkError> {
        self.check();
        let result = self.sink.delete(key);
        self.check();
        result
    }

    fn for_each(
        &self,
        class: KeyClass,
        visit: &mut dyn FnMut(MapKey, NameRecord),
    ) -> Result<(), SinkError> {
        self.reads.update(|reads| reads + 1);
        self.sink.for_each(class, visit)
    }
}
