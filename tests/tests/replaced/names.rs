//! The names that are replaced, in all their versions.

use std::net::{IpAddr, Ipv4Addr};

use headless_agent::maps::capacity::Capacities;
use headless_agent::records::{
    Counted, Details, NameChange, NameData, RelativeName, Target, TargetSet, Targets,
};
use headless_agent::watch::{Port, Protocol};
use headless_ebpf::abi::NameFlags;
use headless_tests::maps;

/// Number of names. They swap their elements.
pub(crate) const NAMES: usize = 2;

/// Number of versions of a name. After the last one the first one comes again.
pub(crate) const VERSIONS: u32 = 8;

/// The map that holds the names.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// The hash map.
    Map,
    /// The table, with one free slot. A hint may lead a reader to a slot that has another
    /// name by now.
    Table,
    /// The table without a free slot. Records are overwritten in their slots.
    FullTable,
}

impl Place {
    /// The capacities of the maps. They are as small as possible, so that freed elements are
    /// soon used again.
    pub(crate) fn capacities(self) -> Capacities {
        let table_slots = match self {
            Self::Map => 1,
            Self::Table => NAMES as u32 + 1,
            Self::FullTable => NAMES as u32,
        };
        Capacities {
            table_slots,
            endpoint_buckets: 1,
            // Eight chunks for each name and for a set that is being written, and the chunk at
            // index 0, which is never used.
            chunks: 8 * (NAMES as u32 + 1) + 1,
            ..maps::CAPACITIES
        }
    }

    /// Other names, which fill the table.
    pub(crate) fn others(self) -> &'static [&'static str] {
        match self {
            Self::Map => &["first", "second"],
            Self::Table | Self::FullTable => &[],
        }
    }
}

/// How a version takes the place of the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The new record replaces the old one.
    Replace,
    /// The old record is deleted before the new one is written.
    DeleteFirst,
    /// As [`Self::Replace`], and the writer counts a generation around each change.
    Marked,
}

/// Makes the data of one version of a name. The data show name and version.
pub(crate) type Version = fn(name: u32, version: u32) -> NameData;

/// A name in all its versions.
pub(crate) struct Name {
    pub(crate) number: u32,
    pub(crate) relative: RelativeName,
    pub(crate) versions: Vec<NameData>,
}

impl Name {
    pub(crate) fn new(number: u32, version: Version) -> Self {
        Self {
            number,
            relative: RelativeName::from_labels([&*format!("s{number}"), "default"]).unwrap(),
            versions: (0..VERSIONS).map(|it| version(number, it)).collect(),
        }
    }

    /// The change to this version. `None` deletes the name.
    pub(crate) fn change(&self, version: Option<u32>) -> NameChange {
        NameChange {
            name: self.relative.clone(),
            data: version.map(|version| self.versions[version as usize].clone()),
        }
    }
}

/// An address that shows name and version.
fn address(name: u32, version: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + (name << 16) + (version << 8) + number)
}

fn addresses(name: u32, version: u32, count: u32) -> NameData {
    NameData {
        flags: NameFlags::empty(),
        ipv4: (0..count).map(|i| address(name, version, i)).collect(),
        ipv6: Vec::new(),
        details: None,
    }
}

/// As many addresses as a record holds.
pub(crate) fn few(name: u32, version: u32) -> NameData {
    addresses(name, version, 5)
}

/// As many addresses as a chunk holds.
pub(crate) fn many(name: u32, version: u32) -> NameData {
    addresses(name, version, 28)
}

/// Endpoints that follow from the addresses. The number of their port shows name and version.
pub(crate) fn implied(name: u32, version: u32) -> NameData {
    // Six addresses do not fit into the record, and fit into a reply of 512 bytes.
    let data = addresses(name, version, 6);
    let found = Targets {
        ports: vec![port(name, version, data.ipv4.len())],
        endpoints: data.ipv4.len(),
        targets: TargetSet::Addresses,
    };
    with_endpoints(data, found)
}

/// Endpoints with hostnames, in several chunks. The number of their port shows name and
/// version.
pub(crate) fn endpoints(name: u32, version: u32) -> NameData {
    let targets: Vec<_> = (0..6)
        .map(|number| Target {
            label: Some(format!("e{name}-{version}-{number}").into()),
            addresses: vec![IpAddr::from(address(name, version, number))],
            ports: [0].into(),
        })
        .collect();
    let found = Targets {
        ports: vec![port(name, version, targets.len())],
        endpoints: targets.len(),
        targets: TargetSet::Each(targets),
    };
    with_endpoints(few(name, version), found)
}

fn port(name: u32, version: u32, endpoints: usize) -> Counted {
    let port = Port {
        name: "http".into(),
        number: Some((1000 * (name + 1) + version) as u16),
        protocol: Protocol::Tcp,
    };
    Counted {
        port: Some(port),
        endpoints,
    }
}

fn with_endpoints(data: NameData, endpoints: Targets) -> NameData {
    NameData {
        details: Some(Box::new(Details {
            own: None,
            endpoints: Some(endpoints),
        })),
        ..data
    }
}
