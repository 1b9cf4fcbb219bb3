//! Opening maps that may have entries of another agent.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use headless_ebpf::abi::{Config, KeyClass, State};
use tracing::warn;

use super::Writer;
use super::complaints::Complaints;
use super::counts::WriteCounts;
use crate::maps::budget::Budget;
use crate::maps::encode::MapKey;
use crate::maps::place::extents::Extent;
use crate::maps::place::name_chunks::NameChunks;
use crate::maps::place::record;
use crate::maps::place::sets::{Sets, following};
use crate::maps::place::table::Table;
use crate::maps::read;
use crate::maps::store::{MapKind, RecordSink, SinkError};

/// Facts about the records and regular endpoints that the maps have.
#[derive(Default)]
struct Found {
    /// Number of records by class.
    records: [u64; KeyClass::ALL.len()],
    /// The largest version of a set.
    set: u32,
    /// The largest number of a Service.
    service: u32,
    /// The extents of records, with the records' keys.
    extents: Vec<(Extent, MapKey)>,
    /// The keys of records whose chunks are not theirs.
    damaged: Vec<MapKey>,
}

impl Found {
    fn read(sink: &impl RecordSink, config: &Config) -> Result<Self, SinkError> {
        let mut found = Self::default();
        for class in KeyClass::ALL {
            read::for_each_record(sink, class, &mut |key, record| {
                found.records[class as usize] += 1;
                found.set = found.set.max(record.set);
                found.service = found.service.max(record.service);
                match record::extent(sink.arrays(), &config.hash_key, &key, &record) {
                    Some(extent) => found.extents.push((extent, key)),
                    None if record.set != 0 => found.damaged.push(key),
                    None => {}
                }
            })?;
        }
        read::for_each_endpoint(sink, &mut |service, _| {
            found.service = found.service.max(service);
        });
        Ok(found)
    }
}

impl<S: RecordSink> Writer<S> {
    /// Opens maps for writing. They may have entries of another agent, and keep the hash key
    /// of that agent.
    ///
    /// # Errors
    /// When the maps cannot be read, or when a damaged record cannot be deleted.
    pub fn open(sink: S, counts: Arc<WriteCounts>) -> Result<Self, SinkError> {
        let config = sink.config()?;
        let mut state = sink.state()?;
        if state.flags & State::GENERATION != 0 {
            // The agent before this one died while it wrote names, so one may be missing.
            state.flags &= !State::COMPLETE;
            state = state.next_generation();
        }
        let (hash_key, arrays) = (&config.hash_key, sink.arrays());
        let table = Table::open(arrays);
        let name_chunks = NameChunks::open(arrays, hash_key);
        let Found {
            records,
            set,
            service,
            extents,
            mut damaged,
        } = Found::read(&sink, &config)?;
        let used = extents.iter().map(|(extent, _)| extent.clone());
        let names = name_chunks.leftovers().map(|chunk| chunk..chunk + 1);
        let (sets, overlapping) = Sets::new(arrays, used.chain(names).collect(), following(set));
        let overlapping: HashSet<Extent> = overlapping.into_iter().collect();
        let lost = extents
            .into_iter()
            .filter(|(extent, _)| overlapping.contains(extent));
        damaged.extend(lost.map(|(_, key)| key));

        for class in KeyClass::ALL {
            let in_table = match class {
                KeyClass::Short => table.used(),
                _ => 0,
            };
            let entries = records[class as usize].saturating_sub(in_table);
            counts.set_entries(MapKind::of_class(class), entries);
        }
        let mut writer = Self {
            filling: false,
            fresh: false,
            config,
            table,
            sets,
            name_chunks,
            next_service: following(service),
            numbers: BTreeMap::new(),
            failed: BTreeSet::new(),
            crowded: BTreeSet::new(),
            retried: Box::default(),
            budget: Budget::default(),
            complaints: Complaints::default(),
            marks: None,
            state,
            counts,
            sink,
        };
        writer.delete_damaged(&damaged)?;
        writer.publish_counts();
        writer.count_buckets();
        if !writer.is_empty() {
            writer.count_holdings()?;
        }
        Ok(writer)
    }

    /// Deletes records whose chunks are not theirs.
    fn delete_damaged(&mut self, damaged: &[MapKey]) -> Result<(), SinkError> {
        if damaged.is_empty() {
            return Ok(());
        }
        warn!(
            records = damaged.len(),
            "deleted records in the maps that name chunks of other records"
        );
        self.withdraw_denials()?;
        for key in damaged {
            self.delete_record(key)?;
        }
        Ok(())
    }
}
