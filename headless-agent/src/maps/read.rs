//! Reads the maps back as the programs do, without changing anything: for `dump` and for
//! tests.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use headless_ebpf::abi::{
    CHUNK_IPV4, CHUNK_IPV6, ChunkId, ChunkKind, INLINE_BYTES, KeyClass, NameFlags, NameRecord,
};

use super::encode::{EndpointName, MapKey, encode, endpoint_entry, is_service};
use super::place::record::{self, Located};
use super::place::{endpoints, table};
use super::store::{MapKind, RecordSink, SinkError};
use crate::records::NameData;

/// Reads the record of a key from the table or from the hash map of the key's class.
fn record_of(sink: &impl RecordSink, key: &MapKey) -> Result<Option<NameRecord>, SinkError> {
    let located = record::locate(sink, &sink.config()?, key)?;
    Ok(located.map(|located| located.record()))
}

/// The map that holds the record of a key: the table, or the hash map of the key's class.
/// `None` if no map holds one.
///
/// # Errors
/// When the kernel refuses to read a map.
pub fn map_of(sink: &impl RecordSink, key: &MapKey) -> Result<Option<MapKind>, SinkError> {
    let located = record::locate(sink, &sink.config()?, key)?;
    Ok(located.map(|located| match located {
        Located::Table(_) => MapKind::Table,
        Located::Map(_) => MapKind::of_class(key.class()),
    }))
}

/// The form in which the maps hold a name.
#[expect(
    clippy::large_enum_variant,
    reason = "callers handle one value at a time and keep none"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A record, with its key.
    Record(MapKey, NameRecord),
    /// A regular endpoint, which has an entry in `ENDPOINTS` and no record.
    Endpoint(Ipv4Addr),
}

/// Looks up a relative name in wire form. `None` if the maps do not hold it.
///
/// # Errors
/// When the kernel refuses to read a map, as for all functions of this module.
pub fn stored(sink: &impl RecordSink, wire: &[u8]) -> Result<Option<Stored>, SinkError> {
    let whole = MapKey::of_name(wire);
    let Some(name) = EndpointName::new(wire) else {
        let Some(key) = whole else { return Ok(None) };
        return Ok(record_of(sink, &key)?.map(|record| Stored::Record(key, record)));
    };
    let service = MapKey::of_name(name.service).map(|key| record_of(sink, &key));
    let service = service.transpose()?.flatten();
    let service = service.map_or(0, |record| record.service);
    if let Some(key) = MapKey::of_endpoint(wire, service)
        && let Some(record) = record_of(sink, &key)?
    {
        return Ok(Some(Stored::Record(key, record)));
    }
    let hash_key = sink.config()?.hash_key;
    let address = name.address().filter(|address| {
        let entry = endpoint_entry(service, *address);
        service != 0 && endpoints::find(sink.arrays(), &hash_key, entry).is_some()
    });
    Ok(address.map(Stored::Endpoint))
}

/// Visits all names that the maps hold, in wire form and in no particular order, until `visit`
/// returns false. Endpoints under a Service's number are left out if the maps do not hold the
/// Service, because then their names are unknown. Remembers every Service, and no other name.
pub fn for_each_name(
    sink: &impl RecordSink,
    visit: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(), SinkError> {
    let mut services = HashMap::<u32, Box<[u8]>>::new();
    for class in KeyClass::ALL {
        for_each_record(sink, class, &mut |key, record| {
            let wire = key.wire();
            if key.endpoint_service().is_none() && is_service(&wire) {
                services.insert(record.service, wire.into());
            }
        })?;
    }
    let mut goes_on = true;
    let mut below = |goes_on: &mut bool, service: u32, label: &[u8]| {
        if let (true, Some(service)) = (*goes_on, services.get(&service)) {
            *goes_on = visit(&[label, service].concat());
        }
    };
    for_each_endpoint(sink, &mut |service, address| {
        let label = Ipv4Addr::from(address.to_ne_bytes())
            .to_string()
            .replace('.', "-");
        let label = [&[label.len() as u8], label.as_bytes()].concat();
        below(&mut goes_on, service, &label);
    });
    for class in KeyClass::ALL {
        for_each_record(sink, class, &mut |key, _| {
            if let Some(service) = key.endpoint_service() {
                below(&mut goes_on, service, &key.wire());
            }
        })?;
    }
    for class in KeyClass::ALL {
        for_each_record(sink, class, &mut |key, _| {
            if goes_on && key.endpoint_service().is_none() {
                goes_on = visit(&key.wire());
            }
        })?;
    }
    Ok(())
}

/// All names of [`for_each_name`], for small clusters.
pub fn names(sink: &impl RecordSink) -> Result<BTreeSet<Vec<u8>>, SinkError> {
    let mut names = BTreeSet::new();
    for_each_name(sink, &mut |wire| {
        names.insert(wire.to_vec());
        true
    })?;
    Ok(names)
}

/// The addresses that the maps hold for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 addresses, in the order of the maps.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses, in the order of the maps.
    pub ipv6: Vec<Ipv6Addr>,
    /// A description of the damage, if the record or a chunk is damaged.
    pub damage: Option<String>,
}

/// Reads the addresses of a record, from the record itself and from its chunks.
pub fn addresses(
    sink: &impl RecordSink,
    key: &MapKey,
    record: &NameRecord,
) -> Result<Addresses, SinkError> {
    let hash_key = sink.config()?.hash_key;
    let mut found = Addresses::default();
    if record.seal != record.sealed(&hash_key, key.hash(&hash_key)).seal {
        found.damage = Some("the seal of the record is broken".into());
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
                    found.damage = Some(format!("the seal of address chunk {number} is broken"));
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

/// Whether the maps hold a name exactly as the writer would write it now.
pub fn is_current(sink: &impl RecordSink, wire: &[u8], data: &NameData) -> Result<bool, SinkError> {
    let hash_key = sink.config()?.hash_key;
    Ok(match stored(sink, wire)? {
        None => false,
        Some(Stored::Record(key, record)) => {
            record::holds(sink.arrays(), &hash_key, &key, &record, &encode(data))
        }
        // The entry depends on the data in the same way for every Service's number.
        Some(Stored::Endpoint(address)) => EndpointName::new(wire)
            .and_then(|name| name.entry(1, data))
            .is_some_and(|entry| entry == endpoint_entry(1, address)),
    })
}

/// Visits all records with keys of a class, in the table and in the hash map, in no
/// particular order.
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

/// Visits all regular endpoints with their Service's number and their address, in the form of
/// [`headless_ebpf::abi::EndpointEntry`].
pub fn for_each_endpoint(sink: &impl RecordSink, visit: &mut dyn FnMut(u32, u32)) {
    for bucket in 0..sink.arrays().endpoint_buckets() {
        for (_, entry) in endpoints::entries(sink.arrays(), bucket) {
            visit(entry.service(), entry.address());
        }
    }
}
