//! Compares one part of the index with the maps, and marks entries that are right.

use super::drift::Drift;
use crate::maps::encode::{EndpointName, MapKey, encode, is_service};
use crate::maps::place::endpoints;
use crate::maps::place::record::{self, Located};
use crate::maps::store::{RecordSink, SinkError};
use crate::maps::writer::Writer;
use crate::records::{NameData, Part, Pointed};

/// A name in the maps, compared with the index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    Missing,
    Differing,
}

impl<S: RecordSink> Writer<S> {
    /// Corrects the names and hints of one part. All names of a part are written in one
    /// generation, because the endpoints of a Service have new keys if the Service's record
    /// gets a new number.
    pub(super) fn check_part(&mut self, part: &Part, drift: &mut Drift) -> Result<(), SinkError> {
        let mut is_writing = false;
        let checked = part.names.iter().try_for_each(|(name, data)| {
            let wire = name.as_bytes();
            let standing = self.standing(wire, data)?;
            if standing == Standing::Current {
                return Ok(());
            }
            // A failed or crowded name is known to differ, so it is no drift.
            if !self.failed.contains(wire) && !self.crowded.contains(wire) {
                match standing {
                    Standing::Missing => drift.missing += 1,
                    _ => drift.differing += 1,
                }
            }
            if !std::mem::replace(&mut is_writing, true) {
                self.begin_writing();
            }
            self.install(wire, Some(data));
            Ok(())
        });
        if is_writing {
            self.end_writing();
        }
        if let Some(pointed) = &part.pointed {
            self.check_pointed(pointed, drift);
        }
        checked
    }

    /// Compares a name with its entry in the maps, and marks the entry if it is right.
    fn standing(&mut self, wire: &[u8], data: &NameData) -> Result<Standing, SinkError> {
        let (key, service) = if let Some(name) = EndpointName::new(wire) {
            let Some(service) = self.known_service(name.service)? else {
                return Ok(Standing::Missing);
            };
            if let Some(entry) = name.entry(service, data)
                && let Some(number) =
                    endpoints::find(self.sink.arrays(), &self.config.hash_key, entry)
            {
                if let Some(marks) = &mut self.marks {
                    marks.endpoints[number] = true;
                }
                return Ok(Standing::Current);
            }
            (MapKey::of_endpoint(wire, service), Some(service))
        } else {
            let service = (!is_service(wire)).then_some(0);
            (MapKey::of_name(wire), service)
        };
        // No query can ask for a name without a key, so the maps need not have it.
        let Some(key) = key else {
            return Ok(Standing::Current);
        };
        let Some(located) = self.locate(&key)? else {
            return Ok(Standing::Missing);
        };
        let record = located.record();
        let has_number = match service {
            Some(service) => record.service == service,
            None => record.service != 0,
        };
        let hash_key = &self.config.hash_key;
        let holds = record::holds(self.sink.arrays(), hash_key, &key, &record, &encode(data));
        if !has_number || !holds {
            return Ok(Standing::Differing);
        }
        self.mark(&key, &located);
        Ok(Standing::Current)
    }

    fn mark(&mut self, key: &MapKey, located: &Located) {
        let record = located.record();
        let (arrays, hash_key) = (self.sink.arrays(), &self.config.hash_key);
        if let Some(extent) = record::extent(arrays, hash_key, key, &record) {
            self.sets.extents.see(&extent);
        }
        let Some(marks) = &mut self.marks else { return };
        match located {
            Located::Table(found) => marks.hints[found.hint()] = true,
            Located::Map(_) => drop(marks.keys.insert(*key)),
        }
    }

    /// Corrects the name chunk of one Service and the hints that lead to it.
    fn check_pointed(&mut self, pointed: &Pointed, drift: &mut Drift) {
        if self.sink.arrays().reverse_buckets() == 0 {
            return;
        }
        let Pointed {
            number,
            name,
            addresses,
        } = pointed;
        // A missing chunk or hint is no drift: it may have found no room before.
        drift.differing += u64::from(self.put_name_chunk(*number, name));
        let chunk = self.name_chunks.get(*number);
        for address in addresses {
            drift.differing += u64::from(self.put_pointer(*address, chunk));
        }
    }
}
