//! The configuration, which the agent writes when it makes the maps.

use bytemuck::{Pod, Zeroable};

use super::{
    digest::describe,
    hash::{HASH_WORDS, HashKey},
    key::{KeyClass, NameKey},
    passed::PassedNames,
};

/// The operator's choices, the hash key and the sizes of the tables.
///
/// The agent writes this value before it attaches the programs. Later only [`Self::name_maps`]
/// and [`Self::passed`] change.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// The zone in folded wire form with its root, padded with zeros, as little-endian words:
    /// `\7cluster\5local\0`.
    pub zone: [u64; 32],
    /// The mask for comparisons with [`Self::zone`]: ones for the zone's bytes, zeros behind.
    pub zone_mask: [u64; 32],
    /// The secret key of every [`super::KeyedHash`].
    pub hash_key: HashKey,
    /// Length of the zone in bytes, root included.
    pub zone_len: u32,
    /// [`Ttls::records`].
    pub ttl: u32,
    /// [`Ttls::denial`].
    pub negative_ttl: u32,
    /// [`PodsMode`] as a number.
    pub pods: u32,
    /// Number of buckets in [`super::map::TABLE_BUCKETS`].
    pub table_buckets: u32,
    /// Number of buckets in [`super::map::ENDPOINTS`].
    pub endpoint_buckets: u32,
    /// Number of buckets in [`super::map::REVERSE`]. 0 where reverse names are not stored.
    pub reverse_buckets: u32,
    /// The hash maps of names that are in use: a bit for each [`KeyClass`], see
    /// [`Self::has_names`]. The agent sets a bit before it writes the first name to the map, also
    /// while the programs run.
    pub name_maps: u32,
    /// [`Ttls::minimum`].
    pub soa_minimum: u32,
    /// [`Ttls::authority`].
    pub authority_ttl: u32,
    /// [`Ttls::version`].
    pub version_ttl: u32,
    /// The size to which a larger one in a client's OPT record is lowered, in bytes. CoreDNS's
    /// plugin `bufsize` does this.
    pub edns_max: u32,
    /// 1 where a question of any class is answered as one of class IN, else 0. CoreDNS does so
    /// where a server block has the plugin `forward` or `chaos` (`EnableChaos` in
    /// `core/dnsserver/server.go`).
    pub any_class: u32,
    /// Zero.
    pub spare: [u32; 3],
    /// Names whose questions pass. They count only with [`super::State::PASS_NAMES`].
    pub passed: PassedNames,
}

const _: () = assert!(size_of::<Config>() == 576 + 8 * HASH_WORDS + size_of::<PassedNames>());

describe!(Config {
    zone: [u64; 32],
    zone_mask: [u64; 32],
    hash_key: HashKey,
    zone_len: u32,
    ttl: u32,
    negative_ttl: u32,
    pods: u32,
    table_buckets: u32,
    endpoint_buckets: u32,
    reverse_buckets: u32,
    name_maps: u32,
    soa_minimum: u32,
    authority_ttl: u32,
    version_ttl: u32,
    edns_max: u32,
    any_class: u32,
    spare: [u32; 3],
    passed: PassedNames,
});

impl Config {
    /// The configuration for a zone in presentation form (`cluster.local`, with or without the
    /// final dot). `None` where the zone is not a valid name.
    ///
    /// `ttl` is in seconds, and no cache changes TTLs. Questions of other classes than IN pass.
    /// The sizes of the tables are zero.
    pub fn new(zone: &str, ttl: u32, pods: PodsMode, hash_key: &HashKey) -> Option<Self> {
        let zone = zone.strip_suffix('.').unwrap_or(zone);
        let (key, len) = NameKey::from_labels(zone.split('.').map(str::as_bytes))?;
        let mut config = Self::zeroed();
        config
            .zone
            .iter_mut()
            .zip(key.words)
            .for_each(|(to, from)| *to = from);
        // The byte behind the last label is zero already, which is the root.
        let zone_len = len + 1;
        for (i, word) in config.zone_mask.iter_mut().enumerate() {
            *word = match zone_len.saturating_sub(i * 8) {
                bytes @ 0..8 => (1 << (8 * bytes)) - 1,
                _ => u64::MAX,
            };
        }
        config.hash_key = *hash_key;
        config.zone_len = zone_len as u32;
        config.set_ttls(Ttls::of(ttl));
        config.edns_max = u16::MAX.into();
        config.pods = pods as u32;
        Some(config)
    }

    /// Sets the TTLs of all records.
    pub const fn set_ttls(&mut self, ttls: Ttls) {
        let Ttls {
            records,
            minimum,
            authority,
            denial,
            version,
        } = ttls;
        self.ttl = records;
        self.negative_ttl = denial;
        self.soa_minimum = minimum;
        self.authority_ttl = authority;
        self.version_ttl = version;
    }

    /// Whether the hash map for keys of this class is in use.
    #[inline(always)]
    pub const fn has_names(&self, class: KeyClass) -> bool {
        self.name_maps & 1 << class as u32 != 0
    }

    /// Marks the hash map for keys of this class as used.
    pub const fn add_names(&mut self, class: KeyClass) {
        self.name_maps |= 1 << class as u32;
    }
}

/// The TTLs of answers in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttls {
    /// Of A, AAAA, SRV and PTR records and what comes with them.
    pub records: u32,
    /// The minimum in the SOA record.
    pub minimum: u32,
    /// Of the SOA record where it was asked for.
    pub authority: u32,
    /// Of the SOA record in denials.
    pub denial: u32,
    /// Of the TXT record with the specification's version.
    pub version: u32,
}

impl Ttls {
    /// The TTLs of CoreDNS's `kubernetes` plugin with the option `ttl` (`backend_lookup.go`,
    /// `SOA`, and `kubernetes.go`, `Services`).
    pub const fn of(ttl: u32) -> Self {
        let authority = if ttl < SOA_TTL_MAX { ttl } else { SOA_TTL_MAX };
        Self {
            records: ttl,
            minimum: ttl,
            authority,
            denial: authority,
            version: VERSION_TTL,
        }
    }
}

/// Largest TTL of the SOA record in seconds.
const SOA_TTL_MAX: u32 = 300;

/// TTL of the version's TXT record in seconds.
const VERSION_TTL: u32 = 28_800;

/// CoreDNS's option `pods`: which names `1-2-3-4.<namespace>.pod.<zone>` exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum PodsMode {
    /// No name below `pod` exists.
    Disabled = 0,
    /// The names of all addresses exist, in every namespace that exists.
    #[default]
    Insecure = 1,
    /// The names of the addresses of pods exist, in the namespaces of the pods.
    Verified = 2,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    fn config(zone: &str) -> Option<Config> {
        Config::new(zone, 600, PodsMode::Verified, &HashKey::from_seed(1))
    }

    #[test]
    fn a_zone_is_folded_and_masked() {
        let config = config("Cluster.LOCAL.").unwrap();
        assert_eq!(config.zone_len, 15);
        let zone: [u8; 256] = bytemuck::cast(config.zone);
        assert_eq!(&zone[..16], b"\x07cluster\x05local\0\0");
        let mask: [u8; 256] = bytemuck::cast(config.zone_mask);
        assert!(mask[..15].iter().all(|byte| *byte == 0xff));
        assert!(mask[15..].iter().all(|byte| *byte == 0));
        assert_eq!((config.ttl, config.negative_ttl), (600, 300));
    }

    #[test]
    fn invalid_names_are_no_zones() {
        for zone in [
            "",
            ".",
            "a..b",
            &"a.".repeat(130),
            core::str::from_utf8(&[b'a'; 64]).unwrap(),
        ] {
            assert!(config(zone).is_none(), "{zone}");
        }
    }

    #[test]
    fn each_class_has_a_bit() {
        let mut config = config("cluster.local").unwrap();
        for class in KeyClass::ALL {
            assert!(!config.has_names(class));
            config.add_names(class);
            assert!(config.has_names(class));
        }
    }

    /// The agent logs its configuration at start.
    #[test]
    fn the_hash_key_is_not_shown() {
        let text = format!("{:?}", config("cluster.local").unwrap());
        assert!(text.contains("hash_key: HashKey(..)"), "{text}");
    }
}
