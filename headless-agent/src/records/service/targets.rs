//! Where SRV records lead, and what reverse names lead to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::endpoints::{Endpoints, endpoint_label};
use crate::watch::Port;

/// What is known of a Service beyond the addresses of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Its own ports, which lead to itself.
    pub own: Option<Targets>,
    /// The ports of its slices, which lead to its endpoints. Missing where slices
    /// differ in their ports, or an endpoint's name is not one label in lower
    /// case: this is left to userspace.
    pub endpoints: Option<Targets>,
}

/// Ports and what they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The ports, in the order of their numbers.
    pub ports: Box<[Port]>,
    /// The targets, each once.
    pub targets: Vec<Target>,
    /// As many as CoreDNS counts for the weight of SRV records: an address in two
    /// slices is two.
    pub candidates: usize,
}

/// A host with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The endpoint's label; `None` for the Service itself.
    pub label: Option<Box<str>>,
    /// Its addresses, each once: at least one.
    pub addresses: Vec<IpAddr>,
}

fn sorted(ports: &[Port]) -> Box<[Port]> {
    let mut ports: Box<[Port]> = ports.into();
    ports.sort_by(|a, b| {
        let key = |port: &'_ Port| (port.number, port.protocol.label());
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    ports
}

impl Targets {
    /// Of a Service with these addresses of its own.
    pub(super) fn own(ports: &[Port], addresses: &[IpAddr]) -> Self {
        let itself = (!addresses.is_empty()).then(|| Target {
            label: None,
            addresses: addresses.to_vec(),
        });
        Self {
            ports: sorted(ports),
            targets: itself.into_iter().collect(),
            candidates: addresses.len(),
        }
    }

    /// Of endpoints, if all have the same ports and names that are labels in
    /// lower case.
    pub(super) fn of(endpoints: &Endpoints) -> Option<Self> {
        let mut ports: Option<Box<[Port]>> = None;
        let mut found: Option<&[Port]> = None;
        let mut targets: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
        let mut candidates = 0;
        for (endpoint, of_slice) in endpoints.all() {
            // One slice's ports are one slice of memory.
            if found.is_none_or(|found| !std::ptr::eq(found, of_slice)) {
                let now = sorted(of_slice);
                if ports.get_or_insert_with(|| now.clone()) != &now {
                    return None;
                }
                found = Some(of_slice);
            }
            let label = endpoint_label(endpoint);
            if label
                .bytes()
                .any(|byte| byte == b'.' || byte.is_ascii_uppercase())
            {
                return None;
            }
            candidates += 1;
            let addresses = targets.entry(label).or_default();
            if !addresses.contains(&endpoint.address) {
                addresses.push(endpoint.address);
            }
        }
        let target = |(label, addresses): (std::borrow::Cow<'_, str>, _)| Target {
            label: Some(label.into()),
            addresses,
        };
        Some(Self {
            ports: ports?,
            targets: targets.into_iter().map(target).collect(),
            candidates,
        })
    }
}
