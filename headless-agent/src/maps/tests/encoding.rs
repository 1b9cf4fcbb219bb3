//! The digest of all bytes that the writer writes for a fixed cluster. It is a part of the
//! layout's version.

use headless_ebpf::abi::ENCODING;

use super::*;
use crate::records::{Counted, Pointers};
use crate::watch::{Port, Protocol};

/// A digest of bytes in 64 bits (FNV-1a, RFC 9923).
struct Digest(u64);

impl Digest {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn words(&mut self, words: &[u64]) {
        for word in words {
            self.take(&word.to_le_bytes());
        }
    }
}

/// Ports that all endpoints have.
fn ports(endpoints: usize) -> Vec<Counted> {
    let port = |(name, number, protocol): (&str, Option<u16>, _)| Counted {
        port: Some(Port {
            name: name.into(),
            number,
            protocol,
        }),
        endpoints,
    };
    let all = [
        ("any", None, Protocol::Sctp),
        ("dns", Some(53), Protocol::Udp),
        ("http", Some(80), Protocol::Tcp),
    ];
    let undeclared = Counted {
        port: None,
        endpoints,
    };
    [undeclared].into_iter().chain(all.map(port)).collect()
}

fn target(label: Option<&str>, addresses: &[&str]) -> Target {
    Target {
        label: label.map(Into::into),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: [0, 1, 3].into(),
    }
}

fn with(data: NameData, own: Option<TargetSet>, endpoints: Option<TargetSet>) -> NameData {
    let len = data.ipv4.len();
    let targets = |targets| Targets {
        ports: ports(len),
        targets,
        endpoints: len,
    };
    NameData {
        details: Some(Box::new(Details {
            own: own.map(targets),
            endpoints: endpoints.map(targets),
        })),
        ..data
    }
}

/// Names of every class, with all kinds of content that records and chunks can have.
fn changes() -> Vec<NameChange> {
    let flagged = |flags| NameData { flags, ..data(1) };
    let ipv6 = |count: u128| NameData {
        ipv6: (0..count).map(|i| ((0xfd << 120) + i).into()).collect(),
        ..data(3)
    };
    let own = TargetSet::Each(vec![target(None, &["10.96.0.1", "fd00::1"])]);
    let each = TargetSet::Each(vec![
        target(Some("web-0"), &["10.0.0.0"]),
        target(Some("10-0-0-1"), &["10.0.0.1"]),
        target(Some("pod.with.dots"), &["10.0.0.2", "fd00::2"]),
    ]);
    let service = NameFlags::CLUSTER_IP.with(NameFlags::ENDPOINTS_UNKNOWN);
    let long = "s".repeat(60);
    [
        ("default", flagged(NameFlags::NO_SERVICE)),
        (
            "10-1-0-1.default.pod.cluster",
            flagged(NameFlags::NO_SERVICE),
        ),
        ("ext.default", flagged(NameFlags::PASS)),
        (
            "api.default",
            with(flagged(service), Some(own), Some(each.clone())),
        ),
        (
            "web.default",
            with(data(60), None, Some(TargetSet::Addresses)),
        ),
        ("dual.default", with(ipv6(9), None, Some(each))),
        ("small.default", ipv6(0)),
        ("10-0-0-0.web.default", data(1)),
        ("web-0.web.default", data(1)),
        ("twice.web.default", flagged(NameFlags::REPEATED)),
        (&format!("{long}.default"), data(1)),
        (&format!("{long}.{long}"), data(2)),
        (&format!("10-0-0-0.{long}.default"), data(1)),
        (&format!("web-0.{long}.default"), data(1)),
        (&format!("{long}.{long}.default"), data(40)),
        (&format!("web-0.{long}.{long}"), data(1)),
    ]
    .into_iter()
    .map(|(text, data)| change(text, Some(data)))
    .collect()
}

/// The digest of all maps except the maps that change with time.
fn digest(sink: &MemorySink) -> u64 {
    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    for (name, words) in sink.arrays().all_words() {
        digest.take(name.as_bytes());
        digest.words(&words);
    }
    for class in KeyClass::ALL {
        let mut records = Vec::new();
        let mut visit = |key, record| records.push((key, record));
        sink.for_each(class, &mut visit).unwrap();
        records.sort_unstable_by_key(|(key, _)| *key);
        assert!(!records.is_empty(), "{class:?}");
        for (key, record) in records {
            digest.words(key.words());
            digest.take(bytemuck::bytes_of(&record));
        }
    }
    for at in 0..headless_ebpf::abi::SERVED_SLOTS as u32 {
        digest.take(bytemuck::bytes_of(&sink.served_slot(at).unwrap()));
    }
    digest.take(bytemuck::bytes_of(&RecordSink::config(sink).unwrap()));
    digest.take(bytemuck::bytes_of(&sink.state));
    digest.0
}

/// A change of the hash or of the encoding changes the layout's version.
#[test]
fn the_layouts_version_covers_what_is_written() {
    let mut writer = super::with(Capacities {
        table_slots: 8,
        endpoint_buckets: 3,
        reverse_buckets: 5,
        ..CAPACITIES
    });
    writer.apply(&changes());
    let addresses = ["10.0.0.0", "10.96.0.1", "fd00::1"];
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let pointers = Pointers {
        services: [
            (1, Some(name("web.default"))),
            (2, Some(name("api.default"))),
        ]
        .into(),
        addresses: addresses
            .into_iter()
            .zip([1, 2, 2])
            .map(|(text, service)| (address(text), Some(service)))
            .collect(),
    };
    writer.point(&pointers, &no_index());
    let served = addresses.map(|text| Address::from(address(text)));
    assert_eq!(writer.serve(&served).unwrap(), []);
    assert_eq!((writer.failed().len(), writer.crowded().len()), (0, 0));
    let long = "a.".repeat(60) + "b";
    let names = ["", "db.default.svc", &"a".repeat(60), &long].map(Box::<str>::from);
    writer.pass_names(&names.into()).unwrap();
    let found = digest(writer.sink());
    assert_eq!(
        found, ENCODING,
        "set ENCODING in headless-ebpf/src/abi/layout.rs to {found:#x}"
    );
}
