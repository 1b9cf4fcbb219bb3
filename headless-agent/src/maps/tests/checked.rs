//! Maps that are checked around each system call of the writer.

use super::super::arrays::Arrays;
use super::*;

/// Maps that are looked at before each system call that changes names, and that are
/// checked after it.
pub(super) struct Checked {
    pub(super) sink: MemorySink,
    pub(super) changed: u32,
}

impl Checked {
    /// Every record's chunks are all there, so that no reader sees a half state, and
    /// names are written in an odd generation.
    fn check(&mut self) {
        self.changed += 1;
        for class in KeyClass::ALL {
            let mut visit = |key, record| {
                let found = read::addresses(&self.sink, &key, &record).unwrap();
                assert_eq!(found.damage, None, "{key:?}");
            };
            read::for_each_record(&self.sink, class, &mut visit).unwrap();
        }
        assert_ne!(self.sink.state.flags & State::GENERATION, 0);
    }
}

impl RecordSink for Checked {
    fn arrays(&self) -> &Arrays {
        self.sink.arrays()
    }

    fn config(&self) -> Result<Config, SinkError> {
        RecordSink::config(&self.sink)
    }

    fn put_config(&mut self, config: &Config) -> Result<(), SinkError> {
        self.sink.put_config(config)
    }

    fn state(&self) -> Result<State, SinkError> {
        RecordSink::state(&self.sink)
    }

    fn put_state(&mut self, state: State) -> Result<(), SinkError> {
        self.sink.put_state(state)
    }

    fn served_slot(&self, at: u32) -> Result<ServedSlot, SinkError> {
        self.sink.served_slot(at)
    }

    fn put_served_slot(&mut self, at: u32, slot: ServedSlot) -> Result<(), SinkError> {
        self.sink.put_served_slot(at, slot)
    }

    fn get(&self, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
        self.sink.get(key)
    }

    fn put(&mut self, key: &MapKey, record: NameRecord) -> Result<bool, SinkError> {
        self.check();
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
        self.sink.for_each(class, visit)
    }
}
