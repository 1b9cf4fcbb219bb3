//! The ready endpoints of a Service, merged from its slices.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use headless_ebpf::abi::NameFlags;

use super::super::types::NameData;
use crate::watch::objects::dashed_address;
use crate::watch::{Alias, Endpoint, EndpointSlice, Port};

/// Which endpoint of which slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    slice: u32,
    endpoint: u32,
}

/// The ready endpoints of a Service, merged from its slices. Never changed, only
/// replaced.
#[derive(Debug, Default)]
pub(in crate::records) struct Endpoints {
    /// In the order of their names.
    slices: Box<[Arc<EndpointSlice>]>,
    /// Every endpoint, in the order of its own name.
    by_name: Box<[Position]>,
    /// Every IPv4 address once, sorted.
    ipv4: Box<[Ipv4Addr]>,
    /// Every IPv6 address once, sorted.
    ipv6: Box<[Ipv6Addr]>,
    /// Whether some slice has domain names in place of addresses.
    aliased: bool,
    /// Whether some slice could not be read whole.
    partial: bool,
}

/// The label that an endpoint goes by (CoreDNS, `endpointHostname`). Has dots
/// where it is the name of a pod that has, and capitals where it is made of an
/// address that has.
pub(in crate::records) fn endpoint_label(endpoint: &Endpoint) -> Cow<'_, str> {
    endpoint.name.as_deref().map_or_else(
        || Cow::Owned(dashed_address(endpoint.address)),
        Cow::Borrowed,
    )
}

/// The label by which an endpoint is found: [`endpoint_label`] in lower case.
fn folded_label(endpoint: &Endpoint) -> Cow<'_, str> {
    let label = endpoint_label(endpoint);
    if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(label.to_ascii_lowercase())
    } else {
        label
    }
}

/// Sorts addresses into families, each sorted and without repetition.
pub(in crate::records) fn families(
    addresses: impl IntoIterator<Item = IpAddr>,
) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => ipv4.push(address),
            IpAddr::V6(address) => ipv6.push(address),
        }
    }
    ipv4.sort_unstable();
    ipv4.dedup();
    ipv6.sort_unstable();
    ipv6.dedup();
    (ipv4, ipv6)
}

impl Endpoints {
    /// The endpoints of these slices, given in the order of their names. Slices
    /// that are here already cost little more than a copy.
    pub(in crate::records) fn replaced(&self, slices: &[Arc<EndpointSlice>]) -> Self {
        let all = slices.iter().flat_map(|slice| slice.endpoints.iter());
        let (ipv4, ipv6) = families(all.map(|endpoint| endpoint.address));
        let mut replaced = Self {
            slices: slices.into(),
            by_name: Box::default(),
            ipv4: ipv4.into(),
            ipv6: ipv6.into(),
            aliased: slices.iter().any(|slice| !slice.aliases.is_empty()),
            partial: slices.iter().any(|slice| slice.partial),
        };
        let kept: Vec<Option<u32>> = self
            .slices
            .iter()
            .map(|slice| {
                let (number, now) = replaced.version_of(slice)?;
                Arc::ptr_eq(slice, now).then_some(number)
            })
            .collect();
        // Both are in the order of names, so what is kept stays sorted.
        let old: Vec<Position> = self
            .by_name
            .iter()
            .filter_map(|&Position { slice, endpoint }| {
                let slice = kept[slice as usize]?;
                Some(Position { slice, endpoint })
            })
            .collect();
        let mut is_new = vec![true; slices.len()];
        for number in kept.into_iter().flatten() {
            is_new[number as usize] = false;
        }
        let mut new: Vec<(Cow<'_, str>, Position)> = (0..)
            .zip(slices)
            .zip(is_new)
            .filter(|(_, is_new)| *is_new)
            .flat_map(|((slice, object), _)| {
                let position = move |endpoint| Position { slice, endpoint };
                let labels = object.endpoints.iter().map(folded_label);
                labels.zip((0..).map(position))
            })
            .collect();
        new.sort_unstable();
        let mut by_name = Vec::with_capacity(old.len() + new.len());
        let mut rest = &*old;
        for (label, position) in new {
            // Endpoints that share a name are in the order of their slices.
            let before = rest.partition_point(|at| {
                let at_label = replaced.label(*at);
                (&*at_label, *at) < (&*label, position)
            });
            by_name.extend_from_slice(&rest[..before]);
            by_name.push(position);
            rest = &rest[before..];
        }
        by_name.extend_from_slice(rest);
        replaced.by_name = by_name.into();
        replaced
    }

    /// The slice of the same name, and its number.
    fn version_of(&self, slice: &EndpointSlice) -> Option<(u32, &Arc<EndpointSlice>)> {
        let found = self.slices.binary_search_by(|at| at.name.cmp(&slice.name));
        let number = found.ok()?;
        Some((number as u32, &self.slices[number]))
    }

    /// The labels of endpoints that are not the same in `other`.
    pub(in crate::records) fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<Cow<'a, str>> {
        let mut labels = BTreeSet::new();
        for slice in &self.slices {
            let version = other.version_of(slice).map(|(_, version)| version);
            if version.is_some_and(|version| Arc::ptr_eq(version, slice)) {
                continue;
            }
            // One that is there twice counts twice: then all of them may differ.
            let same = version.and_then(|version| {
                let same = version.endpoints.iter().collect::<HashSet<_>>();
                (same.len() == version.endpoints.len()).then_some(same)
            });
            let same = same.unwrap_or_default();
            let differing = slice.endpoints.iter().filter(|at| !same.contains(at));
            labels.extend(differing.map(folded_label));
        }
        labels
    }

    fn get(&self, position: Position) -> (&EndpointSlice, &Endpoint) {
        let slice = &self.slices[position.slice as usize];
        (slice, &slice.endpoints[position.endpoint as usize])
    }

    fn label(&self, position: Position) -> Cow<'_, str> {
        folded_label(self.get(position).1)
    }

    /// What the name of a headless Service holds.
    pub(super) fn data(&self) -> NameData {
        NameData {
            flags: NameFlags::empty(),
            ipv4: self.ipv4.to_vec(),
            ipv6: self.ipv6.to_vec(),
            details: None,
        }
    }

    /// Whether both have the same endpoints in the same order with the same ports.
    pub(super) fn same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<EndpointSlice>, &Arc<EndpointSlice>)| {
            Arc::ptr_eq(a, b)
                || (a.endpoints == b.endpoints
                    && a.ports == b.ports
                    && a.aliases == b.aliases
                    && a.partial == b.partial)
        };
        self.slices.len() == other.slices.len() && self.slices.iter().zip(&other.slices).all(same)
    }

    /// Whether no endpoint is known to be ready.
    pub(in crate::records) fn is_empty(&self) -> bool {
        self.by_name.is_empty() && !self.aliased
    }

    /// Whether a slice could not be read whole, so that there may be more endpoints,
    /// or others.
    pub(in crate::records) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Whether everything about the endpoints is known and each has an address, so that
    /// the programs can answer for them, and deny.
    pub(in crate::records) fn all_have_addresses(&self) -> bool {
        !self.partial && !self.aliased
    }

    /// The domain names that endpoints have in place of addresses, each with the ports
    /// of its slice.
    pub(in crate::records) fn aliases(&self) -> impl Iterator<Item = (&Alias, &[Port])> {
        self.slices.iter().flat_map(|slice| {
            let ports = &*slice.ports;
            slice.aliases.iter().map(move |alias| (alias, ports))
        })
    }

    /// Whether one of them has this address.
    pub(in crate::records) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.binary_search(&address).is_ok(),
            IpAddr::V6(address) => self.ipv6.binary_search(&address).is_ok(),
        }
    }

    /// Every address once, IPv4 first, each family sorted.
    pub(in crate::records) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.iter().copied().map(IpAddr::V4);
        ipv4.chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }

    /// Every endpoint of every slice with the ports of its slice; an address in
    /// two slices comes twice.
    pub(in crate::records) fn all(&self) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        self.slices.iter().flat_map(|slice| {
            let ports = &*slice.ports;
            slice
                .endpoints
                .iter()
                .map(move |endpoint| (endpoint, ports))
        })
    }

    /// Every endpoint of every slice in the order of its folded name.
    pub(super) fn by_name(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_name.iter().map(|position| self.get(*position).1)
    }

    /// The endpoints that go by this label with the ports of their slices.
    pub(in crate::records) fn named(
        &self,
        label: &str,
    ) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        self.group(label).iter().map(|position| {
            let (slice, endpoint) = self.get(*position);
            (endpoint, &*slice.ports)
        })
    }

    fn group(&self, label: &str) -> &[Position] {
        let start = self
            .by_name
            .partition_point(|position| *self.label(*position) < *label);
        let rest = &self.by_name[start..];
        let len = rest.partition_point(|position| *self.label(*position) == *label);
        &rest[..len]
    }

    /// The labels in order, each with the endpoints that go by it.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let mut rest = &*self.by_name;
        // A label may have to be made: once is enough.
        let mut ahead = None;
        iter::from_fn(move || {
            let label = ahead.take().or_else(|| Some(self.label(*rest.first()?)))?;
            let mut len = 1;
            while let Some(position) = rest.get(len) {
                let next = self.label(*position);
                if next != label {
                    ahead = Some(next);
                    break;
                }
                len += 1;
            }
            let positions;
            (positions, rest) = rest.split_at(len);
            Some(Group {
                label,
                endpoints: self,
                positions,
            })
        })
    }

    /// The endpoints that go by this label, if any do.
    pub(super) fn find<'a>(&'a self, label: &'a str) -> Option<Group<'a>> {
        let positions = self.group(label);
        (!positions.is_empty()).then_some(Group {
            label: Cow::Borrowed(label),
            endpoints: self,
            positions,
        })
    }
}

/// The endpoints that share a label.
pub(super) struct Group<'a> {
    pub(super) label: Cow<'a, str>,
    endpoints: &'a Endpoints,
    positions: &'a [Position],
}

impl Group<'_> {
    pub(super) fn data(&self) -> NameData {
        let members = || self.positions.iter().map(|at| self.endpoints.get(*at));
        let (ipv4, ipv6) = families(members().map(|(_, endpoint)| endpoint.address));
        // What the SRV records of this name are cannot be told from its addresses
        // where one counts twice, or where the target is in capitals.
        let plain = members().all(|(_, endpoint)| {
            let label = endpoint_label(endpoint);
            !label.bytes().any(|byte| byte.is_ascii_uppercase())
        });
        let flags = if plain && ipv4.len() + ipv6.len() == self.positions.len() {
            NameFlags::empty()
        } else {
            NameFlags::REPEATED
        };
        NameData {
            flags,
            ipv4,
            ipv6,
            details: None,
        }
    }

    /// Whether both hold the same; told without allocating in the usual case.
    pub(super) fn same(&self, other: &Group<'_>) -> bool {
        let (&[a], &[b]) = (self.positions, other.positions) else {
            return self.data() == other.data();
        };
        let ((_, a), (_, b)) = (self.endpoints.get(a), other.endpoints.get(b));
        a.address == b.address && endpoint_label(a) == endpoint_label(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice of a few endpoints, whose names and addresses collide often with
    /// those of others.
    fn slice(name: u8) -> Arc<EndpointSlice> {
        let endpoint = || Endpoint {
            address: IpAddr::from([10, 0, 0, fastrand::u8(..6)]),
            name: fastrand::bool().then(|| ["a", "B", "10-0-0-1"][fastrand::usize(..3)].into()),
        };
        let port = || Port {
            name: "http".into(),
            number: fastrand::bool().then_some(80),
            protocol: crate::watch::Protocol::Tcp,
        };
        Arc::new(EndpointSlice {
            namespace: "default".into(),
            name: format!("web-{name}").into(),
            service: "web".into(),
            ports: (0..fastrand::u8(..2)).map(|_| port()).collect(),
            endpoints: (0..fastrand::u8(..5)).map(|_| endpoint()).collect(),
            aliases: Box::default(),
            partial: false,
        })
    }

    /// Replaces, adds or removes one of the slices, which are sorted by name.
    fn change(slices: &mut Vec<Arc<EndpointSlice>>) {
        let new = slice(fastrand::u8(..6));
        match slices.binary_search_by(|at| at.name.cmp(&new.name)) {
            Ok(at) if fastrand::bool() => drop(slices.remove(at)),
            Ok(at) => slices[at] = new,
            Err(at) => slices.insert(at, new),
        }
    }

    fn names(endpoints: &Endpoints) -> Vec<(String, NameData)> {
        let groups = endpoints.groups();
        groups.map(|of| (of.label.to_string(), of.data())).collect()
    }

    #[test]
    fn a_change_leads_where_starting_over_leads() {
        for _ in 0..200 {
            let mut slices = Vec::new();
            let mut endpoints = Endpoints::default();
            for _ in 0..20 {
                for _ in 0..fastrand::u8(1..3) {
                    change(&mut slices);
                }
                let before = endpoints;
                endpoints = before.replaced(&slices);
                let anew = Endpoints::default().replaced(&slices);
                assert_eq!(endpoints.by_name, anew.by_name);
                assert_eq!(endpoints.ipv4, anew.ipv4);

                // Every name that differs is among those that may.
                let mut may = before.differing(&endpoints);
                may.extend(endpoints.differing(&before));
                let (old, new) = (names(&before), names(&endpoints));
                let differing = old.iter().filter(|name| !new.contains(name));
                for (label, _) in differing.chain(new.iter().filter(|name| !old.contains(name))) {
                    assert!(may.contains(&**label), "{label}: {slices:#?}");
                }
                for (label, data) in &new {
                    assert_eq!(
                        endpoints.find(label).map(|of| of.data()).as_ref(),
                        Some(data)
                    );
                }
            }
        }
    }
}
