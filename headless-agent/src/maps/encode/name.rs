//! Names by their number of labels: Services have two, endpoints three.

use std::net::Ipv4Addr;

use headless_ebpf::abi::{EndpointEntry, NameFlags};
use headless_ebpf::wire::dns::dashed_ipv4;

use crate::records::NameData;
use crate::records::name::WireLabels;

/// An endpoint's relative name in wire form, and its parts.
#[derive(Clone, Copy)]
pub(in crate::maps) struct EndpointName<'a> {
    /// The whole name.
    pub(in crate::maps) wire: &'a [u8],
    /// The endpoint's own label, without the length byte.
    label: &'a [u8],
    /// The Service's relative name.
    pub(in crate::maps) service: &'a [u8],
}

impl<'a> EndpointName<'a> {
    /// Splits a relative name. `None` unless the name has three labels.
    pub(in crate::maps) fn new(wire: &'a [u8]) -> Option<Self> {
        let mut labels = WireLabels::new(wire);
        let label = labels.next()?;
        let service = wire.get(1 + label.len()..)?;
        (labels.count() == 2).then_some(Self {
            wire,
            label,
            service,
        })
    }

    /// The address of which the label is the dashed form.
    pub(in crate::maps) fn address(self) -> Option<Ipv4Addr> {
        dashed_ipv4(self.label).map(Ipv4Addr::from)
    }

    /// The entry of the endpoint in `ENDPOINTS`, if the endpoint is regular: its label is
    /// the dashed form of its only address, an IPv4 address, and the record would have no
    /// flags.
    pub(in crate::maps) fn entry(self, service: u32, data: &NameData) -> Option<EndpointEntry> {
        let NameData {
            flags,
            ipv4,
            ipv6,
            details: _,
        } = data;
        let [address] = ipv4.as_slice() else {
            return None;
        };
        let regular =
            *flags == NameFlags::empty() && ipv6.is_empty() && self.address() == Some(*address);
        regular.then(|| endpoint_entry(service, *address))
    }
}

/// The entry of a regular endpoint in `ENDPOINTS`.
pub(in crate::maps) fn endpoint_entry(service: u32, address: Ipv4Addr) -> EndpointEntry {
    EndpointEntry::new(service, u32::from_ne_bytes(address.octets()))
}

/// The label of the namespace to which a relative name belongs: a namespace's own name, the
/// name of a Service or an endpoint, or the name of a pod.
pub(in crate::maps) fn namespace_of(wire: &[u8]) -> Option<&[u8]> {
    let mut labels = WireLabels::new(wire);
    match labels.clone().count() {
        1 => labels.next(),
        // A pod's name has `pod` and the zone's first label behind the namespace.
        2 | 4 => labels.nth(1),
        3 => labels.nth(2),
        _ => None,
    }
}

/// Whether a relative name is a Service's name, which has two labels.
pub(in crate::maps) fn is_service(wire: &[u8]) -> bool {
    WireLabels::new(wire).count() == 2
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn data(address: [u8; 4]) -> NameData {
        NameData {
            flags: NameFlags::empty(),
            ipv4: vec![address.into()],
            ipv6: Vec::new(),
            details: None,
        }
    }

    fn wire(label: &str) -> Vec<u8> {
        let label = [&[label.len() as u8], label.as_bytes()].concat();
        [&label[..], b"\x03web\x07default"].concat()
    }

    #[test]
    fn a_regular_endpoint_follows_from_its_address() {
        let wire = wire("10-0-0-255");
        let name = EndpointName::new(&wire).unwrap();
        assert_eq!(name.service, b"\x03web\x07default");
        let entry = |data: &NameData| name.entry(7, data);
        let found = entry(&data([10, 0, 0, 255])).unwrap();
        assert_eq!(found.service(), 7);
        assert_eq!(found.address().to_ne_bytes(), [10, 0, 0, 255]);
        assert_eq!(entry(&data([10, 0, 0, 1])), None, "another address");
        let mut two = data([10, 0, 0, 255]);
        two.ipv4.push([10, 0, 0, 1].into());
        assert_eq!(entry(&two), None);
        let flagged = NameData {
            flags: NameFlags::REPEATED,
            ..data([10, 0, 0, 255])
        };
        assert_eq!(entry(&flagged), None);
    }

    /// The programs make the label of a regular endpoint from its address, in one spelling.
    #[test]
    fn other_spellings_are_not_regular() {
        for label in [
            "10-0-00-1",
            "010-0-0-1",
            "10-0--1",
            "10-0-0-",
            "-10-0-0-1",
            "10-0-0-1a",
            "10-0-0-1-",
        ] {
            let wire = wire(label);
            let name = EndpointName::new(&wire).unwrap();
            assert_eq!(name.address(), None, "{label}");
        }
    }

    #[test]
    fn names_of_other_depths_are_no_endpoints() {
        assert!(EndpointName::new(b"\x03web\x07default").is_none());
        assert!(EndpointName::new(b"\x01a\x01b\x01c\x01d").is_none());
        assert!(is_service(b"\x03web\x07default") && !is_service(b"\x07default"));
    }

    #[test]
    fn every_name_belongs_to_a_namespace() {
        let names: [&[u8]; 4] = [
            b"\x07default",
            b"\x03web\x07default",
            b"\x01a\x03web\x07default",
            b"\x071-2-3-4\x07default\x03pod\x07cluster",
        ];
        for name in names {
            assert_eq!(namespace_of(name), Some(&b"default"[..]));
        }
        assert_eq!(namespace_of(b""), None);
        assert_eq!(namespace_of(b"\x01a\x01b\x01c\x01d\x01e"), None);
    }
}
