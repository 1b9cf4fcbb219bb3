//! The details of a Service, that is its ports and SRV targets, as bytes of chunks. The
//! layout stands at [`headless_ebpf::abi::DetailsHeader`].

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use headless_ebpf::abi::{
    CHUNK_BYTES, DETAILS_HEADER_LEN, DetailsHeader, PORT_NAME_MAX, PORT_SCTP, PORT_TCP, PORT_UDP,
    PORT_UNDECLARED, PORTS_MAX, TARGET_ADDRESSES_MAX, TARGET_CONTINUES, TARGET_HEADER_LEN,
    TARGET_LABELS,
};
use headless_ebpf::wire::dns::dashed_ipv4;

use crate::records::{Counted, Target, TargetSet, Targets};
use crate::watch::{Port, Protocol};

/// The content of the chunks, at most [`CHUNK_BYTES`] bytes each.
///
/// `None` if the layout cannot express the details: more than 16 ports, a port name of more
/// than 15 bytes, ports that do not fit into one chunk, or targets with the same label that
/// the program could not tell apart. Userspace answers SRV queries for the name then.
pub(super) fn runs(details: &Targets) -> Option<Vec<Vec<u8>>> {
    if details.ports.len() > PORTS_MAX {
        return None;
    }
    let mut ports = Vec::new();
    for port in &details.ports {
        ports.extend(self::port(port)?);
    }
    if DETAILS_HEADER_LEN + ports.len() > CHUNK_BYTES {
        return None;
    }
    let mut runs = Runs(Vec::new());
    runs.room(CHUNK_BYTES).resize(DETAILS_HEADER_LEN, 0);
    runs.room(ports.len()).extend(&ports);
    let (targets, flags) = match &details.targets {
        TargetSet::Addresses => (details.endpoints, DetailsHeader::IMPLICIT),
        TargetSet::Each(targets) => {
            let is_several = targets.iter().any(|target| target.addresses.len() > 1);
            let flags = if is_several {
                DetailsHeader::SEVERAL
            } else {
                0
            };
            (put_targets(targets, &details.ports, &mut runs)?, flags)
        }
    };
    let Runs(mut runs) = runs;
    let header = DetailsHeader {
        endpoints: count(details.endpoints),
        targets: u16::try_from(targets).ok()?,
        chunks: u16::try_from(runs.len()).ok()?,
        ports_len: u8::try_from(ports.len()).ok()?,
        flags,
    };
    runs.first_mut()?[..DETAILS_HEADER_LEN].copy_from_slice(&header.word().to_le_bytes());
    Some(runs)
}

/// The content of chunks.
struct Runs(Vec<Vec<u8>>);

impl Runs {
    /// The last chunk if it has room for `len` bytes, else a new chunk.
    fn room(&mut self, len: usize) -> &mut Vec<u8> {
        let has_room = |run: &Vec<u8>| run.len() + len <= CHUNK_BYTES;
        if !self.0.last().is_some_and(has_room) {
            self.0.push(Vec::with_capacity(CHUNK_BYTES));
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

/// Appends targets. Returns the number of written targets, which counts each part of a
/// target.
///
/// `None` as for [`runs`].
fn put_targets(targets: &[Target], ports: &[Counted], runs: &mut Runs) -> Option<usize> {
    let mut written = 0;
    for group in targets.chunk_by(|a, b| a.label == b.label) {
        if group.len() > 1 && !numbers_once(ports) {
            return None;
        }
        let mut continues = false;
        for target in group {
            written += put_target(target, &mut continues, runs)?;
        }
    }
    Some(written)
}

/// Whether no two ports have the same number, so that the records of targets with the same
/// label differ in their ports. `ports` is in the order of the numbers.
fn numbers_once(ports: &[Counted]) -> bool {
    let numbers = ports
        .iter()
        .filter_map(|counted| counted.port.as_ref()?.number);
    let mut numbers: Vec<u16> = numbers.collect();
    let len = numbers.len();
    numbers.dedup();
    numbers.len() == len
}

/// A number of endpoints as the layout holds it. The value 65,535 stands for all larger
/// numbers, because from 100 endpoints on the weight of each SRV record is 1.
fn count(endpoints: usize) -> u16 {
    u16::try_from(endpoints).unwrap_or(u16::MAX)
}

/// The bytes of one port. `None` as for [`runs`].
fn port(counted: &Counted) -> Option<Vec<u8>> {
    let (name, protocol, number) = match &counted.port {
        None => ("", PORT_UNDECLARED, None),
        Some(Port {
            name,
            number,
            protocol,
        }) => {
            let protocol = match protocol {
                Protocol::Tcp => PORT_TCP,
                Protocol::Udp => PORT_UDP,
                Protocol::Sctp => PORT_SCTP,
            };
            (&**name, protocol, *number)
        }
    };
    // The layout has number 0 for a port without a number.
    if name.len() > PORT_NAME_MAX || number == Some(0) {
        return None;
    }
    let mut bytes = vec![name.len() as u8, protocol];
    bytes.extend(number.unwrap_or(0).to_be_bytes());
    bytes.extend(count(counted.endpoints).to_le_bytes());
    bytes.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
    Some(bytes)
}

/// Appends a target, in several parts if it has too many addresses for one. Returns the number
/// of parts.
///
/// A part that continues the target before it has the same label. The first part does so if
/// `continues` is set, all others always do. `None` as for [`runs`].
fn put_target(target: &Target, continues: &mut bool, runs: &mut Runs) -> Option<usize> {
    let Target {
        label,
        addresses,
        ports,
    } = target;
    let label = label.as_deref().unwrap_or_default();
    let is_dashed =
        matches!(addresses.as_slice(), [IpAddr::V4(address)] if is_dashed(label, *address));
    let is_wire = is_dashed || label.contains('.');
    let label: Cow<'_, [u8]> = if is_dashed {
        Cow::default()
    } else if is_wire {
        wire(label)?.into()
    } else {
        label.as_bytes().into()
    };
    if label.len() > 63 {
        return None;
    }
    let bits = ports.iter().fold(0_u16, |bits, port| bits | 1 << port);
    let mut put = |ipv4: &[[u8; 4]], ipv6: &[[u8; 16]]| {
        let (ipv4_bytes, ipv6_bytes) = (ipv4.as_flattened(), ipv6.as_flattened());
        let addresses = ipv4_bytes.len() + ipv6_bytes.len();
        let run = runs.room(TARGET_HEADER_LEN + label.len() + addresses);
        let continues = std::mem::replace(continues, true);
        let continues = if continues { TARGET_CONTINUES } else { 0 };
        let labels = if is_wire { TARGET_LABELS } else { 0 };
        run.extend(bits.to_le_bytes());
        run.push((ipv4.len() | ipv6.len() << 4) as u8);
        run.push(label.len() as u8 | continues | labels);
        run.extend_from_slice(&label);
        run.extend_from_slice(ipv4_bytes);
        run.extend_from_slice(ipv6_bytes);
    };
    // The usual target has one address, and needs no lists.
    if let [IpAddr::V4(address)] = addresses.as_slice() {
        put(&[address.octets()], &[]);
        return Some(1);
    }
    let (ipv4, ipv6) = by_family(addresses);
    let room = CHUNK_BYTES - TARGET_HEADER_LEN - label.len();
    if ipv4.len().max(ipv6.len()) <= TARGET_ADDRESSES_MAX
        && ipv4.len() * 4 + ipv6.len() * 16 <= room
    {
        put(&ipv4, &ipv6);
        return Some(1);
    }
    let ipv4 = ipv4.chunks((room / 4).min(TARGET_ADDRESSES_MAX));
    let ipv6 = ipv6.chunks((room / 16).min(TARGET_ADDRESSES_MAX));
    let parts = ipv4.len() + ipv6.len();
    ipv4.for_each(|some| put(some, &[]));
    ipv6.for_each(|some| put(&[], some));
    Some(parts)
}

/// The addresses of each family, in network byte order.
fn by_family(addresses: &[IpAddr]) -> (Vec<[u8; 4]>, Vec<[u8; 16]>) {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => ipv4.push(address.octets()),
            IpAddr::V6(address) => ipv6.push(address.octets()),
        }
    }
    (ipv4, ipv6)
}

/// Whether a label is the dashed form of the address. The layout leaves out such a label,
/// because the programs can make it from the address.
fn is_dashed(label: &str, address: Ipv4Addr) -> bool {
    dashed_ipv4(label.as_bytes()) == Some(address.octets())
}

/// The wire form of labels with dots between them. `None` if a label is empty or longer than
/// 63 bytes.
fn wire(labels: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in labels.split('.') {
        let len = u8::try_from(label.len()).ok()?;
        if !(1..64).contains(&len) {
            return None;
        }
        bytes.push(len);
        bytes.extend(label.as_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn port(name: &str, number: Option<u16>) -> Port {
        Port {
            name: name.into(),
            number,
            protocol: Protocol::Tcp,
        }
    }

    fn target(label: &str, addresses: &[&str]) -> Target {
        Target {
            label: (!label.is_empty()).then(|| label.into()),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ports: [0, 1].into(),
        }
    }

    fn details(ports: &[Port], targets: &[Target]) -> Targets {
        let counted = |port: &Port| Counted {
            port: Some(port.clone()),
            endpoints: targets.len(),
        };
        Targets {
            ports: ports.iter().map(counted).collect(),
            targets: TargetSet::Each(targets.to_vec()),
            endpoints: targets.len(),
        }
    }

    #[test]
    fn a_small_service_is_one_chunk() {
        let mut of = details(
            &[port("any", None), port("http", Some(80))],
            &[target("web-0", &["10.0.0.1", "fd00::1"])],
        );
        of.ports.insert(
            0,
            Counted {
                port: None,
                endpoints: 0,
            },
        );
        let runs = runs(&of).unwrap();
        let mut expected = vec![1, 0, 1, 0, 1, 0, 25, DetailsHeader::SEVERAL];
        expected.extend(b"\0\0\0\0\0\0");
        expected.extend(b"\x03\x01\0\0\x01\0any");
        expected.extend(b"\x04\x01\0\x50\x01\0http");
        expected.extend(b"\x03\0\x11\x05web-0\x0a\0\0\x01\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
        assert_eq!(runs, [expected]);
    }

    #[test]
    fn targets_that_follow_from_the_addresses_are_not_stored() {
        let of = Targets {
            targets: TargetSet::Addresses,
            endpoints: 5000,
            ..details(&[port("http", Some(80))], &[])
        };
        let runs = runs(&of).unwrap();
        let mut expected = vec![0x88, 0x13, 0x88, 0x13, 1, 0, 10, DetailsHeader::IMPLICIT];
        expected.extend(b"\x04\x01\0\x50\0\0http");
        assert_eq!(runs, [expected]);
    }

    #[test]
    fn no_target_is_in_two_chunks() {
        let label = |i: u8| format!("{}{i}", "a".repeat(39));
        let all: Vec<_> = (0..7)
            .map(|i| target(&label(i), &[&format!("10.0.0.{i}")]))
            .collect();
        let runs = runs(&details(&[], &all)).unwrap();
        // 8 bytes of header, 48 bytes of each target.
        let lens: Vec<_> = runs.iter().map(Vec::len).collect();
        assert_eq!(lens, [8 + 96, 96, 96, 48]);
        assert_eq!(runs[0][..8], [7, 0, 7, 0, 4, 0, 0, 0]);
    }

    #[test]
    fn details_beyond_the_layout_are_left_to_userspace() {
        let fits = |ports: &[Port], targets: &[Target]| runs(&details(ports, targets)).is_some();
        assert!(fits(&[port(&"a".repeat(15), Some(1))], &[]));
        assert!(!fits(&[port(&"a".repeat(16), Some(1))], &[]));
        assert!(!fits(&[port("a", Some(0))], &[]));
        assert!(!fits(&vec![port("fifteen-bytes-p", Some(1)); 5], &[]));
        assert!(!fits(&vec![port("", Some(1)); 17], &[]));
        assert!(!fits(&[], &[target(&"a".repeat(64), &["10.0.0.1"])]));
    }

    #[test]
    fn many_addresses_are_in_parts() {
        let many: Vec<_> = (0..17).map(|i| format!("10.0.0.{i}")).collect();
        let mut many: Vec<_> = many.iter().map(String::as_str).collect();
        many.push("fd00::1");
        let found = runs(&details(&[], &[target("a", &many)])).unwrap();
        // Three parts under the same label: 15 and 2 IPv4 addresses, 1 IPv6 address.
        assert_eq!(
            found[0][..6],
            [1, 0, 3, 0, 1, 0],
            "one endpoint, three parts"
        );
        assert_eq!(found[0][8..13], *b"\x03\0\x0f\x01a");
        assert_eq!(found[0][73..78], *b"\x03\0\x02\x81a");
        assert_eq!(found[0][86..91], *b"\x03\0\x10\x81a");
    }

    #[test]
    fn a_label_with_dots_is_several_labels() {
        let found = runs(&details(&[], &[target("a.bc", &["10.0.0.1"])])).unwrap();
        assert_eq!(found[0][8..], *b"\x03\0\x01\x45\x01a\x02bc\x0a\0\0\x01");
        for label in ["a..b", ".a", "a.", &format!("a.{}", "b".repeat(64))] {
            let found = runs(&details(&[], &[target(label, &["10.0.0.1"])]));
            assert_eq!(found, None, "{label}");
        }
    }

    #[test]
    fn a_label_that_follows_from_the_address_is_not_stored() {
        let found = |label, addresses: &[&str]| {
            let run = &runs(&details(&[], &[target(label, addresses)])).unwrap()[0];
            run[8..].to_vec()
        };
        assert_eq!(
            found("10-0-0-1", &["10.0.0.1"]),
            *b"\x03\0\x01\x40\x0a\0\0\x01"
        );
        for (label, addresses) in [
            ("10-0-0-2", &["10.0.0.1"][..]),
            ("10-0-0-1", &["10.0.0.1", "10.0.0.2"]),
            ("fd00--1", &["fd00::1"]),
        ] {
            let len = label.len() as u8;
            assert_eq!(found(label, addresses)[3..][..9][0], len, "{label}");
        }
    }

    #[test]
    fn targets_with_one_label_and_different_ports_stay_together() {
        let other = Target {
            ports: [1].into(),
            ..target("web-0", &["10.0.0.2"])
        };
        let two = [target("web-0", &["10.0.0.1"]), other];
        let ports = [port("http", Some(80)), port("metrics", Some(9090))];
        let found = runs(&details(&ports, &two)).unwrap();
        let end = found[0].len();
        assert_eq!(
            found[0][end - 26..],
            *b"\x03\0\x01\x05web-0\x0a\0\0\x01\x02\0\x01\x85web-0\x0a\0\0\x02"
        );
        let same = [port("dns", Some(53)), port("dns-tcp", Some(53))];
        assert!(runs(&details(&same, &two)).is_none());
    }
}
