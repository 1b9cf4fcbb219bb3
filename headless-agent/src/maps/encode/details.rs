//! A Service's details in chunks, as [`headless_ebpf::abi::DetailsHeader`]'s
//! module lays them out.

use std::net::IpAddr;

use headless_ebpf::abi::{
    CHUNK_BYTES, DETAILS_HEADER_LEN, DetailsHeader, PORT_NAME_MAX, PORT_SCTP, PORT_TCP, PORT_UDP,
    TARGET_ADDRESSES_MAX,
};

use crate::records::{Target, Targets};
use crate::watch::{Port, Protocol};

/// The content of the chunks, for the Service whose relative name is `name`.
/// `None` where it does not fit, and is left to userspace.
pub(super) fn runs(name: &[u8], details: &Targets) -> Option<Vec<Vec<u8>>> {
    let mut ports = Vec::new();
    for port in &details.ports {
        ports.extend(self::port(port)?);
    }
    let mut run = vec![0; DETAILS_HEADER_LEN];
    run.extend(&ports);
    run.extend(name);
    if run.len() > CHUNK_BYTES {
        return None;
    }
    let mut runs = Vec::new();
    for target in &details.targets {
        let bytes = self::target(target)?;
        if run.len() + bytes.len() > CHUNK_BYTES {
            runs.push(std::mem::take(&mut run));
        }
        run.extend(bytes);
    }
    runs.push(run);
    let header = DetailsHeader {
        // More than a hundred all have the least weight.
        candidates: u16::try_from(details.candidates).unwrap_or(u16::MAX),
        targets: u16::try_from(details.targets.len()).ok()?,
        chunks: u16::try_from(runs.len()).ok()?,
        ports_len: u8::try_from(ports.len()).ok()?,
        name_len: u8::try_from(name.len()).ok()?,
    };
    runs.first_mut()?[..DETAILS_HEADER_LEN].copy_from_slice(&header.word().to_le_bytes());
    Some(runs)
}

fn port(port: &Port) -> Option<Vec<u8>> {
    let Port {
        name,
        number,
        protocol,
    } = port;
    let protocol = match protocol {
        Protocol::Tcp => PORT_TCP,
        Protocol::Udp => PORT_UDP,
        Protocol::Sctp => PORT_SCTP,
    };
    // Zero stands for none.
    if name.len() > PORT_NAME_MAX || *number == Some(0) {
        return None;
    }
    let mut bytes = vec![name.len() as u8, protocol];
    bytes.extend(number.unwrap_or(0).to_be_bytes());
    bytes.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
    Some(bytes)
}

fn target(target: &Target) -> Option<Vec<u8>> {
    let Target { label, addresses } = target;
    let label = label.as_deref().unwrap_or_default();
    let ipv4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    let ipv6 = addresses.len() - ipv4;
    if ipv4 > TARGET_ADDRESSES_MAX || ipv6 > TARGET_ADDRESSES_MAX || label.len() > 63 {
        return None;
    }
    let mut bytes = vec![(ipv4 | ipv6 << 4) as u8, label.len() as u8];
    bytes.extend(label.as_bytes());
    for address in addresses {
        if let IpAddr::V4(address) = address {
            bytes.extend(address.octets());
        }
    }
    for address in addresses {
        if let IpAddr::V6(address) = address {
            bytes.extend(address.octets());
        }
    }
    (bytes.len() <= CHUNK_BYTES).then_some(bytes)
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
        }
    }

    fn details(ports: &[Port], targets: &[Target]) -> Targets {
        Targets {
            ports: ports.into(),
            targets: targets.to_vec(),
            candidates: targets.len(),
        }
    }

    #[test]
    fn a_small_service_is_one_chunk() {
        let of = details(
            &[port("http", Some(80)), port("any", None)],
            &[target("web-0", &["10.0.0.1", "fd00::1"])],
        );
        let runs = runs(b"\x05nginx\x07default", &of).unwrap();
        let mut expected = vec![1, 0, 1, 0, 1, 0, 15, 14];
        expected.extend(b"\x04\x01\0\x50http");
        expected.extend(b"\x03\x01\0\0any");
        expected.extend(b"\x05nginx\x07default");
        expected.extend(b"\x11\x05web-0\x0a\0\0\x01\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
        assert_eq!(runs, [expected]);
    }

    #[test]
    fn no_target_is_in_two_chunks() {
        let label = "a".repeat(40);
        let all: Vec<_> = (0..7)
            .map(|i| target(&label, &[&format!("10.0.0.{i}")]))
            .collect();
        let runs = runs(b"\x05nginx\x07default", &details(&[], &all)).unwrap();
        // 22 bytes before them, 46 each.
        let lens: Vec<_> = runs.iter().map(Vec::len).collect();
        assert_eq!(lens, [22 + 46, 92, 92, 92]);
        assert_eq!(runs[0][..6], [7, 0, 7, 0, 4, 0]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let name = b"\x05nginx\x07default";
        let fits =
            |ports: &[Port], targets: &[Target]| runs(name, &details(ports, targets)).is_some();
        assert!(fits(&[port(&"a".repeat(15), Some(1))], &[]));
        assert!(!fits(&[port(&"a".repeat(16), Some(1))], &[]));
        assert!(!fits(&[port("a", Some(0))], &[]));
        assert!(!fits(&vec![port("fifteen-bytes-p", Some(1)); 5], &[]));
        let many = |count| {
            (0..count)
                .map(|i| format!("10.0.0.{i}"))
                .collect::<Vec<_>>()
        };
        let with = |count| {
            let many = many(count);
            target("a", &many.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert!(fits(&[], &[with(15)]));
        assert!(!fits(&[], &[with(16)]));
        assert!(!fits(&[], &[target(&"a".repeat(64), &["10.0.0.1"])]));
        assert!(runs(&[b'a'; 105], &details(&[], &[])).is_none());
    }
}
