//! From the labels of a name to what is stored under it.

use bytemuck::Zeroable as _;

use super::{
    Scratch,
    servers::{DetailsAt, Place},
};
use crate::{
    abi::{Config, KeyClass, NameFlags, NameRecord, PassReason, PodsMode, Seal},
    lookup::{Lookup, RecordWords},
    opaque,
    wire::{DNS_HEADER_LEN, Image, KeyBytes, Question, WINDOW, fold, qtype},
};

/// What a name in the zone is.
pub(super) enum Found {
    /// A Service, one of its ports, an endpoint or what may be a pod, whose record
    /// is [`Scratch::record`], and where the details of its SRV records are.
    Record(Place, DetailsAt),
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
    let seal = build::<{ KeyClass::Short.words() }>(image, name, len, key, config.seal_seed);
    if key.u64_at(0) << 8 == NAME_SERVER << 8 {
        return Ok(Stored::Unknown);
    }
    let Looked { exists, record } = proven(seal, lookup.name(KeyClass::Short, key, seal))?;
    if !exists {
        return Ok(Stored::Missing);
    }
    *found = record;
    // Namespaces have no records, and pods no names below `svc`.
    Ok(if record.flags.contains(NameFlags::NO_SERVICE) {
        Stored::Unknown
    } else {
        Stored::Found
    })
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
        ..
    } = scratch;
    let seed = config.seal_seed;
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
    let owner = if stored == Stored::Missing && owner_at == 0 {
        Looked::NOTHING
    } else {
        record(image, name, owner_at, kind_at, key, seed, lookup)?
    };
    let is_verified_pod = is_pod && config.pods == PodsMode::Verified as u32;
    if is_pod {
        if config.pods == PodsMode::Disabled as u32 || !owner.exists {
            return Ok(Found::Missing);
        }
        if namespace_at == 0 {
            return Ok(Found::NonTerminal);
        }
        if !is_verified_pod {
            // Its label is read apart. Those further left say nothing.
            *found = NameRecord::zeroed();
            return Ok(Found::Record(Place::Pod, DetailsAt::NONE));
        }
    }
    if !is_pod && owner.exists && owner.record.flags.contains(NameFlags::NO_SERVICE) {
        return Ok(Found::NonTerminal);
    }
    // The details of an endpoint are its Service's.
    let is_endpoint_srv = is_endpoint && question.qtype == qtype::SRV;
    if !is_pod && owner.exists && !is_endpoint_srv {
        let place = if is_port {
            Place::Port
        } else if is_endpoint {
            Place::Endpoint
        } else {
            Place::Service
        };
        let details = DetailsAt::own(&owner.record);
        *found = owner.record;
        return Ok(Found::Record(place, details));
    }
    if !is_endpoint && !is_pod {
        return Ok(Found::Missing);
    }
    // A pod is stored under its labels, `pod` and the first label of the zone: four
    // labels, which no other name has.
    let pod_end = question.zone as usize + 1 + (config.zone[0] & 0x3f) as usize;
    let end = if is_pod { pod_end } else { kind_at };
    let service = record(image, name, service_at, end, key, seed, lookup)?;
    if is_pod {
        return Ok(if service.exists {
            *found = service.record;
            Found::Record(Place::VerifiedPod, DetailsAt::NONE)
        } else {
            Found::Missing
        });
    }
    if owner.exists {
        // None where the Service is gone by now.
        let details = DetailsAt::endpoints(&service.record);
        *found = owner.record;
        return Ok(Found::Record(Place::Endpoint, details));
    }
    let unknown = service.record.flags.contains(NameFlags::ENDPOINTS_UNKNOWN);
    if service.exists && unknown {
        // It may have this endpoint.
        Err(PassReason::Userspace)
    } else {
        Ok(Found::Missing)
    }
}

/// Whether the name's first label is `dns-version`.
#[inline(always)]
fn is_dns_version(image: &Image, name: usize) -> bool {
    fold(image.u64_at(name)) == DNS_VERSION.0
        && fold(u64::from(image.u32_at(name + 8))) as u32 == DNS_VERSION.1
}

/// What was looked up: zeroes where there is nothing. No `Option`, whose value
/// the compiler may look at before it knows that there is one: such a register
/// was never written, and the verifier refuses the program.
#[derive(Clone, Copy)]
struct Looked {
    exists: bool,
    record: NameRecord,
}

impl Looked {
    const NOTHING: Self = Self {
        exists: false,
        record: NameRecord::NOTHING,
    };
}

/// The record of the first `len` bytes of the name at `name`; zeroes where there is
/// none. Names of class [`KeyClass::Long`] are left to userspace: for them there would
/// have to be one more call, and the functions that call each other have 512 bytes of
/// stack together, which kernel 5.10 counts in steps of 32.
#[inline(always)]
pub(super) fn record_of<L: Lookup>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    seed: u64,
    lookup: &L,
) -> Result<NameRecord, PassReason> {
    let class = KeyClass::of_len(len);
    // What the compiler knows of it would make it leave out the mask by which the
    // verifier knows that the window is inside.
    let len = opaque::number(len);
    let (seal, words) = match class {
        KeyClass::Short => {
            let seal = build::<{ KeyClass::Short.words() }>(image, name, len, key, seed);
            (seal, lookup.name(KeyClass::Short, key, seal))
        }
        KeyClass::Medium => {
            let seal = build::<{ KeyClass::Medium.words() }>(image, name, len, key, seed);
            (seal, lookup.name(KeyClass::Medium, key, seal))
        }
        KeyClass::Long => return Err(PassReason::Userspace),
    };
    proven(seal, words).map(|looked| looked.record)
}

/// Looks up the labels between `from` and `to` of the name at `name`.
#[inline(always)]
fn record<L: Lookup>(
    image: &Image,
    name: usize,
    from: usize,
    to: usize,
    key: &mut KeyBytes,
    seed: u64,
    lookup: &L,
) -> Result<Looked, PassReason> {
    let len = to.wrapping_sub(from) & 0xff;
    let name = name + from;
    let (seal, words) = match KeyClass::of_len(len) {
        KeyClass::Short => {
            let seal = build::<{ KeyClass::Short.words() }>(image, name, len, key, seed);
            (seal, lookup.name(KeyClass::Short, key, seal))
        }
        KeyClass::Medium => {
            let seal = build_long::<{ KeyClass::Medium.words() }>(image, name, len, key, seed);
            (seal, lookup.name(KeyClass::Medium, key, seal))
        }
        KeyClass::Long => {
            let seal = build_long::<{ KeyClass::Long.words() }>(image, name, len, key, seed);
            (seal, lookup.name(KeyClass::Long, key, seal))
        }
    };
    proven(seal, words)
}

/// What was looked up, if it is what the seal says.
#[inline(always)]
fn proven(seal: Seal, words: Option<RecordWords>) -> Result<Looked, PassReason> {
    let Some(words) = words else {
        return Ok(Looked::NOTHING);
    };
    let record: NameRecord = bytemuck::cast(words);
    if record.seal == NameRecord::seal_of(seal, words) {
        Ok(Looked {
            exists: true,
            record,
        })
    } else {
        Err(PassReason::Changed)
    }
}

/// Puts the `len` bytes at `name`, folded, into the first `WORDS` words of
/// `key`, with zeroes behind them, and begins the seal with these words.
#[inline(always)]
fn build<const WORDS: usize>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    seed: u64,
) -> Seal {
    let mut seal = Seal::new(seed);
    for i in 0..WORDS {
        let word = fold(image.u64_at(name + i * 8)) & WINDOW.first(len, i * 8);
        key.put_u64(i * 8, word);
        seal = seal.word(word);
    }
    seal
}

/// [`build`] for the rare long names, out of the way of the others.
#[inline(always)]
fn build_long<const WORDS: usize>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    seed: u64,
) -> Seal {
    Seal::resume(long_sum::<WORDS>(image, name, len, key, seed), WORDS)
}

/// A function of its own in the program, which can return one word.
#[inline(never)]
fn long_sum<const WORDS: usize>(
    image: &Image,
    name: usize,
    len: usize,
    key: &mut KeyBytes,
    seed: u64,
) -> u64 {
    build::<WORDS>(image, name, len, key, seed).sum()
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
        let seal = build::<31>(&image, 5, len, &mut key, 77);
        let built: [u64; 31] = core::array::from_fn(|i| key.u64_at(i * 8));
        assert_eq!(built, expected.words);
        let expected = expected
            .words
            .iter()
            .fold(Seal::new(77), |seal, word| seal.word(*word));
        assert_eq!(seal.finish(), expected.finish());
    }
}
