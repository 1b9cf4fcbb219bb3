//! The slices of one Service, which are merged up to a bound.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::watch::EndpointSlice;

/// Number of slices up to which a list has no spare room. Most Services have one slice.
const EXACT_MAX: usize = 8;

/// The slices of a Service.
///
/// A change of one slice costs as much as merging all slices. So the slices of a Service with
/// more than [`ENTRIES_MAX`](crate::watch::ENTRIES_MAX) entries are not merged. They are only
/// counted, at a cost that grows with the changed slice alone.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// The entries of all slices ([`EndpointSlice::entries`]).
    entries: usize,
    held: Held,
    /// The slices that have found no room, with the number of entries that they lack.
    hidden: BTreeMap<Box<str>, usize>,
}

#[derive(Debug)]
enum Held {
    /// In the order of their names.
    Merged(Vec<Arc<EndpointSlice>>),
    Counted(Box<Counted>),
}

/// The slices of a Service with too many entries.
#[derive(Debug, Default)]
struct Counted {
    slices: BTreeMap<Box<str>, Arc<EndpointSlice>>,
    addresses: AddressCounts,
}

impl Default for Held {
    fn default() -> Self {
        Self::Merged(Vec::new())
    }
}

impl Slices {
    /// The entries of all slices.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// The entries of slices that are only counted.
    pub(super) fn kept(&self) -> usize {
        match &self.held {
            Held::Merged(_) => 0,
            Held::Counted(_) => self.entries,
        }
    }

    /// Number of slices that have found no room.
    pub(super) fn hidden(&self) -> usize {
        self.hidden.len()
    }

    /// [`Self::entries`] with those that slices without room lack.
    pub(super) fn entries_with_hidden(&self) -> usize {
        self.entries + self.hidden.values().sum::<usize>()
    }

    /// Notes that the slice of this name has found no room for this many entries.
    pub(super) fn hide(&mut self, name: &str, entries: usize) {
        self.hidden.insert(name.into(), entries);
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.held {
            Held::Merged(slices) => slices.is_empty(),
            Held::Counted(counted) => counted.slices.is_empty(),
        }
    }

    /// The slices in the order of their names; `None` while they are only counted, which may
    /// be until [`Self::merge`] after their entries have become few.
    pub(super) fn merged(&self) -> Option<&[Arc<EndpointSlice>]> {
        match &self.held {
            Held::Merged(slices) => Some(slices),
            Held::Counted(_) => None,
        }
    }

    /// The number of endpoints with each address, while the slices are only counted.
    pub(super) fn counted(&self) -> Option<&AddressCounts> {
        match &self.held {
            Held::Merged(_) => None,
            Held::Counted(counted) => Some(&counted.addresses),
        }
    }

    /// [`Self::counted`] for changes.
    pub(super) fn counted_mut(&mut self) -> Option<&mut AddressCounts> {
        match &mut self.held {
            Held::Merged(_) => None,
            Held::Counted(counted) => Some(&mut counted.addresses),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<EndpointSlice>> {
        match &self.held {
            Held::Merged(slices) => Some(&slices[place(slices, name).ok()?]),
            Held::Counted(counted) => counted.slices.get(name),
        }
    }

    /// Adds a slice, and returns the slice of the same name that it replaces.
    pub(super) fn put(&mut self, slice: Arc<EndpointSlice>) -> Option<Arc<EndpointSlice>> {
        self.entries += slice.entries();
        self.hidden.remove(&slice.name);
        let before = match &mut self.held {
            Held::Merged(slices) => match place(slices, &slice.name) {
                Ok(at) => Some(std::mem::replace(&mut slices[at], slice)),
                Err(at) => {
                    if slices.len() < EXACT_MAX {
                        slices.reserve_exact(1);
                    }
                    slices.insert(at, slice);
                    None
                }
            },
            Held::Counted(counted) => counted.slices.insert(slice.name.clone(), slice),
        };
        self.entries -= before.as_ref().map_or(0, |before| before.entries());
        before
    }

    /// Removes the slice of this name.
    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<EndpointSlice>> {
        let removed = match &mut self.held {
            Held::Merged(slices) => {
                let removed = slices.remove(place(slices, name).ok()?);
                if slices.len() < EXACT_MAX || slices.capacity() > 4 * slices.len() {
                    slices.shrink_to_fit();
                }
                removed
            }
            Held::Counted(counted) => counted.slices.remove(name)?,
        };
        self.entries -= removed.entries();
        self.hidden.remove(name);
        Some(removed)
    }

    /// From now on the slices are only counted: their addresses if `addresses` is set.
    pub(super) fn count(&mut self, addresses: bool) {
        let Held::Merged(slices) = &mut self.held else {
            return;
        };
        let mut counted = Box::<Counted>::default();
        for slice in std::mem::take(slices) {
            if addresses {
                for endpoint in slice.endpoints.iter() {
                    counted.addresses.add(endpoint.address);
                }
            }
            counted.slices.insert(slice.name.clone(), slice);
        }
        self.held = Held::Counted(counted);
    }

    /// The slices are a list again, if they have `entries_max` entries or fewer. Returns the
    /// counted addresses.
    pub(super) fn merge(&mut self, entries_max: usize) -> Option<AddressCounts> {
        if self.entries > entries_max {
            return None;
        }
        let Held::Counted(counted) = &mut self.held else {
            return None;
        };
        let Counted { slices, addresses } = std::mem::take(&mut **counted);
        self.held = Held::Merged(slices.into_values().collect());
        Some(addresses)
    }
}

fn place(slices: &[Arc<EndpointSlice>], name: &str) -> Result<usize, usize> {
    slices.binary_search_by(|slice| (*slice.name).cmp(name))
}

/// Addresses, and the number of endpoints that have each.
#[derive(Debug, Default)]
pub(super) struct AddressCounts {
    // Two maps, because most addresses are IPv4 addresses, and such an entry has eight bytes.
    ipv4: HashMap<Ipv4Addr, u32>,
    ipv6: HashMap<Ipv6Addr, u32>,
}

impl AddressCounts {
    /// Counts one more endpoint with this address. Returns whether it is the first one.
    pub(super) fn add(&mut self, address: IpAddr) -> bool {
        fn add<A: Eq + Hash>(counts: &mut HashMap<A, u32>, address: A) -> bool {
            let count = counts.entry(address).or_default();
            *count += 1;
            *count == 1
        }
        match address {
            IpAddr::V4(address) => add(&mut self.ipv4, address),
            IpAddr::V6(address) => add(&mut self.ipv6, address),
        }
    }

    /// Counts one endpoint less with this address. Returns whether it was the last one.
    pub(super) fn sub(&mut self, address: IpAddr) -> bool {
        fn sub<A: Eq + Hash>(counts: &mut HashMap<A, u32>, address: &A) -> bool {
            let Some(count) = counts.get_mut(address) else {
                return false;
            };
            *count -= 1;
            *count == 0 && counts.remove(address).is_some()
        }
        match address {
            IpAddr::V4(address) => sub(&mut self.ipv4, &address),
            IpAddr::V6(address) => sub(&mut self.ipv6, &address),
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.contains_key(&address),
            IpAddr::V6(address) => self.ipv6.contains_key(&address),
        }
    }

    /// Every address once, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.keys().copied().map(IpAddr::V4);
        ipv4.chain(self.ipv6.keys().copied().map(IpAddr::V6))
    }
}
