//! From the labels of a name to what is stored under it.

use super::{
    Scratch,
    servers::{DetailsAt, Place, Ports},
};
use crate::{
    abi::{
        Config, EndpointEntry, HASH_NAME, HashKey, KeyClass, KeyedHash, NameFlags, NameRecord,
        PassReason, PodsMode, endpoint_word,
    },
    maps::Lookup,
    opaque,
    wire::{DNS_HEADER_LEN, Image, KeyBytes, Question, WINDOW, fold, qtype},
};

/// What a name in the zone is.
pub(super) enum Found {
    /// A Service, one of its ports, an endpoint or what may be a pod, whose record
    /// is [`Scratch::record`].
    Record(Place),
    /// A name below a Service or a namespace, which [`below`] looks for.
    Below(Place),
    /// Something that exists and has no records: the zone, `svc`, `pod`, a
    /// namespace.
    NonTerminal,
    /// The name that has the version of the specification.
    Version,
    /// Nothing.
    Missing,
}

/// `\3svc`, as it stands in a name.
const SVC: u32 = u32::from_le_bytes(*b"\x03svc");
/// `\3pod`.
const POD: u32 = u32::from_le_bytes(*b"\x03pod");
/// `\2ns\3dns`, with which the name server's own name begins; the last byte does
/// not count.
const NAME_SERVER: u64 = u64::from_le_bytes(*b"\x02ns\x03dns\0");
/// Bytes of it.
const NAME_SERVER_LEN: usize = 7;
/// `\13dns-version`, the specification's version.
const DNS_VERSION: (u64, u32) = (
    u64::from_le_bytes(*b"\x0bdns-ver"),
    u32::from_le_bytes(*b"sion"),
);

/// What is known of a name whose labels have not been looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// [`Scratch::record`] is its record.
    Found,
    /// There is no record of what stands before `svc`.
    Missing,
    /// Its shape decides.
    Unknown,
}

/// Looks up what stands before `svc`, if that is the name of a Service or an endpoint:
/// the labels' lengths are part of a key, so that those of a name that is stored need
/// not be looked at, and most questions are for one.
#[inline(always)]
pub(super) fn stored<L: Lookup>(
    scratch: &mut Scratch,
    start: usize,
    config: &Config,
    question: &Question,
    lookup: &L,
) -> Result<Stored, PassReason> {
    let Scratch {
        image,
        key,
        record: found,
        ..
    } = scratch;
    let name = start + DNS_HEADER_LEN;
    // Other types have their own ways, of which some depend on the shape.
    if question.qtype != qtype::A && question.qtype != qtype::AAAA {
        return Ok(Stored::Unknown);
    }
    // One comparison for names without a label there, too short ones and long ones.
    let len = (question.zone as usize).wrapping_sub(size_of_val(&SVC));
    if len.wrapping_sub(1) >= KeyClass::Short.bytes() {
        return Ok(Stored::Unknown);
    }
    // The compiler would leave out the masks by which the verifier knows that the
    // accesses are inside.
    let len = opaque::number(len);
    // Keys are padded with zeroes, which would make up for roots behind a name.
    let last = image.u8_at(name + len.wrapping_sub(1));
    if last == 0 || fold(u64::from(image.u32_at(name + len))) as u32 != SVC {
        return Ok(Stored::Unknown);
    }
    let hash = build::<{ KeyClass::Short.words() }>(image, name, len, key, &config.hash_key);
    if key.u64_at(0) << 8 == NAME_SERVER << 8 {
        return Ok(Stored::Unknown);
    }
    if !look_up(KeyClass::Short, key, hash, &config.hash_key, found, lookup)? {
        return Ok(Stored::Missing);
    }
    // Namespaces have no records, and pods no names below `svc`.
    Ok(
        if opaque::memory(found).flags.contains(NameFlags::NO_SERVICE) {
            Stored::Unknown
        } else {
            Stored::Found
        },
    )
}

/// Reads the shape of a name from the right, as CoreDNS does (`parse.go`), and
/// looks up what the shape leaves open; `stored` is what is known already.
#[inline(always)]
#[expect(
    clippy::too_many_lines,
    reason = "one table, and calls are dear in a program"
)]
pub(super) fn find<L: Lookup>(
    scratch: &mut Scratch,
    start: usize,
    config: &Config,
    question: &Question,
    stored: Stored,
    lookup: &L,
) -> Result<Found, PassReason> {
    let Scratch {
        image,
        key,
        record: found,
        servers,
        ..
    } = scratch;
    let hash_key = &config.hash_key;
    if question.zone == 0 {
        return Ok(Found::NonTerminal);
    }
    let name = start + DNS_HEADER_LEN;
    // CoreDNS takes a name that merely begins with `ns.dns.<zone>` for the zone's
    // name server, such as those that a search list makes of it (`isDefaultNS`).
    // The zone's first bytes without its root are enough to leave it alone.
    let zone_begins = WINDOW.first((config.zone_len as usize).wrapping_sub(1), 0);
    let not_zone = (fold(image.u64_at(name + NAME_SERVER_LEN)) ^ config.zone[0]) & zone_begins;
    if fold(image.u64_at(name)) << 8 == NAME_SERVER << 8 && not_zone == 0 {
        return Err(PassReason::Userspace);
    }
    let labels = question.labels;
    let kind_at = labels.from_right(0);
    let is_pod = match fold(u64::from(image.u32_at(name + kind_at))) as u32 {
        SVC => false,
        POD => true,
        _ if kind_at == 0 && is_dns_version(image, name) => return Ok(Found::Version),
        _ => return Ok(Found::Missing),
    };
    if kind_at == 0 {
        return Ok(Found::NonTerminal);
    }
    // Only the first label starts at 0: the first zero ends the list.
    let (namespace_at, service_at) = (labels.from_right(1), labels.from_right(2));
    let (endpoint_at, port_at) = (labels.from_right(3), labels.from_right(4));
    let below_service = namespace_at != 0 && service_at != 0;
    let is_endpoint = below_service && endpoint_at == 0;
    let is_port = below_service && endpoint_at != 0 && port_at == 0;
    if below_service && !is_endpoint && !is_port {
        // Deeper than `_port._protocol.service.namespace` nothing exists. This
        // is the fate of most names that a search list makes up.
        return Ok(Found::Missing);
    }
    // A pod's name is its namespace's matter, a port's its Service's.
    let owner_at = if is_pod {
        namespace_at
    } else if is_port {
        service_at
    } else {
        0
    };
    // Endpoints with longer names are stored below their Services.
    let is_elsewhere = is_endpoint && kind_at > KeyClass::Short.bytes();
    let is_missing = stored == Stored::Missing && owner_at == 0 || is_elsewhere;
    let exists =
        !is_missing && record(image, name, owner_at, kind_at, key, hash_key, found, lookup)?;
    let found = opaque::memory(found);
    if is_pod {
        if config.pods == PodsMode::Disabled as u32 || !exists {
            return Ok(Found::Missing);
        }
        if namespace_at == 0 {
            return Ok(Found::NonTerminal);
        }
        if config.pods == PodsMode::Verified as u32 {
            return Ok(Found::Below(Place::VerifiedPod));
        }
        // Its label is read by a subprogram. Those further left say nothing.
        *found = NameRecord::NOTHING;
        return Ok(Found::Record(Place::Pod));
    }
    if exists && found.flags.contains(NameFlags::NO_SERVICE) {
        return Ok(Found::NonTerminal);
    }
    // The details of an endpoint are its Service's.
    if is_endpoint && (!exists || question.qtype == qtype::SRV) {
        if !exists {
            *found = NameRecord::NOTHING;
        }
        return Ok(Found::Below(Place::Endpoint));
    }
    if !exists {
        return Ok(Found::Missing);
    }
    let place = if is_port {
        Place::Port
    } else if is_endpoint {
        Place::Endpoint
    } else {
        Place::Service
    };
    servers.put_details(DetailsAt::own(found));
    Ok(Found::Record(place))
}

/// Looks for the name of a pod that exists, or of an endpoint: [`Ports::None`] where
/// there is none, else its record is in [`Scratch::record`]. Where an endpoint's record
/// is there already, only the details of its SRV records are looked for.
#[inline(always)]
pub(super) fn below<L: Lookup>(scratch: &mut Scratch, lookup: &L) -> Result<Ports, PassReason> {
    let Scratch {
        image,
        question,
        key,
        record: found,
        service,
        servers,
        dashed,
        ..
    } = scratch;
    let Some(config) = lookup.config() else {
        return Err(PassReason::Map);
    };
    let hash_key = &config.hash_key;
    let question: &Question = opaque::memory(question);
    let name = servers.start() + DNS_HEADER_LEN;
    let labels = question.labels;
    let (kind_at, service_at) = (labels.from_right(0), labels.from_right(2));
    let is_pod = servers.is_asked(Place::VerifiedPod);
    // A pod is stored under its labels, `pod` and the first label of the zone: four
    // labels, which no other name has.
    let pod_end = question.zone as usize + 1 + (config.zone[0] & 0x3f) as usize;
    let end = if is_pod { pod_end } else { kind_at };
    let exists = any_record(image, name, service_at, end, key, hash_key, service, lookup)?;
    let service = opaque::memory(service);
    if !exists {
        *service = NameRecord::NOTHING;
    }
    if is_pod {
        *found = *service;
        return Ok(if exists { Ports::Numbered } else { Ports::None });
    }
    servers.put_details(DetailsAt::endpoints(service));
    let found = opaque::memory(found);
    if found.flags.0 != 0 || found.ipv4 != 0 || found.ipv6 != 0 {
        return Ok(Ports::Numbered);
    }
    let number = opaque::memory(service).service;
    if number == 0 {
        return Ok(Ports::None);
    }
    if let Some(address) = dashed.read_ipv4(image, name) {
        let entry = EndpointEntry::new(number, address);
        if lookup.endpoint(entry, entry.buckets(hash_key, config.endpoint_buckets)) {
            put_regular(found, number, address);
            return Ok(Ports::Numbered);
        }
    }
    if kind_at > KeyClass::Short.bytes() {
        let len = usize::from(image.u8_at(name)) + 1;
        if endpoint_record(image, name, len, number, key, hash_key, found, lookup)? {
            return Ok(Ports::Numbered);
        }
    }
    if opaque::memory(service)
        .flags
        .contains(NameFlags::ENDPOINTS_UNKNOWN)
    {
        // It may have this endpoint.
        return Err(PassReason::Userspace);
    }
    Ok(Ports::None)
}

/// Makes the record of a regular endpoint, see [`EndpointEntry`].
#[inline(always)]
fn put_regular(record: &mut NameRecord, service: u32, address: u32) {
    *record = NameRecord::NOTHING;
    record.ipv4 = 1;
    record.service = service;
    let [a, b, c, d] = address.to_ne_bytes();
    (record.inline[0], record.inline[1]) = (a, b);
    (record.inline[2], record.inline[3]) = (c, d);
}

/// Whether the name's first label is `dns-version`.
#[inline(always)]
fn is_dns_version(image: &Image, name: usize) -> bool {
    fold(image.u64_at(name)) == DNS_VERSION.0
        && fold(u64::from(image.u32_at(name + 8))) as u32 == DNS_VERSION.1
}

/// The record of the first `len` bytes of the name at `name`; zeroes where there is
/// none. Names of class [`KeyClass::Long`] are left to userspace: name chunks have no
/// room for them.
#[inline(always)]
pub(super) fn record_of<L: Lookup>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    hash_key: &HashKey,
    found: &mut NameRecord,
    lookup: &L,
) -> Result<bool, PassReason> {
    let class = KeyClass::of_len(len);
    // What the compiler knows of it would make it leave out the mask by which the
    // verifier knows that the window is inside.
    let len = opaque::number(len);
    match class {
        KeyClass::Short => {
            let hash = build::<{ KeyClass::Short.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Short, key, hash, hash_key, found, lookup)
        }
        KeyClass::Medium => {
            let hash = build::<{ KeyClass::Medium.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Medium, key, hash, hash_key, found, lookup)
        }
        KeyClass::Long => return Err(PassReason::Userspace),
    }
}

/// The record under the endpoint key of the label at `label`, `len` bytes with its
/// length, of the Service of this number.
#[inline(always)]
pub(super) fn endpoint_record<L: Lookup>(
    image: &Image,
    label: usize,
    len: usize,
    service: u32,
    key: &mut KeyBytes,
    hash_key: &HashKey,
    found: &mut NameRecord,
    lookup: &L,
) -> Result<bool, PassReason> {
    let len = opaque::number(len);
    let word = endpoint_word(service);
    match KeyClass::of_len(size_of_val(&word) + len) {
        KeyClass::Short => {
            let hash = build_endpoint::<{ KeyClass::Short.words() }>(
                image, label, len, word, key, hash_key,
            );
            look_up(KeyClass::Short, key, hash, hash_key, found, lookup)
        }
        _ => {
            let hash = build_endpoint::<{ KeyClass::Medium.words() }>(
                image, label, len, word, key, hash_key,
            );
            look_up(KeyClass::Medium, key, hash, hash_key, found, lookup)
        }
    }
}

/// [`record`] within a subprogram, which calls nothing itself: the functions that call
/// each other have 512 bytes of stack together.
#[inline(always)]
fn any_record<L: Lookup>(
    image: &Image,
    name: usize,
    from: usize,
    to: usize,
    key: &mut KeyBytes,
    hash_key: &HashKey,
    found: &mut NameRecord,
    lookup: &L,
) -> Result<bool, PassReason> {
    let len = to.wrapping_sub(from) & 0xff;
    let name = name + from;
    let class = KeyClass::of_len(len);
    let len = opaque::number(len);
    match class {
        KeyClass::Short => {
            let hash = build::<{ KeyClass::Short.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Short, key, hash, hash_key, found, lookup)
        }
        KeyClass::Medium => {
            let hash = build::<{ KeyClass::Medium.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Medium, key, hash, hash_key, found, lookup)
        }
        KeyClass::Long => {
            let hash = build::<{ KeyClass::Long.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Long, key, hash, hash_key, found, lookup)
        }
    }
}

/// Looks up the labels between `from` and `to` of the name at `name`.
#[inline(always)]
fn record<L: Lookup>(
    image: &Image,
    name: usize,
    from: usize,
    to: usize,
    key: &mut KeyBytes,
    hash_key: &HashKey,
    found: &mut NameRecord,
    lookup: &L,
) -> Result<bool, PassReason> {
    let len = to.wrapping_sub(from) & 0xff;
    let name = name + from;
    match KeyClass::of_len(len) {
        KeyClass::Short => {
            let hash = build::<{ KeyClass::Short.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Short, key, hash, hash_key, found, lookup)
        }
        KeyClass::Medium => {
            let hash = build_long::<{ KeyClass::Medium.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Medium, key, hash, hash_key, found, lookup)
        }
        KeyClass::Long => {
            let hash = build_long::<{ KeyClass::Long.words() }>(image, name, len, key, hash_key);
            look_up(KeyClass::Long, key, hash, hash_key, found, lookup)
        }
    }
}

/// Looks up a key and puts the record in `found`, if the seal says that it belongs
/// there. Whether there is one.
#[inline(always)]
fn look_up<L: Lookup>(
    class: KeyClass,
    key: &KeyBytes,
    hash: KeyedHash,
    hash_key: &HashKey,
    found: &mut NameRecord,
    lookup: &L,
) -> Result<bool, PassReason> {
    if !lookup.name(class, key, hash, bytemuck::cast_mut(&mut *found)) {
        return Ok(false);
    }
    if found.seal == NameRecord::seal_of(opaque::reference(hash_key), hash, bytemuck::cast(*found))
    {
        Ok(true)
    } else {
        Err(PassReason::Changed)
    }
}

/// Puts the `len` bytes at `name`, folded, into the first `WORDS` words of
/// `key`, with zeroes behind them, and hashes these words.
#[inline(always)]
fn build<const WORDS: usize>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    hash_key: &HashKey,
) -> KeyedHash {
    let hash_key = opaque::reference(hash_key);
    let mut hash = KeyedHash::new();
    for i in 0..WORDS {
        let word = fold(image.u64_at(name + i * 8)) & WINDOW.first(len, i * 8);
        key.put_u64(i * 8, word);
        hash = hash.word(hash_key, HASH_NAME + i, word);
    }
    hash
}

/// The same for an endpoint key.
#[inline(always)]
fn build_endpoint<const WORDS: usize>(
    image: &Image,
    label: usize,
    len: usize,
    word: u64,
    key: &mut KeyBytes,
    hash_key: &HashKey,
) -> KeyedHash {
    let hash_key = opaque::reference(hash_key);
    key.put_u64(0, word);
    let mut hash = KeyedHash::new().word(hash_key, HASH_NAME, word);
    for i in 1..WORDS {
        let at = (i - 1) * 8;
        let word = fold(image.u64_at(label + at)) & WINDOW.first(len, at);
        key.put_u64(i * 8, word);
        hash = hash.word(hash_key, HASH_NAME + i, word);
    }
    hash
}

/// [`build`] for the rare long names, out of the way of the others.
#[inline(always)]
fn build_long<const WORDS: usize>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    hash_key: &HashKey,
) -> KeyedHash {
    KeyedHash::resume(long_sum::<WORDS>(image, name, len, key, hash_key))
}

/// A function of its own in the program, which can return one word.
#[inline(never)]
fn long_sum<const WORDS: usize>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    hash_key: &HashKey,
) -> u64 {
    build::<WORDS>(image, name, len, key, hash_key).sum()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::abi::NameKey;

    /// Agent and programs make a key by code of their own: the same key.
    #[test]
    fn a_built_key_is_the_agents_key() {
        let labels: [&[u8]; 3] = [b"Web-0", b"nginx-headless", b"default"];
        let (expected, len) = NameKey::from_labels(labels).unwrap();
        let mut image = Image::default();
        // What follows a name in a message must not show in the key.
        image.as_mut_slice().fill(0xaa);
        image.as_mut_slice()[5..][..len].copy_from_slice(b"\x05wEB-0\x0enginx-HEADLESS\x07default");
        let mut key = KeyBytes::default();
        key.as_mut_slice().fill(0x55);
        let hash_key = HashKey::from_seed(77);
        let hash = build::<31>(&image, 5, len, &mut key, &hash_key);
        let built: [u64; 31] = core::array::from_fn(|i| key.u64_at(i * 8));
        assert_eq!(built, expected.words);
        let expected = KeyedHash::new().words(&hash_key, HASH_NAME, &expected.words);
        assert_eq!(hash, expected);
    }

    #[test]
    fn a_built_endpoint_key_is_the_agents_key() {
        let (expected, class) = NameKey::of_endpoint(9, b"Web-0").unwrap();
        let mut image = Image::default();
        image.as_mut_slice().fill(0xaa);
        image.as_mut_slice()[5..][..6].copy_from_slice(b"\x05wEB-0");
        let mut key = KeyBytes::default();
        key.as_mut_slice().fill(0x55);
        let hash_key = HashKey::from_seed(77);
        let hash = build_endpoint::<5>(&image, 5, 6, endpoint_word(9), &mut key, &hash_key);
        let built: [u64; 5] = core::array::from_fn(|i| key.u64_at(i * 8));
        assert_eq!(built, expected.words(class));
        assert_eq!(hash, KeyedHash::new().words(&hash_key, HASH_NAME, &built));
    }
}
