//! Reading the maps as the programs do, without changing anything.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{
    CHUNK_IPV4, CHUNK_IPV6, ChunkId, ChunkKind, Config, DetailsHeader, HashKey, INLINE_BYTES,
    KeyClass, NameFlags, NameRecord,
};

use super::arrays::Arrays;
use super::encode::{Encoded, Place, encode};
use super::endpoints;
use super::extents::Extent;
use super::key::MapKey;
use super::kind::SinkError;
use super::name::{self, EndpointName, is_service};
use super::sink::RecordSink;
use super::table::{self, Found};
use crate::records::NameData;

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Located {
    /// In the table of short keys.
    Table(Found),
    /// In the hash map of the key's class.
    Map(NameRecord),
}

impl Located {
    pub(super) fn record(&self) -> NameRecord {
        match self {
            Self::Table(found) => found.record,
            Self::Map(record) => *record,
        }
    }
}

pub(super) fn locate(
    sink: &impl RecordSink,
    config: &Config,
    key: &MapKey,
) -> Result<Option<Located>, SinkError> {
    if key.class() == KeyClass::Short
        && let Some(found) = table::find(sink.arrays(), &config.hash_key, key)
    {
        return Ok(Some(Located::Table(found)));
    }
    if !config.has_names(key.class()) {
        return Ok(None);
    }
    Ok(sink.get(key)?.map(Located::Map))
}

/// The record under a key, in the table of short keys or in the hash map of its class.
fn record(sink: &impl RecordSink, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
    let located = locate(sink, &sink.config()?, key)?;
    Ok(located.map(|located| located.record()))
}

/// How a name is stored.
#[expect(
    clippy::large_enum_variant,
    reason = "handled one at a time, never kept"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As a record under this key.
    Record(MapKey, NameRecord),
    /// As a regular endpoint, which has no record.
    Endpoint(Ipv4Addr),
}

/// How the name in wire form is stored; `None` where it is not.
pub fn stored(sink: &impl RecordSink, wire: &[u8]) -> Result<Option<Stored>, SinkError> {
    let whole = MapKey::of_name(wire);
    let Some(name) = EndpointName::new(wire) else {
        let Some(key) = whole else { return Ok(None) };
        return Ok(record(sink, &key)?.map(|record| Stored::Record(key, record)));
    };
    let service = MapKey::of_name(name.service).map(|key| record(sink, &key));
    let service = service.transpose()?.flatten();
    let service = service.map_or(0, |record| record.service);
    if let Some(key) = MapKey::of_endpoint(wire, service)
        && let Some(record) = record(sink, &key)?
    {
        return Ok(Some(Stored::Record(key, record)));
    }
    let hash_key = sink.config()?.hash_key;
    let address = name.address().filter(|address| {
        let entry = name::entry(service, *address);
        service != 0 && endpoints::find(sink.arrays(), &hash_key, entry).is_some()
    });
    Ok(address.map(Stored::Endpoint))
}

/// All names that are stored, in wire form. An endpoint of a Service that is not stored
/// has none.
pub fn names(sink: &impl RecordSink) -> Result<BTreeSet<Vec<u8>>, SinkError> {
    let mut names = BTreeSet::new();
    let mut services = HashMap::new();
    let mut labels: Vec<(u32, Vec<u8>)> = Vec::new();
    for class in KeyClass::ALL {
        for_each_record(sink, class, &mut |key, record| {
            let wire = key.wire();
            if let Some(service) = key.endpoint_service() {
                labels.push((service, wire));
                return;
            }
            if is_service(&wire) {
                services.insert(record.service, wire.clone());
            }
            names.insert(wire);
        })?;
    }
    for_each_endpoint(sink, &mut |service, address| {
        let label = Ipv4Addr::from(address.to_ne_bytes())
            .to_string()
            .replace('.', "-");
        labels.push((service, [&[label.len() as u8], label.as_bytes()].concat()));
    });
    let below = labels.into_iter().filter_map(|(service, label)| {
        let service = services.get(&service)?;
        Some([label, service.clone()].concat())
    });
    names.extend(below);
    Ok(names)
}

/// The addresses that are stored for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 addresses, in the order in which they are stored.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses, in the order in which they are stored.
    pub ipv6: Vec<Ipv6Addr>,
    /// What is wrong with record or chunks.
    pub damage: Option<String>,
}

/// Reads what [`super::encode`] has encoded.
pub fn addresses(
    sink: &impl RecordSink,
    key: &MapKey,
    record: &NameRecord,
) -> Result<Addresses, SinkError> {
    let hash_key = sink.config()?.hash_key;
    let mut found = Addresses::default();
    if record.seal != record.sealed(&hash_key, key.hash(&hash_key)).seal {
        found.damage = Some("the seal is broken".into());
    }
    let (ipv4, ipv6) = (usize::from(record.ipv4), usize::from(record.ipv6));
    let (mut bytes4, mut bytes6) = (Vec::new(), Vec::new());
    if record.flags.contains(NameFlags::SET) {
        for (kind, chunks, bytes) in [
            (ChunkKind::Ipv4, ipv4.div_ceil(CHUNK_IPV4), &mut bytes4),
            (ChunkKind::Ipv6, ipv6.div_ceil(CHUNK_IPV6), &mut bytes6),
        ] {
            let first = record.extent.wrapping_add(record.chunks_before(kind));
            for number in 0..chunks {
                let chunk = sink.arrays().chunk(first.wrapping_add(number as u32));
                if !chunk.is(&hash_key, ChunkId::new(record.set, kind, number)) {
                    found.damage = Some(format!("chunk {number} of its addresses is broken"));
                }
                bytes.extend(chunk.words.iter().flat_map(|word| word.to_le_bytes()));
            }
        }
    } else {
        let (inline4, inline6) = record.inline.split_at((ipv4 * 4).min(INLINE_BYTES));
        (bytes4, bytes6) = (inline4.into(), inline6.into());
    }
    let octets4 = bytes4.as_chunks().0.iter().copied();
    let octets6 = bytes6.as_chunks().0.iter().copied();
    found.ipv4 = octets4.map(<[u8; 4]>::into).take(ipv4).collect();
    found.ipv6 = octets6.map(<[u8; 16]>::into).take(ipv6).collect();
    Ok(found)
}

/// Whether the name in wire form is stored as it would be written now.
pub fn is_current(sink: &impl RecordSink, wire: &[u8], data: &NameData) -> Result<bool, SinkError> {
    let hash_key = sink.config()?.hash_key;
    Ok(match stored(sink, wire)? {
        None => false,
        Some(Stored::Record(key, record)) => {
            holds(sink.arrays(), &hash_key, &key, &record, &encode(data))
        }
        // Any number has the same effect.
        Some(Stored::Endpoint(address)) => EndpointName::new(wire)
            .and_then(|name| name.entry(1, data))
            .is_some_and(|entry| entry == name::entry(1, address)),
    })
}

/// Whether record and chunks are what would be written now in the same place.
pub(super) fn holds(
    arrays: &Arrays,
    hash_key: &HashKey,
    key: &MapKey,
    record: &NameRecord,
    encoded: &Encoded,
) -> bool {
    let place = Place::of(record);
    let mut chunks = (place.extent..).zip(encoded.chunks(hash_key, place.set));
    encoded.record(hash_key, key, place) == *record
        && chunks.all(|(index, chunk)| arrays.chunk(index) == chunk)
}

/// Visits all records whose keys are of a class, in no order.
pub fn for_each_record(
    sink: &impl RecordSink,
    class: KeyClass,
    visit: &mut dyn FnMut(MapKey, NameRecord),
) -> Result<(), SinkError> {
    if class == KeyClass::Short {
        for bucket in 0..sink.arrays().table_buckets() {
            for (_, key, record) in table::records(sink.arrays(), bucket) {
                visit(key, record);
            }
        }
    }
    sink.for_each(class, visit)
}

/// Visits all endpoints without a record: their Services' numbers and their addresses,
/// as [`headless_ebpf::abi::EndpointEntry`] has them.
pub fn for_each_endpoint(sink: &impl RecordSink, visit: &mut dyn FnMut(u32, u32)) {
    for bucket in 0..sink.arrays().endpoint_buckets() {
        for (_, entry) in endpoints::entries(sink.arrays(), bucket) {
            visit(entry.service(), entry.address());
        }
    }
}

/// The chunks that a record names. `None` where it names none, or where the record or
/// the first of its chunks does not bear the seal that it should.
pub(super) fn extent(
    arrays: &Arrays,
    hash_key: &HashKey,
    key: &MapKey,
    record: &NameRecord,
) -> Option<Extent> {
    let flags = record.flags;
    let endpoints_at = record.chunks_before(ChunkKind::Endpoints);
    let first = if flags.contains(NameFlags::SET) && record.ipv4 > 0 {
        ChunkKind::Ipv4
    } else if flags.contains(NameFlags::SET) {
        ChunkKind::Ipv6
    } else if flags.contains(NameFlags::OWN) {
        ChunkKind::Own
    } else if flags.contains(NameFlags::ENDPOINTS) {
        ChunkKind::Endpoints
    } else {
        return None;
    };
    let is = |at: u32, kind| {
        let chunk = arrays.chunk(record.extent.wrapping_add(at));
        let id = ChunkId::new(record.set, kind, 0);
        chunk.is(hash_key, id).then_some(chunk)
    };
    is(0, first)?;
    if record.seal != record.sealed(hash_key, key.hash(hash_key)).seal {
        return None;
    }
    let mut len = endpoints_at;
    if flags.contains(NameFlags::ENDPOINTS) {
        let header = is(endpoints_at, ChunkKind::Endpoints)?;
        len += u32::from(DetailsHeader::from_word(header.words[0]).chunks);
    }
    Some(record.extent..record.extent.checked_add(len)?)
}
