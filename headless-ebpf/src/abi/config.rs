//! What the agent tells the programs: choices once, liveness every second.

use core::net::IpAddr;

use bytemuck::{Pod, Zeroable};

use crate::wire::{ETHERNET_LEN, IpVersion, Large, Room as _};

/// What the operator chose. Written before the programs are attached and then
/// left alone: a change is a new set of maps.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// The cluster's zone in folded wire form, root included, zero-padded, as
    /// little-endian words: `\7cluster\5local\0`.
    pub zone: [u64; 32],
    /// Which bits of a name's end are compared with [`Self::zone`]: all ones
    /// for each byte of the zone.
    pub zone_mask: [u64; 32],
    /// Seed of every [`super::Seal`].
    pub seal_seed: u64,
    /// Length of the zone in bytes, root included.
    pub zone_len: u32,
    /// TTL of records in seconds; also the SOA's minimum.
    pub ttl: u32,
    /// TTL of the SOA in negative answers, in seconds: CoreDNS has
    /// `min(ttl, 300)`.
    pub negative_ttl: u32,
    /// [`PodsMode`] as a number.
    pub pods: u32,
    /// Buckets of [`super::map::REVERSE`], a power of two; zero for none.
    pub reverse_buckets: u32,
    /// Buckets of [`super::map::TABLE_BUCKETS`], a power of two; zero for none.
    pub table_buckets: u32,
    /// Whether there are names in [`super::map::NAMES_SHORT`]: 1 or 0. Becomes 1 while
    /// the programs run.
    pub spilled: u32,
    unused: u32,
}

const _: () = assert!(size_of::<Config>() == 552);

impl Config {
    /// The configuration for a zone in presentation form (`cluster.local`, with
    /// or without the final dot); `None` where it is not a name.
    ///
    /// `ttl` in seconds; the TTL of negative answers follows from it.
    pub fn new(zone: &str, ttl: u32, pods: PodsMode, seal_seed: u64) -> Option<Self> {
        let zone = zone.strip_suffix('.').unwrap_or(zone);
        let (key, len) = super::NameKey::from_labels(zone.split('.').map(str::as_bytes))?;
        let mut config = Self::zeroed();
        config
            .zone
            .iter_mut()
            .zip(key.words)
            .for_each(|(to, from)| *to = from);
        // The byte after the last label is the root and already zero.
        let zone_len = len + 1;
        for (i, word) in config.zone_mask.iter_mut().enumerate() {
            *word = match zone_len.saturating_sub(i * 8) {
                bytes @ 0..8 => (1 << (8 * bytes)) - 1,
                _ => u64::MAX,
            };
        }
        config.seal_seed = seal_seed;
        config.zone_len = zone_len as u32;
        config.ttl = ttl;
        config.negative_ttl = ttl.min(NEGATIVE_TTL_MAX);
        config.pods = pods as u32;
        Some(config)
    }
}

/// CoreDNS gives the SOA of a negative answer no more (`backend_lookup.go`).
const NEGATIVE_TTL_MAX: u32 = 300;

/// CoreDNS's `pods` option: what `1-2-3-4.<namespace>.pod.<zone>` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum PodsMode {
    /// Nothing exists below `pod`.
    Disabled = 0,
    /// Any address in an existing namespace.
    #[default]
    Insecure = 1,
    /// Addresses of pods that exist in the namespace.
    Verified = 2,
}

/// What changes while the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// `CLOCK_MONOTONIC` in nanoseconds until which answers may be given; the
    /// agent moves it forward once a second.
    pub deadline_ns: u64,
    /// Serial of the SOA: unix time of the last change in seconds.
    pub serial: u32,
    /// Bits: [`Self::COMPLETE`], above it the generation, see
    /// [`Self::denies_since`].
    pub flags: u32,
}

const _: () = assert!(size_of::<State>() == 16);

impl State {
    /// The maps hold the whole cluster: every watch has synced and every write
    /// has succeeded. Without it a missing name proves nothing, and negative
    /// answers are withheld.
    pub const COMPLETE: u32 = 1;

    /// One generation: odd ones, with this bit set, are those in which the agent
    /// writes names.
    pub const GENERATION: u32 = 1 << 1;

    /// Whether a look-up that found nothing proves that there is nothing: neither
    /// was a name being written when `before` was read, nor has one been since.
    ///
    /// A look-up may miss a name that is there while it is replaced: the element
    /// that it stands at is given to another key, and what came before it in the
    /// bucket is not looked at again (`lookup_nulls_elem_raw` in kernel/bpf/hashtab.c).
    #[inline(always)]
    pub const fn denies_since(self, before: Self) -> bool {
        before.flags & Self::GENERATION == 0
            && self.flags & !Self::COMPLETE == before.flags & !Self::COMPLETE
    }

    /// The next generation.
    #[must_use]
    pub const fn next_generation(mut self) -> Self {
        self.flags = self.flags.wrapping_add(Self::GENERATION);
        self
    }
}

/// Key of the map of served addresses: IPv6, or IPv4 mapped into it
/// (RFC 4291, section 2.5.5.2), in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ServerAddress(pub [u32; 4]);

impl ServerAddress {
    /// From the four bytes of an IPv4 address as they stand in the packet,
    /// read as one word of the machine's own order.
    #[inline(always)]
    pub const fn from_ipv4_word(address: u32) -> Self {
        Self([0, 0, 0xffff_u32.to_be(), address])
    }
}

impl From<IpAddr> for ServerAddress {
    fn from(address: IpAddr) -> Self {
        let bytes = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self(bytemuck::cast(bytes))
    }
}

/// What the tc program must know of an interface, as it cannot ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Interface {
    /// Bytes of the DNS messages that an IPv4 packet has room for, as far as we make
    /// them.
    ipv4: u16,
    /// The same for IPv6.
    ipv6: u16,
    /// Bits: [`Self::PEER`].
    flags: u32,
}

const _: () = assert!(size_of::<Interface>() == 8);

impl Interface {
    /// One end of a veth pair whose other end is in another network namespace.
    const PEER: u32 = 1;

    /// An interface whose packets have at most `mtu` bytes from the IP header on.
    /// `peer`: whether it is one end of a veth pair whose other end is in another
    /// network namespace.
    pub fn new(mtu: u32, peer: bool) -> Self {
        let room = |version: IpVersion| {
            let headers = (version.headers_len() - ETHERNET_LEN) as u32;
            mtu.saturating_sub(headers).min(Large::MESSAGE_MAX as u32) as u16
        };
        Self {
            ipv4: room(IpVersion::V4),
            ipv6: room(IpVersion::V6),
            flags: if peer { Self::PEER } else { 0 },
        }
    }

    /// Most bytes of a DNS message.
    #[inline(always)]
    pub const fn room(self, version: IpVersion) -> usize {
        match version {
            IpVersion::V4 => self.ipv4 as usize,
            IpVersion::V6 => self.ipv6 as usize,
        }
    }

    /// Whether `bpf_redirect_peer` gets packets to the other end.
    #[inline(always)]
    pub const fn has_peer(self) -> bool {
        self.flags & Self::PEER != 0
    }
}

/// Most interfaces in [`super::map::INTERFACES`].
pub const INTERFACES_MAX: u32 = 4096;

/// Slots of [`super::map::SERVERS`].
pub const SERVER_SLOTS: usize = 512;

/// Slots in which an address can be, from its [`ServerAddress::slot`] on.
pub const SERVER_PROBES: usize = 8;

/// A slot of the table of served addresses.
///
/// An array of the programs' own hashing rather than a hash map: every query
/// pays for this, and the look-up of a hash map costs ten times as much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ServerSlot {
    /// The address.
    pub address: ServerAddress,
    /// Its number, counted from 1; 0 in an empty slot.
    pub number: u32,
}

const _: () = assert!(size_of::<ServerSlot>() == 20);

impl ServerAddress {
    /// The first slot in which the address can be.
    #[inline(always)]
    pub const fn slot(&self) -> usize {
        let [a, b, c, d] = self.0;
        let word = (a as u64 | (b as u64) << 32) ^ (c as u64 | (d as u64) << 32);
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize
    }

    /// The `probe`-th slot in which the address can be.
    #[inline(always)]
    pub const fn probe(&self, probe: usize) -> usize {
        (self.slot() + probe) % SERVER_SLOTS
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_folded_and_masked() {
        let config = Config::new("Cluster.LOCAL.", 600, PodsMode::Verified, 1).unwrap();
        assert_eq!(config.zone_len, 15);
        let zone: [u8; 256] = bytemuck::cast(config.zone);
        assert_eq!(&zone[..16], b"\x07cluster\x05local\0\0");
        let mask: [u8; 256] = bytemuck::cast(config.zone_mask);
        assert!(mask[..15].iter().all(|byte| *byte == 0xff));
        assert!(mask[15..].iter().all(|byte| *byte == 0));
        assert_eq!((config.ttl, config.negative_ttl), (600, 300));
    }

    #[test]
    fn what_is_not_a_name_is_no_zone() {
        for zone in [
            "",
            ".",
            "a..b",
            &"a.".repeat(130),
            core::str::from_utf8(&[b'a'; 64]).unwrap(),
        ] {
            assert!(
                Config::new(zone, 30, PodsMode::Insecure, 1).is_none(),
                "{zone}"
            );
        }
    }

    #[test]
    fn an_address_is_looked_for_where_it_is_put() {
        for host in 0..=u8::MAX {
            let address = ServerAddress::from(IpAddr::from([10, 96, 0, host]));
            let word = u32::from_ne_bytes([10, 96, 0, host]);
            assert_eq!(address, ServerAddress::from_ipv4_word(word));
            assert!((0..SERVER_PROBES).all(|probe| address.probe(probe) < SERVER_SLOTS));
        }
    }
}
