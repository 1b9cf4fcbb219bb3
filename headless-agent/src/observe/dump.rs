//! Names as the index has them and as the kernel has them, side by side.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use headless_ebpf::abi::{Config, NameFlags};
use serde::{Deserialize, Serialize};

use super::Sources;
use crate::maps::read::{self, Addresses, Stored};
use crate::maps::writer::show;
use crate::maps::{MapKey, MapKind};
use crate::records::{NameData, Walk};

/// Names that are taken from the index under one lock.
const NAMES_AT_ONCE: usize = 1024;

/// A name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Name {
    /// The name, up to and without `svc.<zone>`.
    pub name: String,
    /// The map that holds the name; `None` where no map does.
    pub map: Option<String>,
    /// The name's data in the index; `None` where the index does not have the name.
    pub index: Option<Data>,
    /// The name's data in the maps; `None` where the maps do not have the name.
    pub kernel: Option<Data>,
    /// Whether the maps have the data that the writer would write now.
    pub current: bool,
}

/// The data of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// `pass`, `cluster_ip`, `endpoints_unknown`, `namespace`, `pod`.
    pub flags: Vec<String>,
    /// IPv4 addresses, in ascending order.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses, in ascending order.
    pub ipv6: Vec<Ipv6Addr>,
    /// The damage of a record in the maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

impl Data {
    fn new(flags: NameFlags, mut ipv4: Vec<Ipv4Addr>, mut ipv6: Vec<Ipv6Addr>) -> Self {
        ipv4.sort_unstable();
        ipv6.sort_unstable();
        let no_service = if ipv4.is_empty() && ipv6.is_empty() {
            "namespace"
        } else {
            "pod"
        };
        let labels = [
            (NameFlags::PASS, "pass"),
            (NameFlags::CLUSTER_IP, "cluster_ip"),
            (NameFlags::ENDPOINTS_UNKNOWN, "endpoints_unknown"),
            (NameFlags::NO_SERVICE, no_service),
        ];
        let set = labels.iter().filter(|(flag, _)| flags.contains(*flag));
        Self {
            flags: set.map(|(_, label)| String::from(*label)).collect(),
            ipv4,
            ipv6,
            damage: None,
        }
    }

    fn of_index(data: &NameData) -> Self {
        Self::new(data.flags, data.ipv4.clone(), data.ipv6.clone())
    }
}

/// A name without what all names end in: `svc` and the zone, and of a pod, which is
/// stored under the zone's first label as well, what follows that.
fn relative<'a>(name: &'a str, zone: &str) -> &'a str {
    let below = |kind: &str| {
        let above = name.strip_suffix(zone)?.strip_suffix('.')?;
        above.strip_suffix(kind)?.strip_suffix('.')
    };
    if let Some(service) = below("svc") {
        return service;
    }
    let rest = zone.split_once('.').map_or(0, |(_, rest)| 1 + rest.len());
    if below("pod").is_some() {
        return &name[..name.len() - rest];
    }
    name
}

impl Sources {
    /// Gives `show` every name, one after the other, until `show` returns false: first the names
    /// of the index, then the names that only the kernel has. No list of all names is made: only
    /// the kernel's Services are remembered, with the numbers under which their endpoints stand.
    ///
    /// # Errors
    /// While the programs are being loaded, and where the kernel does not let the maps be read.
    pub fn dump(&self, show: &mut dyn FnMut(Name) -> bool) -> anyhow::Result<()> {
        let kernel = self.kernel()?;
        let mut walk = Walk::default();
        loop {
            // A lock for each step: the loop must not wait for the whole walk.
            let names = walk.next(&self.signs.mirror.index(), NAMES_AT_ONCE);
            let Some(names) = names else { break };
            for name in names {
                let name = self.look_up(name.as_bytes())?;
                if !name.is_none_or(&mut *show) {
                    return Ok(());
                }
            }
        }
        let mut failed = None;
        read::for_each_name(&kernel.maps, &mut |wire| {
            if self.signs.mirror.index().detailed(wire).is_some() {
                return true;
            }
            match self.look_up(wire) {
                Ok(name) => name.is_none_or(&mut *show),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })
        .context("cannot list the kernel's names")?;
        failed.map_or(Ok(()), Err)
    }

    /// The name whose presentation form, with or without `svc.<zone>` and the final dot, is
    /// `name`. `None` where neither the index nor the kernel has it.
    ///
    /// # Errors
    /// As [`Self::dump`], and where `name` is not a domain name.
    pub fn dump_one(&self, name: &str) -> anyhow::Result<Option<Name>> {
        self.look_up(&self.parse(name)?)
    }

    /// The wire form of a name given in presentation form.
    fn parse(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let Config { zone, zone_len, .. } = self.signs.mirror.config();
        let zone: Vec<u8> = zone.iter().flat_map(|word| word.to_le_bytes()).collect();
        let zone = zone.get(..*zone_len as usize).unwrap_or_default();
        let zone = show(zone.strip_suffix(b"\0").unwrap_or(zone));
        let relative = relative(&name, &zone);
        let labels = relative.split('.').map(str::as_bytes);
        let wire: Vec<u8> = labels
            .flat_map(|label| std::iter::once(label.len() as u8).chain(label.iter().copied()))
            .collect();
        MapKey::of_name(&wire)
            .map(|key| key.wire())
            .with_context(|| format!("`{name}` is not a domain name"))
    }

    fn look_up(&self, wire: &[u8]) -> anyhow::Result<Option<Name>> {
        let stored = read::stored(&self.kernel()?.maps, wire).context("cannot read a name")?;
        let data = self.signs.mirror.index().detailed(wire);
        if stored.is_none() && data.is_none() {
            return Ok(None);
        }
        let current = match &data {
            Some(data) => read::is_current(&self.kernel()?.maps, wire, data),
            None => Ok(false),
        };
        let map = match &stored {
            Some(Stored::Endpoint(_)) => Some(MapKind::Endpoints),
            Some(Stored::Record(key, _)) => {
                read::map_of(&self.kernel()?.maps, key).context("cannot read a name")?
            }
            None => None,
        };
        let kernel = stored.map(|stored| self.read(&stored)).transpose()?;
        Ok(Some(Name {
            name: show(wire),
            map: map.map(|map| map.label().into()),
            index: data.as_ref().map(Data::of_index),
            kernel,
            current: current.context("cannot read a name")?,
        }))
    }

    fn read(&self, stored: &Stored) -> anyhow::Result<Data> {
        Ok(match stored {
            Stored::Endpoint(address) => Data::new(NameFlags::empty(), vec![*address], Vec::new()),
            Stored::Record(key, record) => {
                let found = read::addresses(&self.kernel()?.maps, key, record);
                let Addresses { ipv4, ipv6, damage } = found.context("cannot read addresses")?;
                Data {
                    damage,
                    ..Data::new(record.flags, ipv4, ipv6)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn names_are_given_with_or_without_their_ends() {
        for (name, expected) in [
            (
                "web-0.nginx.default.svc.cluster.local",
                "web-0.nginx.default",
            ),
            ("web-0.nginx.default", "web-0.nginx.default"),
            ("default.svc.cluster.local", "default"),
            (
                "10-0-0-1.default.pod.cluster.local",
                "10-0-0-1.default.pod.cluster",
            ),
            (
                "10-0-0-1.default.pod.cluster",
                "10-0-0-1.default.pod.cluster",
            ),
            ("svc.cluster.local", "svc.cluster.local"),
        ] {
            assert_eq!(relative(name, "cluster.local"), expected);
        }
        assert_eq!(
            relative("1-2-3-4.default.pod.k8s", "k8s"),
            "1-2-3-4.default.pod.k8s"
        );
    }
}
