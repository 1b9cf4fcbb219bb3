//! Kinds of names: a Service's, an endpoint's, others.

use std::net::Ipv4Addr;

use headless_ebpf::abi::{EndpointEntry, NameFlags};

use super::key::dashed_ipv4;
use crate::records::NameData;
use crate::records::name::Labels;

/// The parts of an endpoint's name in wire form.
#[derive(Clone, Copy)]
pub(super) struct EndpointName<'a> {
    /// The whole name.
    pub(super) wire: &'a [u8],
    /// The endpoint's own label, without its length.
    label: &'a [u8],
    /// The Service's name.
    pub(super) service: &'a [u8],
}

impl<'a> EndpointName<'a> {
    /// `None` of a name that is not an endpoint's.
    pub(super) fn new(wire: &'a [u8]) -> Option<Self> {
        let mut labels = Labels::new(wire);
        let label = labels.next()?;
        let service = wire.get(1 + label.len()..)?;
        (labels.count() == 2).then_some(Self {
            wire,
            label,
            service,
        })
    }

    /// The address, where that follows from the label.
    pub(super) fn address(self) -> Option<Ipv4Addr> {
        dashed_ipv4(self.label)
    }

    /// The entry that says all of the endpoint, where its label follows from its only
    /// address.
    pub(super) fn entry(self, service: u32, data: &NameData) -> Option<EndpointEntry> {
        let NameData {
            flags,
            ipv4,
            ipv6,
            details: _,
        } = data;
        let [address] = ipv4.as_slice() else {
            return None;
        };
        let regular = *flags == NameFlags::empty()
            && ipv6.is_empty()
            && self.address() == Some(*address);
        regular.then(|| entry(service, *address))
    }
}

/// The entry of a regular endpoint.
pub(super) fn entry(service: u32, address: Ipv4Addr) -> EndpointEntry {
    EndpointEntry::new(service, u32::from_ne_bytes(address.octets()))
}

/// Whether a name is a Service's: of two labels.
pub(super) fn is_service(wire: &[u8]) -> bool {
    Labels::new(wire).count() == 2
}
