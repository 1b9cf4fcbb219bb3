//! The ready endpoints of a Service, merged from its slices.

use std::collections::{BTreeSet, HashSet};
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use headless_ebpf::abi::NameFlags;

use super::super::types::NameData;
use super::label::{EndpointLabel, has_capitals};
use crate::watch::{Alias, EndpointSlice, EndpointView, Port};

/// The place of an endpoint: its slice, and its place in the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    slice: u32,
    endpoint: u32,
}

/// The ready endpoints of a Service, merged from its slices. The value is
/// never changed in place: the old and the new one are compared for changes of names.
#[derive(Debug, Default)]
pub(in crate::records) struct Endpoints {
    /// The slices, in the order of their names.
    slices: Box<[Arc<EndpointSlice>]>,
    /// Every endpoint, in the order of its folded label.
    by_name: Box<[Position]>,
    /// Every IPv4 address once, sorted.
    ipv4: Box<[Ipv4Addr]>,
    /// Every IPv6 address once, sorted.
    ipv6: Box<[Ipv6Addr]>,
    /// Whether a slice has domain names in place of addresses.
    aliased: bool,
    /// Whether a slice is [`EndpointSlice::partial`].
    partial: bool,
}

/// The addresses of each family, sorted, each once.
pub(in crate::records) fn families(
    addresses: impl IntoIterator<Item = IpAddr>,
) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    let addresses = addresses.into_iter();
    // A list without spare room for the usual case of one family.
    let most = addresses.size_hint().0;
    for address in addresses {
        match address {
            IpAddr::V4(address) => {
                if ipv4.is_empty() {
                    ipv4.reserve_exact(most.max(1));
                }
                ipv4.push(address);
            }
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
    /// The endpoints of these slices, which are in the order of their names. A slice that
    /// `self` has, too, costs little more than a copy.
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
        // Slices are in the order of their names before and after, so the positions that are
        // kept stay sorted.
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
        let mut new: Vec<(EndpointLabel<'_>, Position)> = (0..)
            .zip(slices)
            .zip(is_new)
            .filter(|(_, is_new)| *is_new)
            .flat_map(|((slice, object), _)| {
                let position = move |endpoint| Position { slice, endpoint };
                let labels = object.endpoints.iter().map(EndpointLabel::folded);
                labels.zip((0..).map(position))
            })
            .collect();
        new.sort_unstable();
        let mut by_name = Vec::with_capacity(old.len() + new.len());
        let mut rest = &*old;
        for (label, position) in new {
            // Endpoints with the same label are in the order of their slices.
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

    /// The endpoints of an oversized Service, whose slices are not merged: any may exist.
    pub(in crate::records) fn oversized() -> Self {
        Self {
            partial: true,
            ..Self::default()
        }
    }

    /// Whether it is [`Self::oversized`].
    pub(in crate::records) fn is_oversized(&self) -> bool {
        self.partial && self.slices.is_empty()
    }

    /// The slice with the same name as `slice`, and its place.
    fn version_of(&self, slice: &EndpointSlice) -> Option<(u32, &Arc<EndpointSlice>)> {
        let found = self.slices.binary_search_by(|at| at.name.cmp(&slice.name));
        let number = found.ok()?;
        Some((number as u32, &self.slices[number]))
    }

    /// The labels of endpoints that `other` does not have alike. It may hold more labels, but
    /// lacks none whose records differ.
    pub(in crate::records) fn differing<'a>(
        &'a self,
        other: &'a Self,
    ) -> BTreeSet<EndpointLabel<'a>> {
        let mut labels = BTreeSet::new();
        for slice in &self.slices {
            let version = other.version_of(slice).map(|(_, version)| version);
            if version.is_some_and(|version| Arc::ptr_eq(version, slice)) {
                continue;
            }
            // An endpoint that is in the slice twice counts twice. Then all may differ.
            let same = version.and_then(|version| {
                let same = version.endpoints.iter().collect::<HashSet<_>>();
                (same.len() == version.endpoints.len()).then_some(same)
            });
            let same = same.unwrap_or_default();
            let differing = slice.endpoints.iter().filter(|at| !same.contains(at));
            labels.extend(differing.map(EndpointLabel::folded));
        }
        labels
    }

    fn get(&self, position: Position) -> (&EndpointSlice, EndpointView<'_>) {
        let slice = &self.slices[position.slice as usize];
        (slice, slice.endpoints.at(position.endpoint as usize))
    }

    fn label(&self, position: Position) -> EndpointLabel<'_> {
        EndpointLabel::folded(self.get(position).1)
    }

    /// The records of a headless Service's own name.
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

    /// Whether a slice could not be read whole. The Service may then have other endpoints.
    pub(in crate::records) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Whether all endpoints are known and have addresses. Only then can the programs answer
    /// and deny for the Service.
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

    /// How many endpoints there are: an address in two slices counts twice.
    pub(in crate::records) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The ports of all endpoints, where all have the same, each has an IPv4 address of
    /// its own, and none has a name that is not made of its address.
    pub(super) fn uniform_ports(&self) -> Option<&[Port]> {
        let mut lists = self.port_lists();
        let ports = lists.next()?;
        let uniform = self.ipv4.len() == self.by_name.len()
            && lists.all(|list| list == ports)
            && self.all().all(|(endpoint, _)| endpoint.name.is_none());
        uniform.then_some(ports)
    }

    /// Whether one of these endpoints has this address.
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

    /// The slices, in the order of their names.
    pub(in crate::records) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.iter().map(|slice| &**slice)
    }

    /// Every endpoint of every slice, with the ports of its slice. An address in two slices
    /// comes twice.
    pub(in crate::records) fn all(&self) -> impl Iterator<Item = (EndpointView<'_>, &[Port])> {
        self.slices.iter().flat_map(|slice| {
            let ports = &*slice.ports;
            slice
                .endpoints
                .iter()
                .map(move |endpoint| (endpoint, ports))
        })
    }

    /// The ports of each slice that has endpoints.
    pub(super) fn port_lists(&self) -> impl Iterator<Item = &[Port]> {
        let slices = self.slices.iter();
        let slices = slices.filter(|slice| !slice.endpoints.is_empty());
        slices.map(|slice| &*slice.ports)
    }

    /// The endpoints with this folded label, with the ports of their slices.
    pub(in crate::records) fn named(
        &self,
        label: &str,
    ) -> impl Iterator<Item = (EndpointView<'_>, &[Port])> {
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

    /// The folded labels in order, each with its endpoints.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let mut rest = &*self.by_name;
        // Each label is made once.
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

    /// The endpoints with this folded label; `None` where there are none.
    pub(super) fn find<'a>(&'a self, label: &'a str) -> Option<Group<'a>> {
        let positions = self.group(label);
        (!positions.is_empty()).then_some(Group {
            label: label.into(),
            endpoints: self,
            positions,
        })
    }
}

/// The endpoints that share a label.
pub(in crate::records) struct Group<'a> {
    pub(in crate::records) label: EndpointLabel<'a>,
    endpoints: &'a Endpoints,
    positions: &'a [Position],
}

impl<'a> Group<'a> {
    /// The endpoints of the group.
    pub(super) fn members(&self) -> impl Iterator<Item = EndpointView<'a>> {
        let endpoints = self.endpoints;
        self.positions.iter().map(|at| endpoints.get(*at).1)
    }

    /// The address of the only endpoint, if its label is the dashed form of this address,
    /// which is an IPv4 address.
    pub(in crate::records) fn regular(&self) -> Option<Ipv4Addr> {
        let &[position] = self.positions else {
            return None;
        };
        match self.endpoints.get(position).1 {
            EndpointView {
                address: IpAddr::V4(address),
                name: None,
            } => Some(address),
            _ => None,
        }
    }

    pub(in crate::records) fn data(&self) -> NameData {
        let members = || self.positions.iter().map(|at| self.endpoints.get(*at).1);
        let (ipv4, ipv6) = families(members().map(|endpoint| endpoint.address));
        // The SRV records of this name follow from its addresses, unless an address counts
        // twice or the target has capitals.
        let plain = !members().any(has_capitals);
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

    /// Whether both names have the same records. With one endpoint, the usual case, this does
    /// not allocate.
    pub(super) fn same(&self, other: &Group<'_>) -> bool {
        let (&[a], &[b]) = (self.positions, other.positions) else {
            return self.data() == other.data();
        };
        let ((_, a), (_, b)) = (self.endpoints.get(a), other.endpoints.get(b));
        a.address == b.address && EndpointLabel::of(a) == EndpointLabel::of(b)
    }
}

#[cfg(test)]
mod tests;
